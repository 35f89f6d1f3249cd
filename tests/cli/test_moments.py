"""Incremental backups, restores of a moment or a part, plans, and a look into the backups."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from muniment import DocumentDatabase, MaintenanceActions
from tests.cli.process import muniment
from tests.cli.test_commands import well

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
    options = ("--collection", "orders", "--id-prefix", "x", "--etag", "6")
    facts = well("restore", chain.backups, *options, "--to", tmp_path / "two", "--json").json
    assert (facts["documents"], facts["attachments"], facts["etag"]) == (2, 0, 6)


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


@pytest.mark.parametrize(
    ("options", "code", "part"),
    [
        ("restore SOURCE", 2, "--to FOLDER"),
        ("restore SOURCE --to new --at tomorrow", 2, "'tomorrow' is not a time"),
        ("restore SOURCE --to new --at 0001-01-01T00:00+23:59", 3, "before the first backup"),
        ("restore SOURCE --to new --at 2020-01-01", 3, "before the first backup"),
        ("restore SOURCE --to new --at 2020-01-01 --etag 4", 2, "--at and --etag"),
        ("restore SOURCE --to new --etag 2", 3, "before the end of the first backup"),
        ("restore SOURCE --to new --etag 99 --dry-run", 3, "after the last backup"),
        ("restore SOURCE --to new --backup nowhere", 3, "no complete backup 'nowhere'"),
        ("restore SOURCE --to new --id=", 2, "is empty"),
        ("restore SOURCE --to new --name shop", 2, "are for a server"),
        ("restore SOURCE --to new --server http://127.0.0.1:1", 2, "--to and --server"),
        ("restore SOURCE --server http://127.0.0.1:1 --etag 4", 2, "a server restores the newest state"),
        ("restore SOURCE --server http://127.0.0.1:1", 9, "does not answer"),
        ("verify SOURCE --backup nowhere", 3, "no complete backup 'nowhere'"),
        ("inspect nowhere", 3, "there is no folder nowhere"),
        ("inspect .", 3, "no complete backup in ."),
        ("inspect SOURCE --id orders/9", 3, "no backup in"),
    ],
)
def test_bad_input(chain: Chain, tmp_path: Path, options: str, code: int, part: str) -> None:
    line = [str(chain.backups) if word == "SOURCE" else word for word in options.split()]
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
