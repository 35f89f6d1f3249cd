"""Incremental backups, restores of a moment or a part, plans, and a look into the backups."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from muniment import DocumentDatabase, MaintenanceActions, Put
from tests.cli.process import muniment
from tests.cli.test_commands import well
from tests.sampled import some

ODD = b'{"price": 1.10 ,\n "name":"S\xc3\xa3o Paulo"}'
ORDERS = {"Raven-Entity-Name": "Orders"}


@dataclass(frozen=True)
class Chain:
    """A full backup at etag 3, one with history to etag 6 (written at `time`), one with a deletion at etag 7."""

    backups: Path
    names: list[str]
    time: str
    said: str


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    place = tmp_path_factory.mktemp("chain")
    shop, backups = place / "shop", place / "backups"
    with DocumentDatabase(shop) as database:
        database.configure({"Muniment/History": "true"})
        database.put("orders/1", {"version": 1}, ORDERS)
        database.put("Orders/2", ODD, ORDERS)
        database.put_attachment("orders/2/photo", b"\x89PNG")
        database.maintenance.start_backup(backups).wait()
        for number in (2, 3, 4):
            database.put("orders/1", {"version": number}, ORDERS)
        last = database.get("orders/1")
    said = well("backup", shop, "--dest", backups, "--incremental").text
    with DocumentDatabase(shop) as database:
        database.delete("orders/1")
        database.maintenance.start_backup(backups, incremental=True).wait()
    assert last is not None
    return Chain(backups, sorted(path.name for path in backups.iterdir()), last.last_modified, said)


def version(folder: Path) -> int | None:
    with DocumentDatabase(folder, create=False) as database:
        assert database.check() == []
        document = database.get("orders/1")
        return document.json()["version"] if document else None


def test_an_incremental_backup_says_what_it_is(chain: Chain) -> None:
    assert chain.names[1] in chain.said
    assert "incremental (asked for)" in chain.said
    assert "3 revisions, 0 deletions" in chain.said


def test_where_none_is_possible_it_says_why(shop: Path, tmp_path: Path) -> None:
    facts = well("backup", shop, "--dest", tmp_path / "new", "--incremental", "--json").json
    assert (facts["kind"], facts["reason"]) == ("full", "first")


@pytest.mark.parametrize(
    ("point", "etag", "expected"),
    [
        (["--etag", "4"], 4, 2),
        (["--backup", 1], 6, 4),
        (["--at", "time"], 6, 4),
        ([], 7, None),
    ],
)
def test_a_moment_is_planned_verified_and_restored(
    chain: Chain, tmp_path: Path, point: list[str | int], etag: int, expected: int | None
) -> None:
    options = [chain.names[part] if isinstance(part, int) else part.replace("time", chain.time) for part in point]
    plan = well("restore", chain.backups, *options, "--to", tmp_path / "new", "--dry-run", "--json").json
    assert not list(tmp_path.iterdir())
    assert plan["etag"] == etag
    verified = well("verify", chain.backups, *options, "--json").json
    restored = well("restore", chain.backups, *options, "--to", tmp_path / "new", "--json").json
    assert version(tmp_path / "new") == expected
    for facts in (verified, restored):
        assert [facts[name] for name in ("etag", "time", "file_bytes")] == [
            plan[name] for name in ("etag", "time", "file_bytes")
        ]
    assert verified["fingerprint"] == restored["fingerprint"]


def test_a_plan_names_backups_files_rows_and_the_transaction(chain: Chain) -> None:
    said = well("restore", chain.backups, "--etag", "5", "--dry-run").text
    facts = well("restore", chain.backups, "--etag", "5", "--dry-run", "--json").json
    assert [Path(backup["backup"]).name for backup in facts["backups"]] == chain.names[:2]
    files = [file for backup in facts["backups"] for file in backup["files"]]
    assert facts["rows"] == sum(file["rows"] for file in files) == 6
    assert facts["file_bytes"] == sum((chain.backups / name).stat().st_size for name in _paths(facts))
    for part in (*chain.names[:2], "documents-00001.parquet", "attachments-00001.parquet", f"{facts['time']}, etag 5"):
        assert part in said


def _paths(plan: dict[str, list[dict[str, list[dict[str, str]]]]]) -> list[str]:
    return [
        f"{Path(str(backup['backup'])).name}/{file['name']}" for backup in plan["backups"] for file in backup["files"]
    ]


def test_a_part_is_restored(chain: Chain, tmp_path: Path) -> None:
    said = well("restore", chain.backups, "--id", "ORDERS/2", "--to", tmp_path / "one").text
    assert said.startswith("Restored a part of shop to ")
    with DocumentDatabase(tmp_path / "one", create=False) as database:
        document = database.get("orders/2")
        assert document is not None
        assert document.body == ODD
        assert [attachment.key for attachment in database.attachments()] == ["orders/2/photo"]
    options = ("--collection", "orders", "--id-prefix", "orders/1", "--etag", "6")
    facts = well("restore", chain.backups, *options, "--to", tmp_path / "two", "--json").json
    assert (facts["documents"], facts["attachments"], facts["etag"]) == (2, 0, 6)


def test_a_copy_is_made_another_database(chain: Chain, tmp_path: Path) -> None:
    well("restore", chain.backups, "--to", tmp_path / "copy", "--new-id")
    ended = muniment("backup", tmp_path / "copy", "--dest", chain.backups, "--incremental")
    assert (ended.code, "another database" in ended.err) == (4, True)
    ended = muniment("restore", chain.backups, "--to", tmp_path / "copy", "--new-id", "--on-conflict=skip")
    assert (ended.code, "--new-id" in ended.err) == (2, True)


def test_the_chains_of_a_folder_are_listed(chain: Chain, tmp_path: Path) -> None:
    said = well("inspect", chain.backups).text
    facts = well("inspect", chain.backups, "--json").json
    [listed] = facts["chains"]
    assert [backup["backup"] for backup in listed["backups"]] == chain.names
    assert [(backup["after"], backup["etag"]) for backup in listed["backups"]] == [(0, 3), (3, 6), (6, 7)]
    assert [(reach["from"]["etag"], reach["to"]["etag"]) for reach in listed["restorable"]] == [(3, 7)]
    for part in (*chain.names, "etags 3 to 6", "full (first)", f"(etag 3) to {listed['restorable'][0]['to']['time']}"):
        assert part in said


def test_a_chain_without_history_and_one_with_a_gap(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "shop") as database:
        for number in (1, 2, 3):
            database.put("a", {"number": number})
            database.put("b", {"number": number})
            database.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()
    [listed] = well("inspect", tmp_path / "backups", "--json").json["chains"]
    assert [(reach["from"]["etag"], reach["to"]["etag"]) for reach in listed["restorable"]] == [(2, 2), (4, 4), (6, 6)]
    middle = sorted((tmp_path / "backups").iterdir())[1]
    (middle / "manifest.json").unlink()
    chains = well("inspect", tmp_path / "backups", "--json").json["chains"]
    assert [(chain["problem"] is None, len(chain["restorable"])) for chain in chains] == [(False, 0), (True, 1)]
    assert "is missing or was changed" in well("inspect", tmp_path / "backups").text


def test_every_version_of_a_document(chain: Chain) -> None:
    said = well("inspect", chain.backups, "--id", "ORDERS/1").text
    assert said.startswith(f"orders/1 has 5 versions in {chain.backups}\n")
    facts = well("inspect", chain.backups, "--id", "orders/1", "--json").json
    versions = facts["versions"]
    assert [found["etag"] for found in versions] == [1, 4, 5, 6, 7]
    assert [found["deleted"] for found in versions] == [False, False, False, False, True]
    assert [json.loads(found["document"])["version"] for found in versions[:-1]] == [1, 2, 3, 4]
    assert versions[0]["backups"] == chain.names[:1]
    for found in versions:
        assert found["time"] in said
    [odd] = well("inspect", chain.backups, "--id", "orders/2", "--json").json["versions"]
    assert odd["document"].encode() == ODD


def test_an_old_version_is_read(chain: Chain) -> None:
    for options, expected in (
        (["--etag", "4"], 2),
        (["--backup", chain.names[0]], 1),
        (["--at", chain.time], 4),
    ):
        ended = well("get", chain.backups, "ORDERS/1", *options)
        assert json.loads(ended.out) == {"version": expected}
    assert well("get", chain.backups, "orders/2").out == ODD
    facts = well("get", chain.backups, "orders/1", "--etag", "5", "--json").json
    assert (facts["etag"], facts["document"], facts["metadata"]) == (5, {"version": 3}, ORDERS)
    said = well("inspect", chain.backups, "--id", "orders/1", "--content").text
    assert re.findall(r'"version": (\d)', said) == ["1", "2", "3", "4"]
    found = MaintenanceActions.version(chain.backups, "orders/1")
    assert found is not None
    assert (found.deleted, found.etag) == (True, 7)


def test_an_old_version_is_compared_with_its_sha256_first(chain: Chain, tmp_path: Path) -> None:
    shutil.copytree(chain.backups, tmp_path / "backups")
    file = next((tmp_path / "backups" / chain.names[0]).glob("documents-*.parquet"))
    file.write_bytes(file.read_bytes().replace(b"PAR1", b"PAR2"))
    assert muniment("get", str(tmp_path / "backups"), "orders/1", "--etag", "4").code == 5


def test_how_one_document_differs(chain: Chain) -> None:
    lines = well("inspect", chain.backups, "--diff", "3", "etag:5", "--id", "orders/1").text.splitlines()
    assert lines[0].startswith("--- before: stored at 20")
    assert [line for line in lines if line[0] in "+-"][2:] == ['-  "version": 1', '+  "version": 3']
    assert "the same at both" in well("inspect", chain.backups, "--diff", "3", "3", "--id", "orders/1").text
    facts = well("inspect", chain.backups, "--diff", "5", "newest", "--id", "orders/1", "--json").json
    assert (facts["before"]["document"], facts["after"]["deleted"]) == ('{"version":3}', True)


@some(12)
@pytest.mark.parametrize(
    ("options", "code", "part"),
    [
        ("restore SOURCE", 2, "--to FOLDER"),
        ("restore SOURCE --to new --at tomorrow", 2, "'tomorrow' is not a time"),
        ("restore SOURCE --to new --at 0001-01-01T00:00+23:59", 3, "before the first backup"),
        ("restore SOURCE --to new --at 2020-01-01T00:00Z", 3, "before the first backup"),
        ("restore SOURCE --to new --at 2020-01-01T00:00Z --etag 4", 2, "time and etag each"),
        ("restore SOURCE --to new --etag 2", 3, "before the end of the first backup"),
        ("restore SOURCE --to new --etag 99 --dry-run", 3, "after the last backup"),
        ("restore SOURCE --to new --backup nowhere", 3, "no complete backup 'nowhere'"),
        ("restore SOURCE --to new --id=", 2, "is empty"),
        ("restore SOURCE --to new --name shop", 2, "are for a server"),
        ("restore SOURCE --to new --server http://127.0.0.1:1", 2, "--to and --server"),
        ("restore SOURCE --server http://127.0.0.1:1", 9, "does not answer"),
        ("verify SOURCE --backup nowhere", 3, "no complete backup 'nowhere'"),
        ("inspect nowhere", 3, "there is no folder nowhere"),
        ("inspect .", 3, "no complete backup in ."),
        ("inspect SOURCE --id orders/9", 3, "no backup in"),
        ("inspect SOURCE --diff 3 yesterday", 2, "'yesterday' names no moment"),
        ("inspect SOURCE --diff 3 1", 3, "before the end of the first backup"),
        ("inspect SOURCE --id orders/1 --query SELECT", 2, "--id and --query are different questions"),
        ("inspect SOURCE --diff 3 7 --id orders/9", 3, "was there at neither moment"),
        ("inspect SOURCE --content", 2, "--content is for --id"),
        ("get SOURCE orders/9", 3, "no document 'orders/9' at that moment"),
        ("get SOURCE orders/1", 3, "it was deleted at 20"),
        ("inspect SOURCE --etag 7", 2, "--etag is for --query and --sql-view"),
        ("inspect SOURCE --query SELEKT", 2, "DuckDB refuses this: "),
        ("inspect SOURCE --query INSTALL\xa0httpfs", 2, ""),
        ("inspect nowhere --query SELECT", 3, "there is no folder nowhere"),
        ("merge SOURCE --through nowhere", 3, "no complete backup 'nowhere'"),
        ("merge SOURCE --through NAME", 2, "there is nothing to merge"),
        ("rehearse SOURCE --backup nowhere", 3, "no complete backup 'nowhere'"),
        ("rehearse SOURCE --place nowhere", 8, "nowhere"),
        ("status", 2, "no database was named"),
        ("status SOURCE --url http://127.0.0.1:1", 2, "each say which database is meant"),
        ("status nowhere", 3, "there is no database in nowhere"),
        ("status --url http://127.0.0.1:1", 9, "does not answer"),
    ],
)
def test_bad_input(chain: Chain, tmp_path: Path, options: str, code: int, part: str) -> None:
    words = {"SOURCE": str(chain.backups), "NAME": chain.names[0]}
    line = [words.get(word, word) for word in options.split(" ")]
    ended = muniment(*line, cwd=tmp_path)
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    assert part in ended.err
    assert len(ended.err.splitlines()) == 2
    assert ended.out == b""
    assert not list(tmp_path.iterdir())


def test_what_is_listed_as_restorable_is(chain: Chain, tmp_path: Path) -> None:
    [listed] = well("inspect", chain.backups, "--json").json["chains"]
    [reach] = listed["restorable"]
    for etag in range(reach["from"]["etag"], reach["to"]["etag"] + 1):
        plan = MaintenanceActions.plan_restore(chain.backups, etag=etag)
        assert plan.manifest.through >= etag


def test_what_changed_between_two_moments(chain: Chain) -> None:
    said = well("inspect", chain.backups, "--diff", "3", "newest").text
    assert said.splitlines()[0] == f"0 added, 0 changed, 1 deleted in {chain.backups}"
    assert re.search(r"^  Orders +1 deleted\n    deleted +orders/1$", said, re.MULTILINE)
    facts = well("inspect", chain.backups, "--diff", chain.names[2], chain.time, "--json").json
    assert (facts["before"]["etag"], facts["after"]["etag"]) == (7, 6)
    assert (facts["added"], facts["changed"], facts["deleted"]) == (1, 0, 0)
    [changes] = facts["changes"]
    assert (changes["kind"], changes["collection"], changes["added"]) == ("document", "Orders", ["orders/1"])


def test_long_lists_are_cut_for_people_and_whole_for_programs(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "shop") as database:
        database.maintenance.start_backup(tmp_path / "backups").wait()
        database.batch([Put(f"loose/{number}", {}) for number in range(1, 31)])
        database.put_attachment("photo", b"")
        database.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()
    said = well("inspect", tmp_path / "backups", "--diff", "etag:0", "newest").text
    assert "31 added" in said
    assert said.count("loose/") == 10
    assert "and 20 more; --json names all" in said
    assert "attachments, (no collection)" in said
    facts = well("inspect", tmp_path / "backups", "--diff", "etag:0", "newest", "--json").json
    assert len(facts["changes"][0]["added"]) == 30


def test_a_query_prints_a_table_or_an_object(chain: Chain) -> None:
    query = (
        "SELECT id, (document->>'$.price')::DECIMAL(5,2) AS price, modified, 1e999 AS big FROM documents ORDER BY id"
    )
    lines = well("inspect", chain.backups, "--query", query, "--etag", "6").text.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["id", "--------", "Orders/2", "orders/1"]
    assert "1.10" in lines[2]
    assert lines[-1].startswith("2 rows at 20")
    ended = well("inspect", chain.backups, "--query", query, "--limit", "1", "--json")
    facts = ended.json
    assert (facts["columns"], facts["etag"], facts["whole"]) == (["id", "price", "modified", "big"], 7, True)
    assert b"1.10" in ended.out
    [[id, price, modified, big]] = facts["rows"]
    assert (id, price, big) == ("Orders/2", 1.10, None)
    assert datetime.fromisoformat(modified).tzinfo is None
    said = well(
        "inspect", chain.backups, "--query", "SELECT 'a\nb' || repeat('x', 99) FROM range(3)", "--limit", "2"
    ).text
    assert "\na bxxx" in said
    assert "…" in said
    assert "2 rows" in said
    assert "--limit N shows N" in said


def test_a_rehearsal_leaves_its_record(chain: Chain, tmp_path: Path) -> None:
    copy = tmp_path / "backups"
    shutil.copytree(chain.backups, copy)
    said = well("rehearse", copy, "--place", tmp_path, "--quiet").text
    assert said.startswith(f"shop can be recovered from {copy}\n")
    facts = well("rehearse", copy, "--etag", "4", "--json").json
    assert facts["etag"] == 4
    record = json.loads(Path(facts["record"]).read_bytes())
    assert (record["etag"], record["backup"], record["problem"]) == (4, chain.names[1], None)
    assert len(list(copy.glob("rehearsal-*.json"))) == 2
    assert f"record             {copy}" in said
    file = next((copy / chain.names[0]).glob("documents-*.parquet"))
    file.write_bytes(b"")
    assert muniment("rehearse", copy).code == 5
    assert len(list(copy.glob("rehearsal-*.json"))) == 3


def test_a_chain_is_merged(chain: Chain, tmp_path: Path) -> None:
    copy = tmp_path / "backups"
    shutil.copytree(chain.backups, copy)
    facts = well("merge", copy, "--through", chain.names[1], "--json").json
    assert (facts["kind"], facts["etag"], facts["documents"]) == ("full", 6, 2)
    assert len([path for path in copy.iterdir() if path.is_dir()]) == 4
    shutil.rmtree(facts["backup"])
    said = well("merge", copy, "--through", chain.names[1], "--delete-merged").text
    assert said.startswith(f"Merged {copy} through {chain.names[1]} into {copy}/")
    assert "merged from 2 backups" in said
    [listed] = well("inspect", copy, "--json").json["chains"]
    assert [backup["etag"] for backup in listed["backups"]] == [6, 7]
    assert version(MaintenanceActions.restore(copy, tmp_path / "six", etag=6).folder) == 4


def test_the_status_says_what_to_do_next(tmp_path: Path) -> None:
    shop, backups = tmp_path / "shop", tmp_path / "backups"
    with DocumentDatabase(shop) as database:
        database.put("orders/1", {})
    assert "take a first backup" in well("status", shop).text
    well("backup", shop, "--dest", backups)
    said = well("status", shop).text
    assert said.startswith("shop at etag 1 was backed up to 1 folder\n")
    assert re.search(rf"^  {backups} +1 backup with ", said, re.MULTILINE)
    assert re.search(r"^    rehearsed +never$", said, re.MULTILINE)
    assert said.count(f"no rehearsal yet: muniment rehearse {backups}") == 1
    well("rehearse", backups)
    facts = well("status", shop, "--json").json
    assert facts["next"] is None
    [state] = facts["destinations"]
    assert (state["backups"], state["changes_since"], state["last_rehearsal"]["etag"]) == (1, 0, 1)
    assert "nothing: all of it is backed up, and proven" in well("status", shop).text
    assert "last backup" in well("statistics", shop).text
