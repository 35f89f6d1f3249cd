"""Encrypted and signed backups from the command line: made on one machine, restored on another with a passphrase."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from muniment import DocumentDatabase
from muniment.backup.repository import backups
from muniment.errors import BadSignature, WrongKey
from muniment.security.keyring import Keyring, Protection
from muniment.security.recipients import Passphrase, Stretched, read_identities
from tests.cli.process import Ended, muniment
from tests.sampled import some
from tests.secret import SECRET, filled, holding_secret

ID = f"people/{SECRET}-1"
SIGNER = ["identity", "generate", "--signing", "signing"]
WORD = "correct horse battery staple"
CHEAP = Stretched(b"s" * 16, memory_kib=64, passes=1, lanes=1)  # for what is opened again and again


def run(place: Path, *arguments: str, env: dict[str, str] | None = None) -> Ended:
    return muniment(*arguments, cwd=place, env=env or {})


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a database, a passphrase, a wrong one, and an identity."""
    with DocumentDatabase(tmp_path / "shop") as database:
        filled(database)
    (tmp_path / "passphrase").write_text(f"{WORD}\n")
    (tmp_path / "wrong").write_text("correct horse battery stable\n")
    return tmp_path


@pytest.fixture
def recipient(place: Path) -> str:
    made = run(place, "identity", "generate", "mine", "--json")
    assert made.code == 0, made.err
    assert (place / "mine").stat().st_mode & 0o077 == 0
    said: str = made.json["recipient"]
    return said


def test_another_machine_restores_it_with_the_passphrase_alone(place: Path) -> None:
    done = run(place, "backup", "shop", "--dest", "backups", "--passphrase-file", "passphrase", "--json")
    assert (done.code, done.json["encrypted"]) == (0, True)
    assert holding_secret(place / "backups") == []
    assert WORD.encode() not in b"".join(path.read_bytes() for path in (place / "backups").rglob("*.json"))
    other = place / "other machine"
    shutil.copytree(place / "backups", other / "backups")
    shutil.copy(place / "passphrase", other)
    shutil.rmtree(place / "shop")
    restored = run(other, "restore", "backups", "--to", "shop", env={"MUNIMENT_PASSPHRASE_FILE": "passphrase"})
    assert restored.code == 0, restored.err
    assert json.loads(run(other, "get", "shop", ID).text)["Name"] == f"{SECRET} the second"


@some(4)
@pytest.mark.parametrize(
    "command",
    [
        ["restore", "backups", "--to", "new"],
        ["rehearse", "backups"],
        ["verify", "backups"],
        ["get", "backups", ID],
        ["inspect", "backups", "--id", ID],
        ["inspect", "backups", "--query", "SELECT id FROM documents"],
        ["inspect", "backups", "--sql-view"],
        ["inspect", "backups", "--diff", "1", "newest"],
        ["smuggler", "out", "backups", "dump.ndjson"],
        ["smuggler", "between", "backups", "new", "--create"],
        ["restore", "backups", "--to", "shop", "--on-conflict", "skip", "--id", ID],
    ],
)
def test_every_command_that_reads_a_backup_takes_what_opens_it(place: Path, command: list[str]) -> None:
    with DocumentDatabase(place / "shop") as database:
        words = Protection((Passphrase(WORD, CHEAP),))
        database.maintenance.start_backup(place / "backups", protection=words).wait()
    # A moment that can be compared with the newest.
    if "--diff" in command:
        command = [word if word != "1" else backups(place / "backups")[0].name for word in command]
    for given in ((), ("--passphrase-file", "wrong")):
        if command[0] == "verify" and not given:  # then it compares the files, and says so
            continue
        refused = run(place, *command, *given)
        assert refused.code == WrongKey.exit_code, refused.err
        assert SECRET not in refused.err
        assert not (place / "new").exists()
        assert not (place / "dump.ndjson").exists()
    done = run(place, *command, "--passphrase-file", "passphrase")
    assert done.code == 0, done.err


