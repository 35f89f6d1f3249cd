"""The commands with an object store in the place of a folder of backups."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from muniment import DocumentDatabase
from muniment.backup.repository import backups
from tests.cli.process import Ended, muniment
from tests.object_store import ObjectStore
from tests.server.running import running


def said(*arguments: str | Path) -> Ended:
    """A command that succeeds, and tells no secret."""
    ended = muniment(*arguments)
    assert ended.code == 0, ended.err
    assert b"secret" not in ended.out
    return ended


def test_every_command_takes_an_address(shop: Path, object_store: ObjectStore, tmp_path: Path) -> None:
    place = object_store.place()
    taken = said("backup", shop, "--dest", place, "--json").json
    assert taken["backup"].startswith(f"{place}/")
    more = said("backup", shop, "--dest", place, "--incremental", "--json").json
    assert more["kind"] == "incremental"
    assert place in said("status", shop).text
    assert said("verify", place, "--json").json["record"].startswith(f"{place}/verification-")
    assert said("rehearse", place, "--json").json["record"].startswith(f"{place}/rehearsal-")
    assert taken["backup"].rpartition("/")[2] in said("inspect", place).text
    assert len(said("inspect", place, "--id", "odd/one", "--json").json["versions"]) == 1
    with DocumentDatabase(shop, read_only=True) as database:
        document = database.get("Odd/One")
        count = database.statistics().documents
    assert document is not None
    assert said("get", place, "Odd/One").out == document.body
    assert said("inspect", place, "--query", "SELECT count(*) AS n FROM documents", "--json").json["rows"] == [[count]]
    assert "read_parquet" in said("inspect", place, "--sql-view").text
    said("smuggler", "out", place, tmp_path / "moment.ndjson")
    lines = (tmp_path / "moment.ndjson").read_text().splitlines()
    assert len([line for line in lines if json.loads(line)]) >= count
    plan = said("restore", place, "--to", tmp_path / "restored", "--dry-run", "--json").json
    assert plan["backups"][0]["backup"] == taken["backup"]
    said("restore", place, "--to", tmp_path / "restored")
    said("restore", place, "--to", tmp_path / "part", "--id", "Odd/One")
    said("restore", taken["backup"], "--to", tmp_path / "one")
    for folder in ("restored", "one"):
        with DocumentDatabase(tmp_path / folder, read_only=True) as database:
            assert database.statistics().documents == count
    merged = said("merge", place, "--through", more["backup"].rpartition("/")[2], "--json").json
    assert merged["backup"].startswith(f"{place}/")


def test_a_server_takes_an_address(object_store: ObjectStore, tmp_path: Path) -> None:
    place = object_store.place()
    with running(tmp_path / "data") as server:
        shop = server.create("shop")
        shop.put("a", b'{"n":1}')
        at = ("--url", str(server.client.base_url), "--database", "shop")
        taken = said("backup", *at, "--dest", place, "--json").json
        assert taken["backup"].startswith(f"{place}/")
        two = said("backup", *at, "--dest", place, "--dest", tmp_path / "more", "--incremental", "--json").json
        assert [each["kind"] for each in (two, *two["also"])] == ["incremental", "full"]
        [more] = backups(tmp_path / "more")
        assert str(more.folder) == two["also"][0]["backup"]
        shutil.move(more.folder, tmp_path / "away")
        at = ("--copy", place, "--to", f"{server.client.base_url}/databases/again")
        back = said("restore", tmp_path / "more", *at)  # the first has nothing any more
        assert f"it was read from {place}" in back.err
        there = ("--url", str(server.client.base_url))
        assert said("verify", place, *there, "--json").json["record"].startswith(f"{place}/verification-")
        assert said("copy", place, tmp_path / "here", *there, "--json").json["source"] == place
        made = said("schedule", "add", "nightly", "--dest", "s3://no-such-bucket/a", "--full", "@daily", *there)
        assert "there is no such bucket" in made.text


def test_what_is_wrong_is_said_with_what_to_do(shop: Path, object_store: ObjectStore) -> None:
    wrong = muniment("verify", "s3://no-such-bucket/shop")
    assert (wrong.code, "there is no such bucket" in wrong.err) == (8, True)
    wrong = muniment("verify", object_store.place(), env={"AWS_SECRET_ACCESS_KEY": "another"})
    assert (wrong.code, "does not accept the credentials" in wrong.err) == (8, True)
    wrong = muniment("backup", shop, "--dest", "s3://key:hunter2@bucket/shop")
    assert (wrong.code, "hunter2" in wrong.err) == (2, False)
    assert "neither a password nor options" in wrong.err
    wrong = muniment("backup", shop, "--dest", "hdfs://bucket/shop")
    assert wrong.code == 2
    assert "Traceback" not in wrong.err
