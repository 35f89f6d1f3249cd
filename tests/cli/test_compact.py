"""`muniment compact`: in a folder and on a server, and what stands in its way."""

from __future__ import annotations

from pathlib import Path
from signal import SIGINT

import pytest

from muniment import DocumentDatabase, DocumentStore, Put
from muniment.security.encryption import EncryptionKey, new_key
from tests.cli.process import muniment, on_terminal
from tests.cli.serving import serving
from tests.sampled import some


def with_gaps(folder: Path, key: EncryptionKey | None = None) -> str:
    """Make a database most of whose file is gaps; its fingerprint."""
    with DocumentDatabase(folder, key=key) as database:
        for n in range(300):
            database.put(f"a/{n}", {"text": "x" * 5000})
        for n in range(1, 300):
            database.delete(f"a/{n}")
        database.storage.purge()
        return database.statistics().fingerprint


def fingerprint(folder: Path, key: EncryptionKey | None = None) -> str:
    with DocumentDatabase(folder, create=False, read_only=True, key=key) as database:
        return database.statistics().fingerprint


def test_the_file_becomes_smaller_and_holds_the_same(tmp_path: Path) -> None:
    before = with_gaps(tmp_path / "shop")
    ended = muniment("compact", "shop", "--json", cwd=tmp_path)
    assert ended.code == 0, ended.err
    told = ended.json
    assert told["file_bytes"] < told["file_bytes_before"] / 2
    assert told["file_bytes"] == (tmp_path / "shop" / "muniment.db").stat().st_size
    assert fingerprint(tmp_path / "shop") == before
    again = muniment("compact", "shop", cwd=tmp_path)
    assert again.text.startswith("Compacted shop\n")


def test_an_encrypted_one_wants_its_key(tmp_path: Path) -> None:
    key = new_key()
    before = with_gaps(tmp_path / "safe", key)
    (tmp_path / "key").write_text(key.text)
    assert muniment("compact", "safe", cwd=tmp_path).code == 10
    assert muniment("compact", "safe", "--key-file", "key", cwd=tmp_path).code == 0
    assert fingerprint(tmp_path / "safe", key) == before


@some(2)
@pytest.mark.parametrize(
    ("line", "code", "part"),
    [
        ("compact nowhere", 3, "there is no database in nowhere"),
        ("compact shop --database x", 2, "--database is for the databases of a server"),
        ("compact shop --api-key a/b", 2, "--api-key is for the databases of a server"),
        ("compact http://127.0.0.1:1 --key-file key", 2, "no secret is sent to a server"),
        ("compact http://127.0.0.1:1/databases/x", 9, "does not answer"),
    ],
)
def test_what_it_refuses(tmp_path: Path, line: str, code: int, part: str) -> None:
    DocumentDatabase(tmp_path / "shop").close()
    ended = muniment(*line.split(), cwd=tmp_path)
    assert (ended.code, part in ended.err) == (code, True), ended.err


def test_nobody_else_may_have_it_open(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("a", {})
        assert muniment("compact", "shop", cwd=tmp_path).code == 7


HELD = """
from muniment.storage.sqlite import compact
compact._cancelled = lambda progress: progress._cancelled.wait()
"""


def test_ctrl_c_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    with DocumentDatabase(folder := tmp_path / "shop") as database:
        database.batch([Put(f"a/{n}", b"{}") for n in range(20_000)])  # SQLite looks up only now and then
    before = fingerprint(folder)
    ended = on_terminal(
        *("compact", folder),
        seen=lambda shown: "rewriting" in shown,
        then=lambda process: process.send_signal(SIGINT),
        before=HELD,
    )
    assert ended.code == 130
    assert fingerprint(folder) == before
    assert not list(folder.glob("*compacting*"))


def test_on_a_server(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as (url, _):
        with DocumentStore(url, "shop") as store:
            store.admin.create_database("shop")
            store.put("a/1", {"n": 1})
        ended = muniment("compact", f"{url}/databases/shop", "--json")
        assert ended.code == 0, ended.err
        assert ended.json["database"] == "shop"
        assert ended.json["state"] == "completed"
        assert "Compacted shop of" in muniment("compact", url, "--database", "shop").text
        assert muniment("compact", url, "--database", "none").code == 3
        with DocumentStore(url, "shop") as store:
            document = store.get("a/1")
            assert document is not None
            assert document.json() == {"n": 1}
