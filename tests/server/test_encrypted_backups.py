"""Encrypted backups of a server: for recipients of its settings or of the request, opened with files that it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from muniment import DocumentDatabase, DocumentStore, MaintenanceActions
from muniment.backup.repository import backups
from muniment.errors import BadSignature, InvalidInput, WrongKey
from muniment.security.encryption import new_key
from muniment.security.keyring import Keyring, Protection
from muniment.security.recipients import Key, Recipient, new_identity, read_identities
from muniment.security.signature import new_signing_key
from tests.cli.process import muniment
from tests.secret import SECRET, holding_secret
from tests.server.running import Database, assert_error, running


@pytest.fixture
def mine(tmp_path: Path) -> Recipient:
    return new_identity(tmp_path / "mine")


def _fill(shop: Database) -> None:
    shop.put(f"people/{SECRET}", f'{{"Name":"{SECRET}"}}'.encode(), **{"Raven-Entity-Name": SECRET})


def test_a_server_backs_up_what_it_cannot_read(tmp_path: Path, mine: Recipient) -> None:
    other = new_identity(tmp_path / "other")
    place = tmp_path / "backups"
    with running(tmp_path / "data", backup_recipients=str(mine)) as server, DocumentStore(server.url, "shop") as store:
        shop = server.create("shop")
        _fill(shop)
        assert not shop.backup(place)["Faulted"]
        shop.put("more")
        store.admin.start_backup(place, incremental=True).wait()
        assert [backup.manifest.kind for backup in backups(place)] == ["full", "incremental"]
        assert holding_secret(place) == []
        wanted = {"BackupLocation": str(place), "DatabaseName": "copy"}
        refused = server.client.post("/admin/restore", json=wanted)
        assert refused.status_code == WrongKey.status or server.wait_for(refused.json()["OperationId"])["Faulted"]
        assert "copy" not in server.client.get("/databases").json()
        command = ["backup", "--url", server.url, "--database", "shop", "--dest", str(tmp_path / "theirs")]
        assert muniment(*command, "--recipient", str(other)).code == 0
        assert muniment(*command, "--passphrase-file", str(tmp_path / "mine")).code == InvalidInput.exit_code
        with pytest.raises(InvalidInput):
            store.admin.start_backup(tmp_path / "none", recipients=["muniment-recipient-aaaa"])
    assert holding_secret(tmp_path / "theirs") == []
    for folder, identity in ((place, "mine"), (tmp_path / "theirs", "other")):
        MaintenanceActions.verify(folder, keyring=Keyring((read_identities(tmp_path / identity)[0],)))


def test_a_backup_of_a_server_has_the_key_of_its_database_only_if_that_is_asked_for(tmp_path: Path) -> None:
    key = new_key()
    opens = Keyring((Key(key.secret),))
    with running(tmp_path / "data") as server, DocumentStore(server.url, "safe") as store:
        store.admin.create_database("plain")
        settings = {
            "Settings": {"Raven/ActiveBundles": "Encryption"},
            "SecuredSettings": {"Raven/Encryption/Key": key.text},
        }
        assert server.client.put("/admin/databases/safe", json=settings).status_code == 200
        for folder, asked in (("without", False), ("with", True)):
            status = store.admin.start_backup(tmp_path / folder, include_encryption_key=asked).wait()
            assert any("key of the database is in" in message for message in status.messages) is asked
        command = ["backup", "--url", server.url, "--database", "safe", "--dest", str(tmp_path / "command")]
        assert muniment(*command, "--include-encryption-key").code == 0
        command = ["backup", "--url", server.url, "--database", "plain", "--dest", str(tmp_path / "none")]
        assert "no key to include" in muniment(*command, "--include-encryption-key").err
        assert key.text not in server.log()
    for folder, asked in (("without", False), ("with", True), ("command", True)):
        (backup,) = backups(tmp_path / folder, opens)
        assert (key.text.encode() in backup.read_database_document()) is asked
        assert not any(key.text.encode() in path.read_bytes() for path in backup.folder.iterdir())


def test_a_server_restores_with_the_files_of_its_settings(tmp_path: Path, mine: Recipient) -> None:
    (tmp_path / "passphrase").write_text("correct horse battery staple")
    signer = new_signing_key(tmp_path / "signing")
    place = tmp_path / "backups"
    settings: dict[str, Any] = {
        "backup_recipients": str(mine),
        "backup_passphrase_file": str(tmp_path / "passphrase"),
        "backup_signing_key_file": str(tmp_path / "signing"),
    }
    with running(tmp_path / "data", **settings) as server, DocumentStore(server.url, "shop") as store:
        shop = server.create("shop")
        _fill(shop)
        store.admin.start_backup(place).wait()
        assert holding_secret(place) == []
        said = store.admin.start_restore(place, "copy", require_signature=[signer]).wait().messages
        assert any("the backups are encrypted, and copy is in clear" in message for message in said)
        copy = Database(server, "copy")
        assert copy.get(f"/docs/people/{SECRET}").json() == shop.get(f"/docs/people/{SECRET}").json()
        shop.put(f"people/{SECRET}", b"{}")
        store.admin.start_restore_into(place, "overwrite").wait()
        assert shop.get(f"/docs/people/{SECRET}").json()["Name"] == SECRET
        with pytest.raises(BadSignature):
            store.admin.plan_restore(place, require_signature=[new_signing_key(tmp_path / "stranger")])
        store.admin.start_backup(tmp_path / "clear", in_clear=True).wait()
        assert "correct horse" not in server.log()
        with pytest.raises(BadSignature, match="AllowClear"):
            store.admin.plan_restore(tmp_path / "clear")
        store.admin.plan_restore(tmp_path / "clear", allow_clear=True)
        with pytest.raises(BadSignature):
            store.admin.start_restore_into(tmp_path / "clear", "skip").wait()
        store.admin.start_restore_into(tmp_path / "clear", "skip", allow_clear=True).wait()
        store.admin.start_restore(tmp_path / "clear", "clear", allow_clear=True).wait()
    assert holding_secret(tmp_path / "clear") != []
    assert holding_secret(place) == []


def test_a_request_may_narrow_whose_signature_the_server_requires_and_name_nobody_else(tmp_path: Path) -> None:
    good, other, evil = (new_signing_key(tmp_path / name) for name in ("good", "other", "evil"))
    with DocumentDatabase(tmp_path / "elsewhere") as database:
        database.put("people/1", {"Name": "forged"})
        for name in ("good", "evil"):
            protection = Protection.of(sign_with=tmp_path / name)
            database.maintenance.start_backup(tmp_path / f"by-{name}", protection=protection).wait()
    with running(tmp_path / "data", backup_signers=f"{good},{other}") as server:

        def asked(path: str, by: str, signers: list[str] | None) -> httpx.Response:
            place = {"BackupLocation": str(tmp_path / f"by-{by}"), "DatabaseName": "copy"}
            return server.client.post(path, json=place | ({} if signers is None else {"RequireSignature": signers}))

        for path in ("/admin/restore/plan", "/admin/restore"):
            assert_error(asked(path, "evil", [evil]), 400, "RequireSignature", "backup-signers")
            for signers in (None, [], [good, evil]):
                refused = assert_error(asked(path, "evil", signers), BadSignature.status, evil)
                assert refused["Kind"] == "BadSignature"
            assert asked(path, "good", [other]).status_code == BadSignature.status
        assert asked("/admin/restore/plan", "good", None).status_code == 200
        assert asked("/admin/restore/plan", "good", [evil, good]).status_code == 200
        assert "copy" not in server.client.get("/databases").json()
