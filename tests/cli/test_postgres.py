"""Commands that are given the address of a schema in PostgreSQL where others are given a folder."""

from __future__ import annotations

import json
from pathlib import Path

from muniment.errors import AccessDenied, DatabaseLocked, DatabaseNotFound, InvalidInput, NotEvaluated, TargetExists
from tests.cli.process import muniment
from tests.postgres_server import Postgres

NOWHERE = {"MUNIMENT_POSTGRESQL_RETRY_SECONDS": "0"}


def test_every_command_that_takes_a_folder_takes_an_address(tmp_path: Path, postgres: Postgres) -> None:
    shop, again, copy = (postgres.address() for _ in range(3))
    (tmp_path / "dump").write_bytes(b'{"Docs":[{"Name":"Chai","@metadata":{"@id":"products/1","n":1.10}}]}')

    def run(*arguments: str, code: int = 0) -> str:
        ended = muniment(*arguments, cwd=tmp_path, env=NOWHERE)
        assert ended.code == code, ended.err
        return ended.text + ended.err

    assert "Made " in run("create", shop)
    assert "already" in run("create", shop, code=TargetExists.exit_code)
    run("settings", shop, "Muniment/History=true")
    run("smuggler", "in", shop, "dump")
    assert '"Chai"' in run("get", shop, "products/1")
    assert "is consistent" in run("check", shop)
    assert "has no backup" in run("status", shop)
    run("backup", shop, "--dest", "backups")
    run("smuggler", "in", copy, "dump", "--create")
    run("backup", shop, "--dest", "backups", "--incremental")
    run("restore", "backups", "--to", again)
    already = run("restore", "backups", "--to", again, code=TargetExists.exit_code)
    assert "never writes over" in already
    run("restore", "backups", "--to", "folder")
    fingerprints = {
        json.loads(muniment("statistics", place, "--json", cwd=tmp_path).text)["fingerprint"]
        for place in (shop, again, copy, "folder")
    }
    assert len(fingerprints) == 1
    assert "consistent" in run("check", again)
    run("smuggler", "out", shop, "out.ravendbdump")
    run("smuggler", "between", shop, "target", "--create")
    difference = run("restore", "backups", "--to", shop, "--on-conflict", "overwrite", "--dry-run")
    assert "0" in difference
    assert "database" in run("doctor", shop)
    for refused in (["compact", shop], ["freeze", shop], ["move", "folder", "elsewhere"]):
        run(*refused, code=NotEvaluated.exit_code)
    moved = json.loads(muniment("move", "folder", postgres.address(), "--json", cwd=tmp_path).text)
    assert {moved["fingerprint"]} == fingerprints
    run("get", postgres.address(), "a", code=DatabaseNotFound.exit_code)
    nobody = postgres.address().replace("muniment@", "nobody@")
    assert "hint" in run("create", nobody, code=AccessDenied.exit_code)
    secret = run("create", shop.replace("muniment@", "muniment:secret@"), code=InvalidInput.exit_code)
    assert "secret" not in secret
    assert DatabaseLocked.exit_code == 7
