"""Encrypted databases over HTTP: their keys are kept wrapped, and nothing of either is to be found in clear."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from muniment import DocumentDatabase
from muniment.errors import WrongKey
from muniment.security.encryption import new_key
from tests.sampled import count, some, torture
from tests.secret import SECRET, holding_secret
from tests.server.running import Database, Server, assert_error, running

KEY, OTHER = new_key(), new_key()
BUNDLE = {"Raven/ActiveBundles": "Replication;Encryption"}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "server" / "data"


@pytest.fixture
def server(data_dir: Path) -> Iterator[Server]:
    data_dir.parent.mkdir()
    with running(data_dir) as server:
        yield server


def put(server: Server, name: str, secured: Any, *, settings: dict[str, str] | None = None, etag: str = "") -> Any:
    body = {"Settings": BUNDLE if settings is None else settings, "SecuredSettings": secured}
    return server.client.put(f"/admin/databases/{name}", json=body, headers={"If-None-Match": etag} if etag else {})


def encrypted(server: Server, name: str = "safe", **secured: str) -> Database:
    """A new encrypted database with secrets in it."""
    made = put(server, name, {"Raven/Encryption/Key": KEY.text, **secured})
    assert made.status_code == 200, made.text
    database = Database(server, name)
    for n in range(30):
        assert database.put(f"people/{SECRET}-{n}", f'{{"Text": "{SECRET * 30}"}}').status_code == 201
    return database


def described(server: Server, name: str = "safe") -> dict[str, Any]:
    told: dict[str, Any] = server.client.get(f"/admin/databases/{name}").json()
    return told


def key_in_clear(*places: Path) -> list[str]:
    """The files there with a key in them, as text or as bytes."""
    looks = [each for key in (KEY, OTHER) for each in (key.text.encode(), key.secret, key.secret.hex().encode())]
    found = [path for place in places for path in place.rglob("*") if path.is_file()]
    return [path.name for path in found if any(look in path.read_bytes() for look in looks)]


def test_an_encrypted_database_is_used_like_any_other_and_nothing_is_in_clear(server: Server, data_dir: Path) -> None:
    safe = encrypted(server)
    assert safe.get(f"/docs/people/{SECRET}-3").json()["Text"].startswith(SECRET)
    for place in (data_dir, data_dir.parent):
        assert holding_secret(place) == []
        assert key_in_clear(place) == []
    server.stop()
    assert holding_secret(data_dir.parent) == []
    assert key_in_clear(data_dir.parent) == []
    with pytest.raises(WrongKey):
        DocumentDatabase(data_dir / "Databases" / "safe", create=False)
    with DocumentDatabase(data_dir / "Databases" / "safe", create=False, key=KEY) as database:
        assert database.check() == []
    with running(data_dir) as again:
        assert Database(again, "safe").get(f"/docs/people/{SECRET}-3").status_code == 200


def test_nothing_is_in_clear_after_a_kill(server: Server, data_dir: Path) -> None:
    encrypted(server)
    server.kill()
    assert holding_secret(data_dir.parent) == []
    assert key_in_clear(data_dir.parent) == []


def test_the_key_is_in_no_answer_log_export_or_backup(server: Server, data_dir: Path, tmp_path: Path) -> None:
    safe = encrypted(server)
    answers = [
        *(server.client.get(path) for path in ("/admin/databases/safe", "/docs/Raven/Databases/safe", "/docs")),
        *(server.client.get(path) for path in ("/databases?getAdditionalData=true", "/operations", "/admin/stats")),
        server.client.post("/queries", json=["Raven/Databases/safe"]),
        server.client.post("/smuggler/export", json={}),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert KEY.text not in answer.text
    system = Database(server, "").backup(tmp_path / "system")
    assert system["Completed"]
    assert not system["Faulted"], system
    done = safe.backup(tmp_path / "backups", **{"in-clear": "true"})
    assert not done["Faulted"], done
    assert key_in_clear(data_dir.parent, tmp_path / "system", tmp_path / "backups") == []
    kept = next((tmp_path / "backups").glob("*/Database.Document")).read_text()
    assert "SecuredSettings" not in kept
    assert KEY.text not in server.log()


def test_the_master_key_is_outside_the_data_folder_and_for_its_owner(server: Server, data_dir: Path) -> None:
    master = data_dir.with_name("data.master-key")
    server.create("plain")
    assert not master.exists()
    encrypted(server)
    assert master.stat().st_mode & 0o777 == 0o600


def test_without_its_master_key_a_server_opens_no_encrypted_database_and_makes_no_other_key(
    server: Server, data_dir: Path
) -> None:
    encrypted(server)
    server.create("plain")
    server.stop()
    master = data_dir.with_name("data.master-key")
    content = master.read_bytes()
    master.unlink()
    with running(data_dir) as again:
        assert_error(again.client.get("/databases/safe/docs"), 403, "master key", "is missing")
        assert again.client.get("/databases/plain/docs").status_code == 200
        assert_error(put(again, "other", {"Raven/Encryption/Key": KEY.text}), 403, "is missing")
        assert not master.exists()
    master.write_text(f"{new_key().text}\n")
    with running(data_dir) as again:
        assert_error(again.client.get("/databases/safe/docs"), 403, "was not wrapped with the key")
    master.unlink()
    elsewhere = data_dir.parent / "kept apart" / "key"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(content)
    with running(data_dir, master_key_file=str(elsewhere)) as again:
        assert again.client.get("/databases/safe/docs").status_code == 200


def test_a_master_key_in_the_data_folder_is_refused(data_dir: Path) -> None:
    data_dir.mkdir(parents=True)
    with (
        pytest.raises(RuntimeError, match="would be in the data folder"),
        running(data_dir, master_key_file=str(data_dir / "key")),
    ):
        pass


@some(2)
@pytest.mark.parametrize(
    ("settings", "secured", "said"),
    [
        (BUNDLE, {}, "there is no Raven/Encryption/Key"),
        (BUNDLE, {"Raven/Encryption/Key": "short"}, "Raven/Encryption/Key"),
        (BUNDLE, {"Raven/Encryption/Key": KEY.text, "Raven/Encryption/Algorithm": "DES"}, "DES"),
        ({}, {"Raven/Encryption/Key": KEY.text}, "Raven/ActiveBundles does not have Encryption"),
        (BUNDLE, {"Raven/Encryption/Key": 5}, "is not a text"),
        (BUNDLE, [], "is not an object"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    server: Server, data_dir: Path, settings: dict[str, str], secured: Any, said: str
) -> None:
    refused = put(server, "safe", secured, settings=settings)
    assert_error(refused, 400, said)
    assert KEY.text not in refused.text
    assert server.client.get("/databases").json() == []
    assert not (data_dir / "Databases" / "safe").exists()


def test_a_document_that_is_changed_keeps_the_key(server: Server) -> None:
    safe = encrypted(server)
    document = described(server)
    etag = server.client.get("/admin/databases/safe").headers["etag"].strip('"')
    document["Settings"]["Muniment/History"] = "true"
    changed = server.client.put("/admin/databases/safe", json=document, headers={"If-None-Match": etag})
    assert changed.status_code == 200, changed.text
    assert safe.get(f"/docs/people/{SECRET}-3").status_code == 200
    del document["SecuredSettings"]
    stored = server.client.put("/docs/Raven/Databases/safe", json=document)
    assert stored.status_code == 201, stored.text
    assert described(server)["SecuredSettings"].keys() == {"Raven/Encryption/Key"}
    assert safe.get(f"/docs/people/{SECRET}-3").status_code == 200


def test_no_document_gives_a_database_another_key_or_none(server: Server) -> None:
    safe = encrypted(server)
    before = described(server)
    etag = server.client.get("/admin/databases/safe").headers["etag"].strip('"')
    other = {"Raven/Encryption/Key": OTHER.text}
    assert_error(put(server, "safe", other, etag=etag), 400, "rotate")
    plain: dict[str, Any] = {**before, "Settings": {"Raven/DataDir": before["Settings"]["Raven/DataDir"]}}
    assert_error(server.client.put("/docs/Raven/Databases/safe", json=plain), 400, "Encryption")
    moved = server.client.put("/docs/Raven/Databases/moved", json=before)
    assert_error(moved, 403, "was not wrapped")  # for this name
    assert described(server) == before
    assert safe.get(f"/docs/people/{SECRET}-3").status_code == 200


def test_a_database_is_made_by_its_document_alone(server: Server, data_dir: Path) -> None:
    body = {"Settings": {"Raven/DataDir": "~/mine", **BUNDLE}, "SecuredSettings": {"Raven/Encryption/Key": KEY.text}}
    commands = [{"Method": "PUT", "Key": "Raven/Databases/mine", "Document": body, "Metadata": {}}]
    assert Database(server, "").batch(commands).status_code == 200
    assert Database(server, "mine").put(f"people/{SECRET}").status_code == 201
    assert holding_secret(data_dir) == []
    assert key_in_clear(data_dir.parent) == []


@some(1)
@pytest.mark.parametrize("algorithm", ["ChaCha20", "System.Security.Cryptography.AesManaged, System.Core"])
def test_an_algorithm_is_named(server: Server, algorithm: str) -> None:
    encrypted(server, **{"Raven/Encryption/Algorithm": algorithm})
    assert described(server)["SecuredSettings"].keys() == {"Raven/Encryption/Key", "Raven/Encryption/Algorithm"}


def test_jobs_have_the_key(server: Server, data_dir: Path, tmp_path: Path) -> None:
    safe = encrypted(server)
    assert not safe.backup(tmp_path / "sealed")["Faulted"]
    assert holding_secret(tmp_path / "sealed") == []
    assert not safe.backup(tmp_path / "backups", **{"in-clear": "true"})["Faulted"]
    fingerprint = safe.fingerprint()
    compacted = server.client.post("/admin/compact", params={"database": "safe"})
    assert server.wait_for(compacted.json()["OperationId"])["Faulted"] is False
    assert safe.fingerprint() == fingerprint
    wanted = {"BackupLocation": str(tmp_path / "backups"), "OnConflict": "overwrite", "AllowClear": True}
    safe.put(f"people/{SECRET}-3", b"{}")
    into = safe.request("POST", "/admin/restore-into", json=wanted)
    assert into.status_code == 202, into.text
    assert server.wait_for(into.json()["OperationId"])["Faulted"] is False
    assert SECRET in safe.get(f"/docs/people/{SECRET}-3").text
    assert holding_secret(data_dir) == []
    deleted = server.client.delete("/admin/databases/safe?hard-delete=true")
    assert deleted.status_code == 200, deleted.text
    assert not (data_dir / "Databases" / "safe").exists()


def test_how_its_last_backup_stands_is_for_who_has_the_key(server: Server, data_dir: Path, tmp_path: Path) -> None:
    safe = encrypted(server)
    assert not safe.backup(tmp_path / "backups")["Faulted"]
    told, kept = safe.status(), (data_dir / "Databases" / "safe" / "Backup.Status").read_bytes()
    assert told["Result"]["fingerprint"].encode() not in kept
    assert not any(name in kept for name in (b"Documents", b"backups", b"safe"))
    server.stop()
    with running(data_dir) as again:
        assert {**Database(again, "safe").status(), "Messages": []} == {**told, "Messages": []}
        again.stop()
    (data_dir / "Databases" / "safe" / "Backup.Status").write_bytes(kept[:-1])
    with running(data_dir) as again:
        assert Database(again, "safe").get("/docs/Raven/Backup/Status").status_code == 404
        assert not Database(again, "safe").backup(tmp_path / "backups")["Faulted"]


def test_a_restore_gives_another_key_or_none(server: Server, data_dir: Path, tmp_path: Path) -> None:
    safe = encrypted(server)
    safe.backup(tmp_path / "backups", **{"in-clear": "true"})
    source: dict[str, Any] = {"BackupLocation": str(tmp_path / "backups"), "AllowClear": True}
    done = server.restore(**source, DatabaseName="other", SecuredSettings={"Raven/Encryption/Key": OTHER.text})
    assert not done["Faulted"], done
    assert Database(server, "other").fingerprint() == safe.fingerprint()
    assert holding_secret(data_dir) == []
    assert key_in_clear(data_dir.parent) == []
    bad = server.client.post("/admin/restore", json={**source, "DatabaseName": "x", "SecuredSettings": {"y": "z"}})
    assert_error(bad, 400, "Raven/Encryption/Key")
    done = server.restore(**source, DatabaseName="plain")
    assert not done["Faulted"], done
    assert Database(server, "plain").fingerprint() == safe.fingerprint()
    assert holding_secret(data_dir) == ["muniment.db"]


def rotate(server: Server, key: str = OTHER.text, **more: str) -> Any:
    return server.client.post("/admin/encryption/rotate", params={"database": "safe"}, json={"Key": key, **more})


def test_a_key_is_rotated_while_the_server_runs(server: Server, data_dir: Path) -> None:
    safe = encrypted(server)
    fingerprint = safe.fingerprint()
    begun = rotate(server, Algorithm="ChaCha20")
    assert begun.status_code == 202, begun.text
    assert server.wait_for(begun.json()["OperationId"])["Faulted"] is False
    assert safe.fingerprint() == fingerprint
    assert described(server)["SecuredSettings"].keys() == {"Raven/Encryption/Key", "Raven/Encryption/Algorithm"}
    told = server.client.get("/docs/Muniment/Encryption/Rotate/Status/safe").json()
    assert told["State"] == "Completed"
    server.stop()
    with DocumentDatabase(data_dir / "Databases" / "safe", create=False, key=OTHER) as database:
        assert database.check() == []
    assert key_in_clear(data_dir.parent) == []


def test_a_rotation_that_makes_no_sense_is_refused(server: Server) -> None:
    server.create("plain")
    encrypted(server)
    nobody = server.client.post("/admin/encryption/rotate", params={"database": "nobody"}, json={"Key": OTHER.text})
    assert nobody.status_code == 404
    plain = server.client.post("/admin/encryption/rotate", params={"database": "plain"}, json={"Key": OTHER.text})
    assert_error(plain, 400, "is not encrypted")
    assert_error(rotate(server, OTHER.text[:-4]), 400, "the new key")
    assert_error(rotate(server, Algorithm="DES"), 400, "DES")


@torture
def test_a_server_that_is_killed_while_it_rotates_opens_the_database_again(server: Server, data_dir: Path) -> None:
    """At many moments: before, while the file is rewritten, when it is renamed, and after."""
    encrypted(server)
    server.stop()
    original = data_dir.parent.with_name("original")
    shutil.copytree(data_dir.parent, original)
    keys = set()
    moments = count(4, whole=12)
    for moment in range(moments):
        shutil.rmtree(data_dir.parent)
        shutil.copytree(original, data_dir.parent)
        with running(data_dir) as victim:
            assert rotate(victim).status_code == 202
            time.sleep(moment * 0.48 / moments)
            os.killpg(victim.process.pid, signal.SIGKILL)
        with running(data_dir) as again:
            safe = Database(again, "safe")
            assert safe.get(f"/docs/people/{SECRET}-3").status_code == 200
            assert safe.get("/stats").json()["CountOfDocuments"] == 30
            assert "Muniment/Encryption/NextKey" not in described(again)["SecuredSettings"]
            assert key_in_clear(data_dir.parent) == []
        for key in (KEY, OTHER):
            try:
                with DocumentDatabase(data_dir / "Databases" / "safe", create=False, key=key) as database:
                    assert database.check() == []
                    keys.add(key.text)
            except WrongKey:
                continue
    assert keys  # both of them, unless this machine is much faster or slower than ours


def dump(*documents: tuple[str, Any]) -> bytes:
    """A dump of these documents, as RavenDB's Smuggler writes one."""
    docs = [{**body, "@metadata": {"@id": id}} for id, body in documents]
    return gzip.compress(json.dumps({"Docs": docs, "Attachments": []}).encode())


