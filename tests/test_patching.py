"""Patches: each command does to the bytes what it says, and to no other."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from muniment import DocumentDatabase, Put
from muniment.errors import ConcurrencyConflict, DocumentNotFound, InvalidInput, PatchConflict
from muniment.patching import Patch, PatchCommand

BODY = b' {"n": 1.10,"s":"\\u0041",  "o":{"a": [1 , 2.50,"x"],"b":null}, "list":[ ],"big":123456789012345678901}\n'


def command(type: str, name: str, **others: Any) -> dict[str, Any]:
    return {"Type": type, "Name": name, **others}


@pytest.mark.parametrize(
    ("given", "was", "now"),
    [
        (command("Set", "n", Value=2), b'"n": 1.10', b'"n": 2'),
        (command("Set", "n", Value=None), b'"n": 1.10', b'"n": null'),
        (command("set", "new", Value={"a": [1]}), b"345678901}", b'345678901,"new":{"a":[1]}}'),
        (command("Unset", "n"), b'"n": 1.10,', b""),
        (command("Unset", "big"), b',"big":123456789012345678901', b""),
        (command("Unset", "none"), b"", b""),
        (command("Add", "list", Value="x"), b"[ ]", b'["x" ]'),
        (command("Add", "made", Value="x"), b"345678901}", b'345678901,"made":["x"]}'),
        (command("Inc", "n", Value=0.2), b"1.10", b"1.30"),
        (command("Inc", "n", Value=-2), b"1.10", b"-0.90"),
        (command("Inc", "big", Value=1), b"345678901}", b"345678902}"),
        (command("Inc", "made", Value=5), b"345678901}", b'345678901,"made":5}'),
        (command("Copy", "n", Value="m"), b"345678901}", b'345678901,"m":1.10}'),
        (command("Copy", "none", Value="m"), b"", b""),
        (command("Rename", "n", Value="m"), b'"n": 1.10', b'"m": 1.10'),
        (command("Rename", "n", Value="s"), b'"n": 1.10,"s":"\\u0041"', b'"s":1.10'),
        (command("Modify", "o", Nested=[command("Insert", "a", Position=1, Value=0)]), b"2.50", b"0,2.50"),
        (command("Modify", "o", Nested=[command("Insert", "a", Position=3, Value=0)]), b'"x"]', b'"x",0]'),
        (command("Modify", "o", Nested=[command("Remove", "a", Position=0)]), b"[1 , 2.50", b"[2.50"),
        (command("Modify", "o", Nested=[command("Remove", "a", Position=1, Value=None)]), b" , 2.50", b""),
        (command("Modify", "o", Nested=[command("Remove", "a", Value=2.5)]), b" , 2.50", b""),
        (command("Modify", "o", Nested=[command("Remove", "a", Value="none")]), b"", b""),
        (command("Modify", "o", Nested=[command("Set", "b", Value=1, PrevVal=None)]), b'"b":null', b'"b":1'),
        (command("Set", "n", Value=2, PrevVal=1.1), b'"n": 1.10', b'"n": 2'),
        ({"Type": 0, "Name": "n", "Value": 2}, b'"n": 1.10', b'"n": 2'),
    ],
)  # fmt: skip
def test_what_a_command_does(database: DocumentDatabase, given: Any, was: bytes, now: bytes) -> None:
    database.put("a", BODY)
    written = database.patch("a", [given])
    found = database.get("a")
    assert found is not None
    assert found.body == BODY.replace(was, now, 1)
    assert (written.etag, written.existed) == (found.etag, True)


def test_elements_of_an_array(database: DocumentDatabase) -> None:
    database.put("a", b'{"l":[ {"n": 1.0} ,{"n":2}],"p":[{"n":1}]}')
    more = [command("Inc", "n", Value=1)]
    database.patch("a", [command("Modify", "l", AllPositions=True, Nested=more)])
    database.patch("a", [command("Modify", "l", Position=1, Nested=more)])
    assert database.get("a").body == b'{"l":[ {"n": 2.0} ,{"n":4}],"p":[{"n":1}]}'  # type: ignore[union-attr]


def test_metadata(database: DocumentDatabase) -> None:
    database.put("a", BODY, {"Raven-Entity-Name": "Orders", "x": 1})
    database.patch("a", [command("Modify", "@metadata", Nested=[command("Set", "Raven-Entity-Name", Value="Old")])])
    found = database.get("a")
    assert found is not None
    assert (found.collection, found.metadata, found.body) == ("Old", {"Raven-Entity-Name": "Old", "x": 1}, BODY)
    for wrong in (command("Set", "@metadata", Value=1), command("Rename", "@metadata", Value="m")):
        with pytest.raises(InvalidInput):
            database.patch("a", [wrong])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (command("Put", "n", Value=1), "'Put' is no type"),
        (command("Set", "", Value=1), "names no member"),
        (command("Set", "n"), "has no Value"),
        ({"Type": "Set"}, "no command of a patch"),
        (command("Add", "n", Value=1), "is no array, but 7"),
        (command("Insert", "list", Value=1), "has no Position"),
        (command("Insert", "list", Value=1, Position=1), "has no position 1"),
        (command("Insert", "list", Value=1, Position=-1), "has no position -1"),
        (command("Remove", "list", Position=0), "has no position 0"),
        (command("Remove", "list"), "not clear"),
        (command("Remove", "list", Position=0, Value=1), "not clear"),
        (command("Inc", "s", Value=1), "cannot be increased"),
        (command("Inc", "n", Value="1"), "cannot be increased"),
        (command("Inc", "n", Value=True), "cannot be increased"),
        (command("Copy", "n", Value=1), "names no member"),
        (command("Modify", "o"), "no Nested"),
        (command("Modify", "none", Nested=[]), "to modify"),
        (command("Modify", "n", Nested=[command("Set", "a", Value=1)]), "is no array"),
        (command("Modify", "o", Nested=[command("Modify", "a", Nested=[])]), "is an array"),
        (command("Modify", "o", Nested=[command("Modify", "a", Position=0, Nested=[])]), "is no object"),
        ({"Type": 99, "Name": "n"}, "99 is no type"),
    ],
)
def test_what_cannot_be_done(database: DocumentDatabase, given: Any, message: str) -> None:
    database.put("a", BODY)
    with pytest.raises(InvalidInput) as caught:
        database.patch("a", [command("Set", "n", Value=7), given])
    assert message in caught.value.message
    assert caught.value.hint
    assert database.get("a").body == BODY  # type: ignore[union-attr]


@pytest.mark.parametrize("previous", [2, True, "1.1", None, {}])
def test_another_value_than_expected(database: DocumentDatabase, previous: Any) -> None:
    database.put("a", BODY)
    with pytest.raises(PatchConflict, match=r"'n' of 'a' is 1\.10, and not"):
        database.patch("a", [command("Set", "n", Value=2, PrevVal=previous)])
    with pytest.raises(PatchConflict, match="not there"):
        database.patch("a", [command("Set", "none", Value=2, PrevVal=previous)])
    assert database.get("a").body == BODY  # type: ignore[union-attr]


def test_numbers_and_booleans_are_not_the_same(database: DocumentDatabase) -> None:
    database.put("a", b'{"l":[1,{"a":[true]}],"n":10}')
    database.patch("a", [command("Remove", "l", Value={"a": [1]}), command("Remove", "l", Value={"a": [True]})])
    assert database.get("a").body == b'{"l":[1],"n":10}'  # type: ignore[union-attr]
    database.patch("a", [command("Set", "n", Value=1, PrevVal=10.0)])


def test_etags_and_documents_that_are_not_there(database: DocumentDatabase) -> None:
    etag = database.put("a", BODY).etag
    change = [command("Set", "n", Value=2)]
    assert database.patch("A", change, etag=etag).id == "a"
    with pytest.raises(ConcurrencyConflict):
        database.patch("a", change, etag=etag)
    with pytest.raises(DocumentNotFound, match="no document 'b' to patch"):
        database.patch("b", change)
    with pytest.raises(ConcurrencyConflict):
        database.patch("b", change, etag=etag)
    with pytest.raises(InvalidInput, match="is a list"):
        database.patch("a", change[0])  # type: ignore[arg-type]


def test_in_a_batch_all_or_nothing(database: DocumentDatabase) -> None:
    database.put("a", {"n": 1})
    more = [command("Inc", "n", Value=1)]
    patches = [Patch(id, more) for id in ("b", "a", "a", "c")]
    results = database.batch([Put("b", {"n": 10}), *patches])
    assert [database.get(id).json() for id in ("a", "b")] == [{"n": 3}, {"n": 11}]  # type: ignore[union-attr]
    assert [result.etag > 0 for result in results] == [True] * 4 + [False]
    assert database.get("c") is None
    with pytest.raises(InvalidInput):
        database.batch([Put("d", {}), Patch("a", [command("Inc", "n", Value="x")])])
    assert database.get("d") is None
    database.batch([Patch("e", more, if_missing=[command("Set", "n", Value=5)], metadata=b'{"Raven-Entity-Name":"E"}')])
    assert (database.get("e").json(), database.get("e").collection) == ({"n": 5}, "E")  # type: ignore[union-attr]


def test_what_others_write_meanwhile_is_not_lost(database: DocumentDatabase) -> None:
    database.put("a", {"n": 1, "other": 0})
    storage, admit, turns = database.storage, database.storage.admit, iter([True, True])

    def meddling(writes: Any) -> Any:
        if writes[0].expected and next(turns, False):
            database.put("a", {"n": 1, "other": 1})
        return admit(writes)

    storage.admit = meddling
    database.patch("a", [command("Inc", "n", Value=1)])
    storage.admit = admit
    assert database.get("a").json() == {"n": 2, "other": 1}  # type: ignore[union-attr]


def test_commands_as_objects(database: DocumentDatabase) -> None:
    database.put("a", {"n": 1})
    database.patch("a", [PatchCommand("n", "Set", msgspec.Raw(b"2.50"))])
    assert database.get("a").body == b'{"n":2.50}'  # type: ignore[union-attr]
    assert json.loads(database.get("a").body) == {"n": 2.5}  # type: ignore[union-attr]