def test_who_backs_up_cannot_read_it_and_names_the_recipients_each_time(place: Path, recipient: str) -> None:
    assert run(place, "backup", "shop", "--dest", "backups", "--recipient", recipient).code == 0
    with DocumentDatabase(place / "shop") as database:
        database.put("more", {"Name": SECRET})
    refused = run(place, "backup", "shop", "--dest", "backups", "--incremental")
    assert refused.code == WrongKey.exit_code
    assert "--recipient" in refused.err
    again = run(place, "backup", "shop", "--dest", "backups", "--incremental", "--recipient", recipient, "--json")
    assert again.json["kind"] == "incremental"
    assert holding_secret(place / "backups") == []
    verified = run(place, "verify", "backups", "--json")
    assert (verified.code, len(verified.json["unproven"])) == (0, 2)
    verified = run(place, "verify", "backups", "--identity", "mine", "--json")
    assert (verified.code, verified.json["unproven"]) == (0, [])
    listed = run(place, "inspect", "backups", "--json")
    assert [each["encrypted"] for each in listed.json["chains"][0]["backups"]] == [True, True]
    merged = run(place, "merge", "backups", "--through", backups(place / "backups")[-1].name, "--identity", "mine")
    assert merged.code == 0, merged.err
    assert holding_secret(place / "backups") == []


def test_a_mistyped_recipient_is_refused_before_anything_is_written(place: Path, recipient: str) -> None:
    refused = run(place, "backup", "shop", "--dest", "backups", "--recipient", recipient[:-1])
    assert refused.code == 2
    assert not (place / "backups").exists()


def test_a_backup_in_clear_is_restored_with_keys_only_when_that_is_said(place: Path) -> None:
    assert run(place, "backup", "shop", "--dest", "backups").code == 0
    run(place, "encryption", "generate-key", "key")
    for given in (["--passphrase-file", "passphrase"], ["--key-file", "key"]):
        restore = ["restore", "backups", "--to", "new", *given]
        refused = run(place, *restore)
        assert refused.code == BadSignature.exit_code
        assert "--allow-clear" in refused.err
        assert not (place / "new").exists()
        assert run(place, *restore, "--allow-clear").code == 0
        shutil.rmtree(place / "new")


def test_in_clear_has_to_be_said(place: Path, recipient: str) -> None:
    run(place, "backup", "shop", "--dest", "backups", "--recipient", recipient)
    refused = run(place, "backup", "shop", "--dest", "backups", "--recipient", recipient, "--in-clear")
    assert refused.code == 2
    assert holding_secret(place / "backups") == []
    assert run(place, "backup", "shop", "--dest", "backups", "--in-clear").code == 0
    assert holding_secret(place / "backups") != []


def test_recipients_are_added_and_removed_without_writing_the_data_anew(place: Path, recipient: str) -> None:
    run(place, "backup", "shop", "--dest", "backups", "--passphrase-file", "passphrase")
    run(place, "backup", "shop", "--dest", "backups", "--passphrase-file", "passphrase", "--incremental")
    data = {path: path.read_bytes() for path in (place / "backups").rglob("*") if path.suffix == ".parquet"}
    manifests = [backup.sha256 for backup in backups(place / "backups")]
    add = ["recipients", "add", "backups", "--recipient", recipient]
    refused = run(place, *add, "--passphrase-file", "wrong")
    assert refused.code == WrongKey.exit_code
    assert len(run(place, *add, "--passphrase-file", "passphrase", "--json").json["changed"]) == 2
    assert run(place, *add, "--passphrase-file", "passphrase", "--json").json["changed"] == []
    listed = run(place, "recipients", "list", "backups", "--json").json["recipients"]
    assert [len(each["backups"]) for each in listed] == [2, 2]
    assert listed[1]["name"] == recipient
    passphrase = listed[0]["name"]
    remove = ["recipients", "remove", "backups", "--identity", "mine"]
    assert run(place, "recipients", "remove", "backups", passphrase).code == WrongKey.exit_code
    assert run(place, *remove, passphrase).code == 0
    assert run(place, *remove, passphrase).code == 3
    assert run(place, *remove, recipient).code == 4  # the last one
    refused = run(place, "verify", "backups", "--passphrase-file", "passphrase", "--json")
    assert (refused.code, refused.json["type"]) == (WrongKey.exit_code, "WrongKey")
    assert run(place, "restore", "backups", "--to", "new", "--identity", "mine").code == 0
    assert {path: path.read_bytes() for path in data} == data
    assert [backup.sha256 for backup in backups(place / "backups")] == manifests


