from __future__ import annotations

from typing import Any

import msgspec
import pytest

from muniment.errors import InvalidInput, PatchConflict
from muniment.raven7.json_patch import Step, patched

TAIL = b'"n":1e2, "e":{} }'
BODY = b'{ "a" : {"b":[1.10, {"c~/":2}, []]}, "n":1e2, "e":{} }'


def done(*steps: dict[str, Any]) -> bytes:
    return patched("it", BODY, msgspec.json.decode(msgspec.json.encode(steps), type=list[Step]))


@pytest.mark.parametrize(
    ("steps", "body"),
    [
        ([{"op": "add", "path": "/x", "value": None}], BODY[:-2] + b',"x":null }'),
        ([{"op": "add", "path": "/e/x", "value": "é"}], BODY[:-3] + '"x":"é"} }'.encode()),
        ([{"op": "add", "path": "/n", "value": 3}], b'{ "a" : {"b":[1.10, {"c~/":2}, []]}, "n":3, "e":{} }'),
        ([{"op": "add", "path": "/a/b/0", "value": 0}], b'{ "a" : {"b":[0,1.10,{"c~/":2},[]]}, "n":1e2, "e":{} }'),
        ([{"op": "add", "path": "/a/b/3", "value": 0}], b'{ "a" : {"b":[1.10,{"c~/":2},[],0]}, "n":1e2, "e":{} }'),
        ([{"op": "add", "path": "/a/b/2/-", "value": 0}], b'{ "a" : {"b":[1.10,{"c~/":2},[0]]}, "n":1e2, "e":{} }'),
        ([{"op": "replace", "path": "/a/b/1/c~0~1", "value": 3}], b'{ "a" : {"b":[1.10,{"c~/":3},[]]}, ' + TAIL),
        ([{"op": "remove", "path": "/a/b/1"}], b'{ "a" : {"b":[1.10,[]]}, "n":1e2, "e":{} }'),
        ([{"op": "move", "from": "/n", "path": "/a"}], None),
        ([{"op": "copy", "from": "/n", "path": "/e/n"}], BODY[:-3] + b'"n":1e2} }'),
        ([{"op": "test", "path": "/n", "value": 100}, {"op": "test", "path": "/a/b/0", "value": 1.1}], BODY),
    ],
)  # fmt: skip
def test_what_is_not_touched_keeps_its_bytes(steps: list[dict[str, Any]], body: bytes | None) -> None:
    found = done(*steps)
    assert body is None or found == body
    msgspec.json.decode(found)


@pytest.mark.parametrize(
    "step",
    [
        {"op": "remove", "path": "/none"}, {"op": "remove", "path": ""}, {"op": "remove", "path": "n"},
        {"op": "replace", "path": "/none", "value": 1}, {"op": "replace", "path": "/n"},
        {"op": "replace", "path": "/a/b/3", "value": 1}, {"op": "replace", "path": "/a/b/-", "value": 1},
        {"op": "add", "path": "/a/b/4", "value": 1}, {"op": "add", "path": "/a/b/-1", "value": 1},
        {"op": "add", "path": "/n/x", "value": 1}, {"op": "add", "path": "/a/b/²", "value": 1},
        {"op": "add", "path": "/@metadata/x", "value": 1}, {"op": "move", "path": "/x"},
        {"op": "copy", "from": "/none", "path": "/x"}, {"op": "fly", "path": "/n"},
    ],
)  # fmt: skip
def test_what_cannot_be_done(step: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        done(step)


@pytest.mark.parametrize("value", [1, True, "1e2", None, [100]])
def test_a_test_that_fails(value: Any) -> None:
    with pytest.raises(PatchConflict, match="/n of"):
        done({"op": "test", "path": "/n", "value": value})