def imported(server: Server, *documents: tuple[str, Any], **options: str) -> httpx.Response:
    return server.client.post("/smuggler/import", content=dump(*documents), params=options)


def settings_in_clear(folder: str = "~/mine") -> dict[str, Any]:
    return {"Settings": {"Raven/DataDir": folder, **BUNDLE}, "SecuredSettings": {"Raven/Encryption/Key": KEY.text}}


def test_a_dump_brings_secured_settings_into_the_system_database_wrapped(server: Server, data_dir: Path) -> None:
    done = imported(server, ("Raven/Databases/mine", settings_in_clear()), ("other/1", {"SecuredSettings": {"a": "b"}}))
    assert done.status_code == 200, done.text
    assert described(server, "mine")["SecuredSettings"]["Raven/Encryption/Key"].startswith("wrapped by muniment:")
    assert key_in_clear(data_dir.parent) == []
    assert server.client.get("/docs/other/1").json()["SecuredSettings"] == {"a": "b"}
    server.stop()
    with DocumentDatabase(data_dir / "mine", key=KEY) as database:
        database.put("people/1", {})
    with running(data_dir) as again:
        assert Database(again, "mine").get("/docs/people/1").status_code == 200


def test_a_dump_takes_no_key_from_a_database_and_gives_it_no_other(server: Server, data_dir: Path) -> None:
    safe = encrypted(server)
    before = described(server)
    without = {name: value for name, value in before.items() if name != "SecuredSettings"}
    assert imported(server, ("Raven/Databases/safe", {**without, "Mark": 1})).status_code == 200
    assert described(server) == {**before, "Mark": 1}
    other = {**before, "SecuredSettings": {"Raven/Encryption/Key": OTHER.text}}
    refused = imported(server, ("Raven/Databases/safe", other), ("x/1", {}))
    assert_error(refused, 400, "Raven/Databases/safe", "its key is not changed by its document")
    assert_error(imported(server, ("Raven/Databases/moved", before), ("x/1", {})), 403, "Raven/Databases/moved")
    assert server.client.get("/docs/x/1").status_code == 404
    assert described(server) == {**before, "Mark": 1}
    assert key_in_clear(data_dir.parent) == []
    server.stop()
    with running(data_dir) as again:
        assert Database(again, "safe").get(f"/docs/people/{SECRET}-3").status_code == 200
    assert safe.name == "safe"


