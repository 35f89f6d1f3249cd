"""NDJSON and Parquet on their way in: what we write comes back, and so does what others write."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from muniment import DocumentDatabase
from muniment.errors import InvalidDocument, InvalidId, InvalidInput, UnknownFormat
from muniment.smuggling import import_from

ORDERS = {"Raven-Entity-Name": "Orders", "Owner": "me"}


def contents(database: DocumentDatabase) -> dict[str, Any]:
    return {
        document.id: (document.body, {n: v for n, v in document.metadata.items() if n != "Last-Modified"})
        for document in database.by_etag(limit=999)
    }


@pytest.fixture
def copy(tmp_path: Path) -> Any:
    with DocumentDatabase(tmp_path / "copy") as copy:
        yield copy
        assert copy.check() == []


@pytest.mark.parametrize("name", ["x.ndjson", "x.jsonl.gz", "x.ndjson.zst", "x.parquet"])
def test_what_we_write_comes_back(
    database: DocumentDatabase, copy: DocumentDatabase, tmp_path: Path, name: str
) -> None:
    database.put("orders/1", b'{"Total":1.10,"big":1e400,"x":"\\ud800"}', ORDERS)
    database.put("orders/2", {"nested": {"a": [1, None]}}, ORDERS)
    database.put("Ü/1", b"{}")
    for number in range(300):
        database.put(f"many/{number}", {"n": number})
    database.delete("many/7")
    database.export(tmp_path / name)
    found = import_from(tmp_path / name, copy)
    assert (found.documents, found.failed) == (302, 0)
    assert contents(copy) == contents(database)
    changed = database.get("orders/1").last_modified  # type: ignore[union-attr]
    assert copy.get("orders/1").last_modified == changed  # type: ignore[union-attr]


@pytest.mark.parametrize("form", ["ndjson", "ndjson.gz", "parquet", "stream"])
def test_plain_objects(copy: DocumentDatabase, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"x.{form}"
    text = b'{"no":"orders/1","Total":1.5}\r\n\n{"no":"orders/2","Total":2.5}'
    if form == "parquet":
        (tmp_path / "x.ndjson").write_bytes(text)
        duckdb.sql(f"COPY (FROM read_json('{tmp_path}/x.ndjson')) TO '{path}' (FORMAT parquet)")
    else:
        path.write_bytes(gzip.compress(text) if form.endswith("gz") else text)
    source = io.BytesIO(text) if form == "stream" else path
    assert import_from(source, copy, id_field="no", collection="Orders").documents == 2
    found = copy.get("orders/2")
    assert found is not None
    assert (found.json(), found.collection) == ({"no": "orders/2", "Total": 2.5}, "Orders")
    if form != "parquet":
        assert copy.get("orders/1").body == b'{"no":"orders/1","Total":1.5}'  # type: ignore[union-attr]


def test_members_apart(copy: DocumentDatabase, tmp_path: Path) -> None:
    lines = [
        {"id": "a", "collection": "As", "metadata": {"Owner": "me"}, "document": {"n": 1}},
        {"id": "b", "document": '{"n":1.10}', "metadata": '{"Raven-Entity-Name":"Bs"}', "collection": "no"},
        {"id": "c", "document": {}},
        {"id": "gone", "document": None},
    ]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert import_from(tmp_path / "x.jsonl", copy).documents == 3
    assert contents(copy) == {
        "a": (b'{"n":1}', {"Raven-Entity-Name": "As", "Owner": "me"}),
        "b": (b'{"n":1.10}', {"Raven-Entity-Name": "Bs"}),
        "c": (b"{}", {}),
    }


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        (b'{"a":1}', InvalidInput, "line 1: the document has no id"),
        (b'{"a":1', InvalidDocument, "line 1: this is not JSON: Expecting ',' delimiter at character 7"),
        (b"[1]", UnknownFormat, "JSON array"),
        (b"1", InvalidDocument, "line 1: this is JSON, but not an object"),
        (b'{"id":"a","document":{}}\n{"id":', InvalidInput, "line 2"),
        (b'{"id":"","document":{}}', InvalidId, "line 1"),
        (b'{"id":"a","document":[]}', InvalidDocument, "line 1: document 'a' is JSON, but not an object"),
        (b'{"id":"a","document":{},"metadata":[]}', InvalidDocument, "not an object"),
    ],
)
def test_what_is_none(copy: DocumentDatabase, tmp_path: Path, text: bytes, error: Any, told: str) -> None:
    (tmp_path / "x.ndjson").write_bytes(text)
    with pytest.raises(error, match=told) as caught:
        import_from(tmp_path / "x.ndjson", copy)
    assert caught.value.hint


def test_a_plain_object_without_its_id(copy: DocumentDatabase, tmp_path: Path) -> None:
    (tmp_path / "x.ndjson").write_bytes(b'{"no":1}\n{"no":null}')
    with pytest.raises(InvalidDocument, match=r"line 2: its member 'no' is None"):
        import_from(tmp_path / "x.ndjson", copy, id_field="no")


@pytest.mark.parametrize(
    ("name", "text", "command"),
    [("x.csv", "no,total\n1,2\n", "duckdb"), ("x.json", '[{"no":1}]', "jq"), ("x.json.gz", '[{"no":1}]', "jq")],
)
def test_what_has_to_be_converted(copy: DocumentDatabase, tmp_path: Path, name: str, text: str, command: str) -> None:
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    with pytest.raises(UnknownFormat) as caught:
        import_from(tmp_path / name, copy, id_field="no")
    assert command in caught.value.hint


def test_a_dump_needs_no_id_field(database: DocumentDatabase, copy: DocumentDatabase, tmp_path: Path) -> None:
    database.export(tmp_path / "x.ravendbdump")
    with pytest.raises(InvalidInput, match="is a dump"):
        import_from(tmp_path / "x.ravendbdump", copy, id_field="no")


def test_lines_that_are_cut_short(copy: DocumentDatabase, tmp_path: Path) -> None:
    text = gzip.compress(b'{"id":"a","document":{}}\n' * 100, mtime=0)
    (tmp_path / "x.ndjson.gz").write_bytes(text[:-9])
    with pytest.raises(InvalidInput, match="cut short"):
        import_from(tmp_path / "x.ndjson.gz", copy)
