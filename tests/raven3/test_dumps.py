"""Options that go through a request come out as they were."""

from __future__ import annotations

import pytest

from muniment.errors import InvalidInput
from muniment.raven3.dumps import options_of, pairs_of
from muniment.raven3.queries import Imported, PartExported, Smuggled
from muniment.smuggler.options import SmugglerOptions

OPTIONS = [
    SmugglerOptions(),
    SmugglerOptions.of(operate_on_types="documents,Indexes"),
    SmugglerOptions.of(filter=["A=1", "B.c='x, y',z"], negative_filter=["A=2"]),
    SmugglerOptions.of(metadata_filter=["@id=a/*"], negative_metadata_filter=["Raven-Entity-Name=Ü&=%"]),
    SmugglerOptions.of(transform="function(d) {\n return d; }", exclude_expired=True, ignore_errors=True),
    SmugglerOptions(limit=1, batch_size=7, timeout=1.5),
]


@pytest.mark.parametrize("options", OPTIONS)
def test_options_come_out_as_they_were(options: SmugglerOptions) -> None:
    assert options_of(pairs_of(options), Smuggled) == options


def test_what_only_one_way_has() -> None:
    outward = SmugglerOptions(start_etag=7)
    inward = SmugglerOptions(continuation="x", fail_on_unknown=True)
    assert options_of(pairs_of(outward), PartExported) == outward
    assert options_of(pairs_of(inward), Imported) == inward
    for options, known in ((outward, Imported), (inward, PartExported)):
        with pytest.raises(InvalidInput, match="there is no option"):
            options_of(pairs_of(options), known)


@pytest.mark.parametrize(
    "pair",
    [
        *(("limit", "x"), ("limit", "-1"), ("limit", "0"), ("timeout", "²"), ("timeout", "0"), ("excludeexpired", "1")),
        *(("filter", "x"), ("operate-on-types", "X"), ("start-document-etag", "x"), ("batch-size", "9" * 30), ("", "")),
    ],
)
def test_values_that_make_no_sense(pair: tuple[str, str]) -> None:
    with pytest.raises(InvalidInput):
        options_of([pair], PartExported)


def test_flags_and_case() -> None:
    assert options_of([("ExcludeExpired", "")], Smuggled).exclude_expired
    assert not options_of([("excludeexpired", "False")], Smuggled).exclude_expired