def test_an_import_that_ignores_errors_leaves_out_what_cannot_be_wrapped_and_goes_on(server: Server) -> None:
    encrypted(server)
    moved = described(server)
    bad = {"Settings": {}, "SecuredSettings": {"Raven/Encryption/Key": OTHER.text}}
    done = imported(
        server,
        ("Raven/Databases/bad", bad),
        ("Raven/Databases/moved", moved),
        ("Raven/ApiKeys/none", {}),
        ("x/1", {}),
        **{"ignore-errors-and-continue": "true"},
    )
    assert done.status_code == 200, done.text
    assert (done.json()["documents"], done.json()["failed"]) == (1, 3)
    assert server.client.get("/docs/x/1").status_code == 200
    for id in ("Raven/Databases/bad", "Raven/Databases/moved", "Raven/ApiKeys/none"):
        assert server.client.get(f"/docs/{id}").status_code == 404


def test_a_key_among_the_settings_is_refused_because_those_are_not_wrapped(server: Server, data_dir: Path) -> None:
    settings = {**BUNDLE, "raven/encryption/KEY": KEY.text}
    assert_error(put(server, "safe", {}, settings=settings), 400, "Raven/Encryption/Key", "SecuredSettings")
    stored = server.client.put("/docs/Raven/Databases/safe", json={"Settings": settings})
    assert_error(stored, 400, "Raven/Encryption/Key")
    assert_error(imported(server, ("Raven/Databases/safe", {"Settings": settings})), 400, "Raven/Encryption/Key")
    assert key_in_clear(data_dir.parent) == []