def test_a_passphrase_is_changed_for_all_backups(place: Path) -> None:
    for _ in range(2):
        run(place, "backup", "shop", "--dest", "backups", "--passphrase-file", "passphrase")
    (place / "new").write_text("quite another one")
    old = run(place, "recipients", "list", "backups", "--json").json["recipients"][0]["name"]
    add = ["recipients", "add", "backups", "--passphrase-file", "passphrase", "--new-passphrase-file", "new"]
    assert run(place, *add).code == 0
    assert run(place, "recipients", "remove", "backups", old, "--passphrase-file", "new").code == 0
    assert len(run(place, "recipients", "list", "backups", "--json").json["recipients"]) == 1
    assert run(place, "restore", "backups", "--to", "a", "--passphrase-file", "passphrase").code == WrongKey.exit_code
    assert run(place, "restore", "backups", "--to", "a", "--passphrase-file", "new").code == 0


def test_a_backup_that_was_forged_is_refused_by_name(place: Path) -> None:
    signer = run(place, "identity", "generate", "--signing", "signing", "--json").json["signer"]
    assert run(place, "backup", "shop", "--dest", "backups", "--sign-with", "signing").code == 0
    trusted = ["--require-signature", signer]
    assert run(place, "verify", "backups", *trusted).code == 0
    assert run(place, "backup", "shop", "--dest", "backups").code == 0  # by somebody who has no key
    forged = backups(place / "backups")[-1].name
    for command in (["verify", "backups"], ["restore", "backups", "--to", "new"], ["rehearse", "backups"]):
        refused = run(place, *command, *trusted)
        assert refused.code == BadSignature.exit_code
        assert forged in refused.err
    assert not (place / "new").exists()


def test_what_opens_the_backups_need_not_be_the_key_of_the_new_database(place: Path) -> None:
    for name in ("key", "other"):
        run(place, "encryption", "generate-key", name)
    restore = ["restore", "backups", "--key-file", "key", "--to"]
    done = run(place, "backup", "shop", "--dest", "backups", "--key-file", "key", "--json")
    assert (done.code, done.json["encrypted"]) == (0, True)
    for target, more, key in (("same", [], "key"), ("another", ["--new-key-file", "other"], "other")):
        assert run(place, *restore, target, *more).code == 0
        assert run(place, "check", target).code == WrongKey.exit_code
        assert run(place, "check", target, "--key-file", key).code == 0
    assert run(place, *restore, "clear", "--in-clear").code == 0
    assert run(place, "check", "clear").code == 0
    assert run(place, *restore, "x", "--in-clear", "--new-key-file", "other").code == 2


def test_a_key_that_opens_the_backups_restores_into_a_database_in_clear(place: Path) -> None:
    for name in ("key", "other"):
        run(place, "encryption", "generate-key", name)
    run(place, "backup", "shop", "--dest", "backups", "--key-file", "key")
    run(place, "backup", "shop", "--dest", "plain", "--in-clear")
    with DocumentDatabase(place / "shop") as database:
        database.delete(ID)
    into = ["--to", "shop", "--on-conflict", "skip", "--allow-clear", "--key-file"]
    for source, key in (("backups", "other"), ("plain", "key")):  # which opens nothing, or has nothing to open
        refused = run(place, "restore", source, *into, key)
        assert refused.code == WrongKey.exit_code, refused.err
        assert run(place, "get", "shop", ID).code == 3
    for dry_run in ([], ["--dry-run"]):
        done = run(place, "restore", "backups", *into, "key", *dry_run, "--json")
        assert done.code == 0, done.err
        assert json.loads(run(place, "get", "shop", ID).text)["Name"] == f"{SECRET} the second"
    assert run(place, "check", "shop").code == 0  # in clear, as it was
    assert run(place, "encryption", "rotate", "shop", "--new-key-file", "other").code == 0
    refused = run(place, "restore", "backups", *into, "key")  # it does not open the database, which is encrypted
    assert refused.code == WrongKey.exit_code


