"""The options of Smuggler: what is refused before anything is read, and how RavenDB's words are understood."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from muniment.document import to_microseconds
from muniment.errors import InvalidInput, NotFound, StorageFailure
from muniment.smuggler.filter import Filter
from muniment.smuggler.options import KEPT_TYPES, SmugglerOptions
from muniment.smuggler.pick import DROPPED, EXPIRED, FILTERED, Chooser


@pytest.mark.parametrize(
    ("given", "carried", "meaningless"),
    [
        (None, {"Documents", "Attachments", "Identities"}, []),
        ("", {"Documents", "Attachments", "Identities"}, []),
        ("Documents", {"Documents"}, []),
        ("documents, ATTACHMENTS", {"Documents", "Attachments"}, []),
        ("Indexes,Documents,Transformers", {"Documents"}, []),
        (["Identities", "TimeSeries", "RemoveAnalyzers"], {"Identities"}, ["RemoveAnalyzers", "TimeSeries"]),
        ("Indexes,Conflicts", set(), ["Conflicts"]),
    ],
)  # fmt: skip
def test_types(given: Any, carried: set[str], meaningless: list[str]) -> None:
    options = SmugglerOptions.of(operate_on_types=given)
    assert options.carried == carried
    assert options.meaningless == meaningless


def test_extensions_mean_something_when_they_are_to_be_kept() -> None:
    options = SmugglerOptions.of(operate_on_types="Documents,TimeSeries,Conflicts", keep_extensions=True)
    assert options.meaningless == ["Conflicts"]
    assert options.kept_sections == {"TimeSeries"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"operate_on_types": "Documents,Docs"}, "'Docs' is not a type"),
        ({"filter": ["Name"]}, "'Name'"),
        ({"negative_metadata_filter": ["@etag=1"]}, "@etag"),
        ({"transform": "doc => doc", "transform_file": "x.js"}, "two transforms"),
        ({"transform": "  "}, "empty"),
        ({"transform": "x" * (2 << 20)}, "more than"),
        ({"limit": 0}, "limit cannot be 0"),
        ({"limit": -1}, "limit cannot be -1"),
        ({"limit": True}, "limit cannot be True"),
        ({"batch_size": 0}, "batch size cannot be 0"),
        ({"batch_size": 10**9}, "batch size"),
        ({"timeout": 0}, "timeout cannot be 0"),
        ({"timeout": float("nan")}, "timeout cannot be nan"),
        ({"start_document_etag": "x"}, "'x' is not an etag"),
        ({"start_document_etag": -1}, "start etag cannot be -1"),
    ],
)
def test_what_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        SmugglerOptions.of(**given)
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("given", "etag"),
    [
        (None, 0),
        (7, 7),
        ("7", 7),
        ("01000000-0000-0001-0000-00000000000A", 10),
        ('"01000000-0000-0001-0001-000000000000"', 1 << 48),
        ("00000000-0000-0000-0000-000000000000", 0),
    ],
)
def test_etags(given: Any, etag: int) -> None:
    assert SmugglerOptions.of(start_document_etag=given).start_etag == etag


def test_all_kinds_of_filters_are_taken_together() -> None:
    options = SmugglerOptions.of(
        filter=["a=1", "b=2"], negative_filter=["c=3"], metadata_filter=["d=4"], negative_metadata_filter=["e=5"]
    )
    assert options.filters == (
        Filter("a=1"),
        Filter("b=2"),
        Filter("c=3", negative=True),
        Filter("d=4", on_metadata=True),
        Filter("e=5", on_metadata=True, negative=True),
    )


def test_a_script_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "transform.js"
    path.write_bytes(b"\xef\xbb\xbfdoc => doc // \xc3\xa9")
    assert SmugglerOptions.of(transform_file=path).transform == "doc => doc // é"
    path.write_bytes(b"\xff")
    with pytest.raises(InvalidInput, match="not UTF-8"):
        SmugglerOptions.of(transform_file=path)
    with pytest.raises(StorageFailure, match="cannot be read"):
        SmugglerOptions.of(transform_file=tmp_path)
    with pytest.raises(NotFound, match="there is no file"):
        SmugglerOptions.of(transform_file=tmp_path / "none.js")


def test_without_options_nothing_is_chosen() -> None:
    with Chooser(SmugglerOptions()) as chooser:
        assert chooser.choose is None
    assert SmugglerOptions().carried is KEPT_TYPES


@pytest.mark.parametrize(
    ("metadata", "expired"),
    [
        (b"{}", False),
        (b'{"Raven-Expiration-Date":"2026-11-24T12:00:00.0000000Z"}', False),
        (b'{"Raven-Expiration-Date":"2026-11-24T11:59:59.9999990Z"}', True),
        (b'{"raven-expiration-date":"2026-11-24T11:59:59"}', True),
        (b'{"Raven-Expiration-Date":"2026-11-24T12:30:00+01:00"}', True),
        (b'{"Raven-Expiration-Date":"2026-11-24T11:30:00-01:00"}', False),
        (b'{"Raven-Expiration-Date":"soon"}', False),
        (b'{"Raven-Expiration-Date":20200101}', False),
        (b'{"Raven-Expiration\\u002dDate":"2020-01-01"}', True),
    ],
)
def test_expired_documents(metadata: bytes, expired: bool) -> None:
    from datetime import UTC, datetime

    noon = to_microseconds(datetime(2026, 11, 24, 12, tzinfo=UTC))
    with Chooser(SmugglerOptions(exclude_expired=True), clock=lambda: noon) as chooser:
        assert (chooser.document("a/1", metadata, b"{}") is None) is expired
        assert chooser.left_out == ({EXPIRED: 1} if expired else {})


def test_filters_come_before_expiration_and_that_before_the_script() -> None:
    options = SmugglerOptions.of(
        filter=["n=1,2,3"], negative_filter=["n=2"], transform="doc => doc.n ? null : doc", exclude_expired=True
    )
    expired = b'{"Raven-Expiration-Date":"2000-01-01"}'
    with Chooser(options) as chooser:
        assert chooser.document("a/1", expired, b'{"n":4}') is None
        assert chooser.document("a/1", expired, b'{"n":2}') is None
        assert chooser.document("a/1", expired, b'{"n":3}') is None
        assert chooser.document("a/1", b"{}", b'{"n":3}') is None
        assert chooser.left_out == {FILTERED: 2, EXPIRED: 1, DROPPED: 1}


def test_a_filter_leaves_the_bytes_alone() -> None:
    metadata, body = b'{ "Raven-Entity-Name" : "As" }', b' {"n": 1.10} '
    options = SmugglerOptions.of(filter=["n=1.1"], metadata_filter=["@collection=As"])
    with Chooser(options) as chooser:
        chosen = chooser.document("a/1", metadata, body)
    assert chosen is not None
    assert chosen[0] is metadata
    assert chosen[1] is body


def test_failures_of_a_script_can_be_passed_over() -> None:
    options = SmugglerOptions(transform="function(doc) { return doc.a.b; }", ignore_errors=True)
    with Chooser(options) as chooser:
        for number in range(30):
            chooser.position = number
            assert chooser.document(f"a/{number}", b"{}", b"{}") is None
    assert chooser.left_out == {}
    assert chooser.faults.count == 30
    assert [(fault.id, fault.position) for fault in chooser.faults.first] == [(f"a/{n}", n) for n in range(20)]
    assert "cannot read property" in chooser.faults.first[0].reason