def test_the_key_of_a_database_opens_its_backups(server: Server, data_dir: Path, tmp_path: Path) -> None:
    """A restore of a chain under a new name, with the key in the request, and one into the database itself."""
    safe = encrypted(server)
    backups = tmp_path / "backups"
    assert not safe.backup(backups)["Faulted"]
    [first] = [path.name for path in backups.iterdir() if path.is_dir()]
    safe.put(f"people/{SECRET}-3", b"{}")
    assert not safe.backup(backups, incremental="true")["Faulted"]
    fingerprint = safe.fingerprint()
    source = {"BackupLocation": str(backups)}

    into = {**source, "Backup": first, "OnConflict": "overwrite"}
    begun = safe.request("POST", "/admin/restore-into", json=into)
    assert begun.status_code == 202, begun.text
    done = server.wait_for(begun.json()["OperationId"])
    assert not done["Faulted"], done
    assert SECRET in safe.get(f"/docs/people/{SECRET}-3").text

    deleted = server.client.delete("/admin/databases/safe?hard-delete=true")
    assert deleted.status_code == 200, deleted.text
    for wrong in ({}, {"SecuredSettings": {"Raven/Encryption/Key": OTHER.text}}):
        failed = server.restore(**source, DatabaseName="again", **wrong)
        assert failed["Faulted"], failed
        assert "encrypted" in str(failed)
    assert server.client.get("/databases").json() == []
    assert not (data_dir / "again").exists()
    given = {**source, "DatabaseName": "again", "SecuredSettings": {"Raven/Encryption/Key": KEY.text}}
    planned = server.client.post("/admin/restore/plan", json=given)
    assert planned.status_code == 200, planned.text
    restored = server.restore(**given)
    assert not restored["Faulted"], restored
    assert Database(server, "again").fingerprint() == fingerprint
    assert holding_secret(data_dir, backups) == []
    assert key_in_clear(data_dir.parent, backups) == []
    assert KEY.text not in server.log()


def test_a_key_in_clear_is_refused_beside_the_secured_one_too_whichever_way_it_comes(
    server: Server, data_dir: Path
) -> None:
    encrypted(server)
    before = described(server)
    bad = {**before, "Settings": {**before["Settings"], "Raven/Encryption/Key": KEY.text}}
    batch = [{"Method": "PUT", "Key": "Raven/Databases/safe", "Document": bad}]
    etag = server.client.get("/admin/databases/safe").headers["etag"].strip('"')
    for refused in (
        put(server, "safe", before["SecuredSettings"], settings=bad["Settings"], etag=etag),
        server.client.put("/docs/raven/databases/SAFE", json=bad),
        server.client.post("/bulk_docs", json=batch),
        imported(server, ("Raven/Databases/safe", bad)),
    ):
        assert_error(refused, 400, "Raven/Encryption/Key", "SecuredSettings")
    assert described(server) == before
    assert key_in_clear(data_dir.parent) == []