def test_a_server_s_system_database_is_restored_with_what_opens_its_backups(place: Path, recipient: str) -> None:
    run(place, "encryption", "generate-key", "key")
    sealed = ["--passphrase-file", "passphrase", "--key-file", "key", "--recipient", recipient]
    assert run(place, "backup", "shop", "--dest", "backups", *sealed).code == 0
    restore = ["server", "--restore-source", "backups", "--restore-system-database", "--restore-destination"]
    for given in ((), ("--passphrase-file", "wrong")):
        assert run(place, *restore, "none", *given).code == WrongKey.exit_code
        assert not (place / "none").exists()
    for option, file in (("--passphrase-file", "passphrase"), ("--key-file", "key"), ("--identity", "mine")):
        done = run(place, *restore, f"data{option}", option, file)
        assert done.code == 0, done.err
        assert json.loads(run(place, "get", f"data{option}/System", ID).text)["Name"] == f"{SECRET} the second"
    trusting = ["--identity", "mine", "--require-signature", run(place, *SIGNER, "--json").json["signer"]]
    assert run(place, *restore, "none", *trusting).code == BadSignature.exit_code
    for option in ("--passphrase-file", "--identity"):  # which nothing is to be opened with, or is not sent
        for more in ([], ["--restore-source", "x", "--restore-database", "http://127.0.0.1:1"]):
            refused = run(place, "server", option, "mine", *more)
            assert (refused.code, option in refused.err or "sent" in refused.err) == (2, True)


def test_the_key_of_a_database_does_not_stand_in_the_way_of_other_recipients(place: Path, recipient: str) -> None:
    run(place, "encryption", "generate-key", "key")
    assert run(place, "encryption", "rotate", "shop", "--new-key-file", "key").code == 0
    back_up = ["backup", "shop", "--dest", "backups", "--key-file", "key"]
    assert run(place, *back_up, "--recipient", recipient).code == 0
    assert run(place, *back_up, "--incremental").code == WrongKey.exit_code  # which does not open the one before
    again = run(place, *back_up, "--recipient", recipient, "--incremental", "--json")
    assert again.json["kind"] == "incremental"
    listed = run(place, "recipients", "list", "backups", "--json").json["recipients"]
    assert [each["name"] for each in listed] == [recipient]
    assert run(place, "restore", "backups", "--to", "new", "--identity", "mine").code == 0


def test_the_key_of_a_database_is_in_a_backup_only_if_that_is_asked_for(place: Path, recipient: str) -> None:
    run(place, "encryption", "generate-key", "key")
    refused = run(place, "backup", "shop", "--dest", "none", "--include-encryption-key")
    assert (refused.code, (place / "none").exists()) == (2, False)
    assert run(place, "encryption", "rotate", "shop", "--new-key-file", "key").code == 0
    opens = Keyring(tuple(read_identities(place / "mine")))
    key = (place / "key").read_text().strip().encode()
    for dest, asked in (("without", []), ("with", ["--include-encryption-key"])):
        back_up = ["backup", "shop", "--dest", dest, "--key-file", "key", "--recipient", recipient]
        done = run(place, *back_up, *asked)
        assert done.code == 0, done.err
        (backup,) = backups(place / dest, opens)
        assert (key in backup.read_database_document()) is bool(asked)
        assert ("warning" in done.text) is bool(asked)
        assert not any(key in path.read_bytes() for path in (place / dest).rglob("*") if path.is_file())
