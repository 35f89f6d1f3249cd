"""Encrypted databases from the command line: every command that opens one takes its key, and refuses without it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from muniment import DocumentDatabase, DocumentStore
from muniment.errors import InvalidInput, WrongKey
from muniment.security.encryption import new_key, read_key, write_key
from tests.cli.process import Ended, muniment
from tests.cli.serving import serving
from tests.sampled import some
from tests.secret import SECRET, filled, holding_secret

SHOP = "shop"
KEY, OTHER = "shop.key", "other.key"
ID = f"people/{SECRET}-5"
DUMP = "shop.ravendbdump"


@pytest.fixture(scope="module")
def filled_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("encrypted")
    for name in (KEY, OTHER):
        write_key(place / name, new_key())
    with DocumentDatabase(place / SHOP, key_file=place / KEY) as database:
        filled(database)
        database.export(place / DUMP)
        database.maintenance.start_backup(place / "backups", in_clear=True).wait()
    return place


@pytest.fixture
def place(filled_place: Path, tmp_path: Path) -> Path:
    """A folder with the encrypted database `shop`, its key and another one, a dump and a backup of it in clear."""
    return shutil.copytree(filled_place, tmp_path / "place")


INTO = ["restore", "backups", "--to", SHOP, "--id", ID, "--on-conflict", "skip", "--allow-clear"]

# What opens the database, and what it makes of another: that has to be encrypted too.
OPENING = {
    "statistics": ["statistics", SHOP],
    "check": ["check", SHOP],
    "check --accept-loss": ["check", SHOP, "--accept-loss"],
    "compact": ["compact", SHOP],
    "get": ["get", SHOP, ID],
    "settings": ["settings", SHOP],
    "settings changed": ["settings", SHOP, "Muniment/HistoryWindow=7d"],
    "status": ["status", SHOP],
    "backup": ["backup", SHOP, "--dest", "elsewhere", "--in-clear"],
    "restore into": INTO,
    "restore into, dry": [
        "restore",
        "backups",
        "--to",
        SHOP,
        "--allow-clear",
        "--id",
        ID,
        "--on-conflict",
        "skip",
        "--dry-run",
    ],
    "smuggler out": ["smuggler", "out", SHOP, "out.ravendbdump"],
    "smuggler in": ["smuggler", "in", SHOP, DUMP],
    "smuggler between, from": ["smuggler", "between", SHOP, "copy", "--create"],
    "encryption rotate": ["encryption", "rotate", SHOP, "--new-key-file", OTHER],
}


def run(place: Path, *arguments: str, **env: str) -> Ended:
    return muniment(*arguments, cwd=place, env=env)


def files(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (place / SHOP).iterdir() if path.name != "muniment.lock"}


@some(5)
@pytest.mark.parametrize("command", OPENING.values(), ids=OPENING)
def test_every_command_that_opens_a_database_takes_its_key_and_refuses_without(place: Path, command: list[str]) -> None:
    before = files(place)
    for wrong in ([], ["--key-file", OTHER]):
        refused = run(place, *command, *wrong, "--json")
        assert refused.code == WrongKey.exit_code, refused
        assert refused.json["type"] == "WrongKey"
        assert files(place) == before
    assert run(place, *command, "--key-file", "missing").code == 3
    assert files(place) == before
    done = run(place, *command, "--key-file", KEY)
    assert done.code == 0, done.err


@pytest.mark.parametrize("command", OPENING.values(), ids=OPENING)
def test_the_environment_may_name_the_key(place: Path, command: list[str]) -> None:
    done = run(place, *command, MUNIMENT_KEY_FILE=KEY)
    assert done.code == 0, done.err


MAKING = {
    "create": ["create", "new"],
    "sample": ["sample", "new", "--documents", "20"],
    "restore": ["restore", "backups", "--to", "new", "--allow-clear"],
    "restore --defrag": ["restore", "backups", "--to", "new", "--defrag", "--allow-clear"],
    "smuggler in --create": ["smuggler", "in", "new", DUMP, "--create"],
}


@some(2)
@pytest.mark.parametrize("command", MAKING.values(), ids=MAKING)
def test_every_command_that_makes_a_database_encrypts_it_when_a_key_is_given(place: Path, command: list[str]) -> None:
    made = run(place, *command, "--key-file", KEY)
    assert made.code == 0, made.err
    assert run(place, "check", "new").code == WrongKey.exit_code
    assert run(place, "check", "new", "--key-file", KEY).code == 0
    assert holding_secret(place / "new") == []
    shutil.rmtree(place / "new")
    assert run(place, *command).code == 0
    assert run(place, "check", "new").code == 0
    refused = run(place, "check", "new", "--key-file", KEY)
    assert (refused.code, "is not encrypted" in refused.err) == (WrongKey.exit_code, True)


def test_a_copy_has_a_key_of_its_own(place: Path) -> None:
    copied = run(place, "smuggler", "between", SHOP, "copy", "--create", "--key-file", KEY, "--key-file2", OTHER)
    assert copied.code == 0, copied.err
    assert run(place, "check", "copy", "--key-file", OTHER).code == 0
    assert holding_secret(place / "copy") == []


def test_a_backup_in_clear_has_to_be_asked_for(place: Path) -> None:
    done = run(place, "backup", SHOP, "--dest", "elsewhere", "--key-file", KEY)
    assert done.code == 0, done.err
    assert holding_secret(place / "elsewhere") == []
    again = run(place, "backup", SHOP, "--dest", "elsewhere", "--key-file", KEY, "--in-clear", "--incremental")
    assert again.code == 0, again.err
    assert holding_secret(place / "elsewhere") != []


def test_what_to_do_next_names_the_key(place: Path) -> None:
    run(place, "smuggler", "in", SHOP, DUMP, "--key-file", KEY)
    told = run(place, "status", SHOP, "--key-file", KEY, "--json").json
    assert f"muniment backup {SHOP} --key-file {KEY}" in told["next"]


def test_a_generated_key_is_for_its_owner_and_never_written_over(place: Path) -> None:
    made = run(place, "encryption", "generate-key", "new.key", "--json")
    assert (made.code, made.json) == (0, {"key_file": "new.key"})
    key = read_key(place / "new.key")
    assert (place / "new.key").stat().st_mode & 0o077 == 0
    assert key.text not in made.text
    assert run(place, "encryption", "generate-key", "new.key").code == 4
    assert read_key(place / "new.key") == key


def test_a_key_is_rotated(place: Path) -> None:
    rotate = ["encryption", "rotate", SHOP, "--key-file", KEY, "--new-key-file", OTHER, "--algorithm", "chacha20"]
    done = run(place, *rotate, "--json")
    assert (done.code, done.json["encryption"]) == (0, "ChaCha20")
    assert run(place, *rotate).code == WrongKey.exit_code
    assert run(place, "get", SHOP, ID, "--key-file", OTHER).code == 0
    assert run(place, "check", SHOP, "--key-file", OTHER).code == 0


@pytest.mark.parametrize(
    "arguments",
    [[], ["--new-key-file", OTHER, "--in-clear"], ["--new-key-file", OTHER, "--algorithm", "DES"]],
    ids=["neither", "both", "a weak algorithm"],
)
def test_a_rotation_that_is_not_clear_is_refused(place: Path, arguments: list[str]) -> None:
    before = files(place)
    assert run(place, "encryption", "rotate", SHOP, "--key-file", KEY, *arguments).code == 2
    assert files(place) == before


def test_a_plain_database_is_encrypted_by_a_rotation(place: Path) -> None:
    assert run(place, "restore", "backups", "--to", "plain").code == 0
    assert holding_secret(place / "plain")
    assert run(place, "encryption", "rotate", "plain", "--in-clear").code == 2
    assert run(place, "encryption", "rotate", "plain", "--new-key-file", KEY).code == 0
    assert holding_secret(place / "plain") == []
    assert run(place, "check", "plain", "--key-file", KEY).code == 0


def test_a_database_of_a_server_is_made_rotated_backed_up_and_restored_with_keys(tmp_path: Path) -> None:
    for name in (KEY, OTHER):
        write_key(tmp_path / name, new_key())
    with serving(tmp_path / "data", "--backup-root", str(tmp_path)) as (url, _):
        on_server = ["--url", url, "--database", "safe"]

        def back_up() -> Ended:
            return run(tmp_path, "backup", *on_server, "--dest", str(tmp_path / "backups"))

        made = run(tmp_path, "databases", "create", "safe", "--url", url, "--key-file", KEY, "--json")
        assert (made.code, made.json["encryption"]) == (0, "AEGIS"), made
        with DocumentStore(url, "safe") as safe:
            safe.put(ID, {"Text": SECRET})
            assert back_up().code == 0
            fingerprint = safe.statistics().fingerprint
            rotated = run(tmp_path, "encryption", "rotate", *on_server, "--new-key-file", OTHER, "--json")
            assert (rotated.code, rotated.json["state"]) == (0, "completed"), rotated
            assert safe.statistics().fingerprint == fingerprint

        # Backups stay as they were, until they are told to open with the new key.
        old = f"key-{next(iter(names_in(tmp_path / 'backups')))}"
        added = run(tmp_path, "recipients", "add", "backups", "--key-file", KEY, "--new-key-file", OTHER)
        assert added.code == 0, added
        assert run(tmp_path, "recipients", "remove", "backups", old, "--key-file", OTHER).code == 0
        assert back_up().code == 0

        restore = ["restore", str(tmp_path / "backups"), "--server", url, "--name", "again"]
        for wrong, code in (
            ([], WrongKey.exit_code),
            (["--key-file", KEY], WrongKey.exit_code),
            (["--key-file", OTHER, "--new-key-file", KEY], InvalidInput.exit_code),
            (["--key-file", OTHER, "--in-clear"], InvalidInput.exit_code),
        ):
            assert run(tmp_path, *restore, *wrong).code == code, wrong
        assert run(tmp_path, *restore, "--key-file", OTHER, "--dry-run", "--json").json["rows"] == 1
        restored = run(tmp_path, *restore, "--key-file", OTHER)
        assert restored.code == 0, restored
        with DocumentStore(url, "again") as again:
            assert again.statistics().fingerprint == fingerprint
    assert holding_secret(tmp_path / "data", tmp_path / "backups") == []


@pytest.mark.parametrize("flags", [[], ["--incremental"]])
def test_backups_go_on_for_the_new_key_after_a_rotation(place: Path, flags: list[str]) -> None:
    def back_up(key: str, *more: str) -> Ended:
        ended = run(place, "backup", SHOP, "--dest", "safe", "--key-file", key, "--json", *more)
        assert ended.code == 0, ended
        return ended

    first = back_up(KEY).json["backup"]
    old = names_in(place / "safe")
    assert run(place, "encryption", "rotate", SHOP, "--key-file", KEY, "--new-key-file", OTHER).code == 0
    second = back_up(OTHER, *flags)
    assert second.json["kind"] == "full"
    assert f"it is not encrypted for key-{next(iter(old))}" in str(second.json["notes"])
    assert back_up(OTHER, "--incremental").json["kind"] == "incremental"
    for key, backup in ((OTHER, []), (KEY, ["--backup", Path(first).name])):
        restored = run(place, "restore", "safe", *backup, "--to", f"with-{key}", "--key-file", key)
        assert restored.code == 0, restored


@pytest.mark.parametrize(
    "command",
    [
        "encryption rotate --new-key-file other.key",
        "encryption rotate shop --new-key-file other.key --url http://127.0.0.1:1 --database safe",
        "encryption rotate --url http://127.0.0.1:1 --database safe",
        "encryption rotate --url http://127.0.0.1:1 --database safe --in-clear",
        "encryption rotate --url http://127.0.0.1:1 --database safe --new-key-file other.key --key-file shop.key",
        "encryption rotate shop --database safe --new-key-file other.key",
        "encryption rotate --url http://muniment.invalid --database safe --new-key-file other.key",
        "databases create safe --url http://muniment.invalid --key-file shop.key",
        "restore /backups --server http://muniment.invalid --name safe --key-file shop.key",
        "restore /backups --to x --plain-http",
    ],
)
def test_what_makes_no_sense_of_a_server_and_keys_is_refused_and_nothing_sent(place: Path, command: str) -> None:
    before = files(place)
    refused = run(place, *command.split())
    assert refused.code == InvalidInput.exit_code, refused
    assert files(place) == before


def names_in(folder: Path) -> set[str]:
    """The ids of the keys that open backups there."""
    listed = run(folder.parent, "recipients", "list", folder.name, "--json").json
    return set(re.findall(r"key-([0-9a-f]+)", str(listed)))


TO_SERVERS = [
    ["backup", "--url", "URL", "--database", "shop", "--dest", "copy"],
    ["restore", "backups", "--server", "URL", "--name", "shop", "--on-conflict", "skip", "--id", "a"],
    ["smuggler", "in", "URL/databases/new", DUMP, "--create"],
    ["smuggler", "out", "URL/databases/shop", "new.ndjson"],
    ["smuggler", "between", "URL/databases/shop", "new", "--create"],
    ["server", "--restore-source", "backups", "--restore-database", "URL"],
    ["settings", "URL/databases/shop"],
    ["status", "URL/databases/shop"],
]


@some(3)
@pytest.mark.parametrize("command", TO_SERVERS, ids=" ".join)
def test_a_key_that_a_server_is_not_sent_is_refused(place: Path, command: list[str]) -> None:
    nobody = "http://127.0.0.1:1"
    command = [word.replace("URL", nobody) for word in command]
    unreachable = run(place, *command)
    assert unreachable.code == 9, unreachable.err
    # The environment means all commands, also those that have no use for it, and may name a file that is not there.
    for elsewhere in (KEY, "missing"):
        assert run(place, *command, MUNIMENT_KEY_FILE=elsewhere).err == unreachable.err
    for environment in ({}, {"MUNIMENT_KEY_FILE": KEY}):
        refused = run(place, *command, "--key-file", KEY, **environment)
        assert (refused.code, "--key-file" in refused.err) == (2, True), refused.err
    assert not (place / "new").exists()


@pytest.mark.parametrize("option", ["--passphrase-file", "--identity"])
def test_a_secret_that_a_server_is_not_sent_is_refused(place: Path, option: str) -> None:
    into = ["restore", "backups", "--server", "http://127.0.0.1:1", "--name", "shop", "--on-conflict", "skip"]
    export = ["smuggler", "out", "http://127.0.0.1:1/databases/shop", "new.ndjson"]
    for command in ([*into, "--id", "a"], export):
        refused = run(place, *command, option, KEY)
        assert (refused.code, option in refused.err) == (2, True), refused.err


def test_the_key_of_a_copy_is_not_sent_to_a_server(place: Path) -> None:
    between = ["smuggler", "between", SHOP, "http://127.0.0.1:1/databases/copy", "--create", "--key-file", KEY]
    refused = run(place, *between, "--key-file2", OTHER)
    assert (refused.code, "--key-file2" in refused.err) == (2, True), refused.err


def test_that_it_is_encrypted_is_said(place: Path) -> None:
    key = ["--key-file", KEY]
    for command in (
        ["statistics", SHOP],
        ["backup", SHOP, "--dest", "told"],
        ["restore", "told", "--to", "told-new"],
    ):
        said = run(place, *command, *key)
        assert (said.code, "\n  encrypted " in said.text) == (0, True), said
    assert run(place, "statistics", SHOP, *key, "--json").json["encrypted"] is True
