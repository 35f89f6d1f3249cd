"""What is no JSON object is found in a backup, by C where that is certain and by Python where it is not."""

from __future__ import annotations

import pytest

from muniment import native
from muniment.backup.tally import check_json
from muniment.errors import DamagedBackup
from muniment.revision import DOCUMENT, Batch, Packed, Revision

GOOD = [
    b"{}",
    b'{"a":[1,-0.5e+7,true,false,null,"\\u00e4\\ud800"],"b":{"c":{}}}',
    b'{ "a" : 1 }\r\n\t ',
    '{"Ä":"😀"}'.encode(),
]
DEEP = [b'{"a":' + b"[" * depth + b"]" * depth + b"}" for depth in (63, 64, 200)]
BAD = [
    *(b"", b" ", b"[]", b"1", b'"a"', b"{", b"}", b"{}}", b"{} {}", b"{}x", b"\x00{}", b'{"a":1'),
    *(b"{a:1}", b'{"a" 1}', b'{"a":}', b'{"a":01}', b'{"a":1.}', b'{"a":1e}', b'{"a":+1}', b'{"a":tru}', b'{"a":NaN}'),
    *(
        b'{"a":1,}',
        b'{"a":[1,]}',
        b'{"a":[1 2]}',
        b'{"a":"x}',
        b'{"a":"\n"}',
        b'{"a":"\\x"}',
        b'{"a":"\\u00g0"}',
        b'{"a":[1}]',
    ),
]


def batch(bodies: list[bytes | None], metadata: bytes = b"{}") -> Batch:
    return Batch.of(
        [Revision(n, DOCUMENT, f"a/{n}", None, 1, metadata, body, len(body or b"")) for n, body in enumerate(bodies, 1)]
    )


@pytest.fixture(params=["C", "Python"], autouse=True)
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which of both looks first."""
    name: str = request.param
    if name == "Python":
        monkeypatch.setattr(native, "load", lambda: None)
    elif native.load() is None:
        pytest.skip("it was not compiled")
    return name


def test_objects_pass(by: str) -> None:
    bodies = [None, *GOOD, None]
    check_json(batch(bodies))
    check_json(batch([*bodies, *DEEP, b" {}"]))
    if library := native.load():
        assert library.objects(Packed.of(bodies))
        assert [library.objects(Packed.of([body])) for body in [*DEEP, b" {}"]] == [True, False, False, False]


@pytest.mark.parametrize("bad", BAD)
def test_anything_else_is_named(bad: bytes) -> None:
    with pytest.raises(DamagedBackup, match="'a/6'"):
        check_json(batch([*GOOD, None, bad, *GOOD]))
    with pytest.raises(DamagedBackup, match=r"'a/1'.*metadata"):
        check_json(batch([b"{}"], bad))


def test_a_column_that_is_none_is_in_doubt() -> None:
    if library := native.load():
        whole = Packed.of(GOOD)
        assert not library.objects(Packed(whole.offsets, whole.data[:-1]))
