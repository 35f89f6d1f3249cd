"""`muniment status` says what is true, and its exit code whether something is wrong where the last backup went."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import pytest

from muniment import DocumentDatabase
from tests.cli.process import muniment
from tests.cli.serving import serving
from tests.cli.test_commands import well
from tests.object_store import ObjectStore
from tests.sampled import some


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("orders/1", {"n": 1})
    well("backup", tmp_path / "shop", "--dest", tmp_path / "backups", "--incremental")
    return tmp_path / "shop"


def test_a_destination_that_is_not_there_is_missed(shop: Path, tmp_path: Path) -> None:
    assert well("status", shop).text
    shutil.rmtree(tmp_path / "backups")
    ended = muniment("status", str(shop))
    assert ended.code == 3
    assert f"there is no folder {tmp_path / 'backups'}" in ended.text
    assert "is mounted" in ended.text
    assert muniment("status", str(shop), "--json").code == 3


def test_what_is_missing_or_damaged_there_is_told_by_the_exit_code(shop: Path, tmp_path: Path) -> None:
    [backup] = (tmp_path / "backups").iterdir()
    (backup / "manifest.json").write_bytes(b"{}")
    ended = muniment("status", str(shop))
    assert (ended.code, "cannot be used" in ended.text) == (5, True)
    well("backup", shop, "--dest", tmp_path / "elsewhere")
    ended = muniment("status", str(shop))  # an older destination is told of, but the last one is whole
    assert (ended.code, "cannot be used" in ended.text) == (0, True)


def test_damage_that_a_verification_has_found_is_told_by_the_exit_code(shop: Path, tmp_path: Path) -> None:
    [backup] = (tmp_path / "backups").iterdir()
    os.truncate(backup / "documents-00001.parquet", 100)
    assert muniment("verify", str(tmp_path / "backups")).code == 5
    for place in (shop, tmp_path / "backups"):
        ended = muniment("status", str(place))
        assert (ended.code, "has 100 bytes" in ended.text) == (5, True), ended


def test_a_folder_whose_backups_cannot_be_used_is_none_without_backups(shop: Path, tmp_path: Path) -> None:
    [backup] = (tmp_path / "backups").iterdir()
    (backup / "manifest.json").write_bytes(b"{}")
    for command in ("status", "doctor"):
        ended = muniment(command, str(tmp_path / "backups"))
        assert (ended.code, f"{backup.name} cannot be used" in ended.text + ended.err) == (5, True), ended


def test_moments_are_moments_and_spans_are_spans(shop: Path, tmp_path: Path) -> None:
    for number in range(2, 7):
        with DocumentDatabase(shop) as database:
            database.put("orders/1", {"n": number})
            if number == 5:
                database.configure({"Muniment/History": "true"})
                database.put("orders/2", {})
        well("backup", shop, "--dest", tmp_path / "backups", "--incremental")
    said = well("status", shop).text
    rows = [line.split(maxsplit=1)[1] for line in said.splitlines() if line.split()[0] == "restorable"]
    assert rows[0].startswith("1 more before these: see muniment inspect ")
    assert [row.split()[0] for row in rows[1:-1]] == ["at", "at"]
    assert rows[-1].startswith("from ")
    assert "kept, every state since etag" in said
    assert "superseded revision" in said


def test_of_a_server_by_its_url(shop: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with serving(data) as (url, _):
        well("databases", "create", "copy", "--url", url)
        well("backup", "--url", url, "--database", "copy", "--dest", tmp_path / "of the server", "--quiet")
        by_option = well("status", "--url", url, "--database", "copy", "--json").json
        assert well("status", url, "--database", "copy", "--json").json["destinations"][0]["backups"] == 1
        assert by_option["destinations"][0]["destination"] == str(tmp_path / "of the server")
        shutil.rmtree(tmp_path / "of the server")
        assert muniment("status", url, "--database", "copy").code == 3
        ended = muniment("restore", "/nowhere", "--server", url, "--name", "x")
        assert (ended.code, "no folder /nowhere" in ended.err) == (3, True)
    assert muniment("status", str(shop), "--database", "copy").code == 2


def advised(*place: str | Path) -> str:
    """Run the command that status gives, as it stands, and say what status says to do after that."""
    said = muniment("status", *place, "--json").json["next"]
    program, *arguments = shlex.split(said[said.rindex("muniment backup ") :])
    assert program == "muniment"
    assert muniment(*arguments).code == 0
    return str(well("status", *place, "--json").json["next"])


def test_the_command_for_a_first_backup_works(tmp_path: Path) -> None:
    shop = tmp_path / "my shop"
    with DocumentDatabase(shop) as database:
        database.put("orders/1", {"n": 1})
    (tmp_path / "my shop-backups").mkdir()
    assert well("status", shop).text.startswith("my shop at etag 1 has no backup of its own yet\n")
    assert advised(shop).startswith("no rehearsal yet")
    assert len(list((tmp_path / "my shop-backups-2").glob("*.full"))) == 1


def test_the_command_after_a_restore_works(shop: Path, tmp_path: Path) -> None:
    shutil.rmtree(shop)
    well("restore", tmp_path / "backups", "--to", shop)
    said = well("status", shop).text
    assert said.startswith("shop at etag 1 has no backup of its own yet\n")
    assert "no backup since it was restored: take one into the folder it came from, or into a new one: " in said
    assert advised(shop).startswith("no rehearsal yet")
    assert well("status", shop).text.startswith("shop at etag 1 was backed up to 1 folder\n")


def test_the_command_where_two_histories_are_alive_works(shop: Path, tmp_path: Path) -> None:
    well("restore", tmp_path / "backups", "--to", tmp_path / "copy")
    for database in (tmp_path / "copy", shop):
        with DocumentDatabase(database) as opened:
            opened.put("orders/2", {"of": database.name})
        well("backup", database, "--dest", tmp_path / "backups", "--incremental")
    said = well("status", shop, "--json").json["next"]
    assert muniment("rehearse", tmp_path / "backups").code == 2
    program, *arguments = shlex.split(said[said.index("muniment rehearse ") :])
    assert program == "muniment"
    well(*arguments)
    assert well("status", shop, "--json").json["next"] is None


def test_the_command_beside_a_damaged_destination_works(shop: Path, tmp_path: Path) -> None:
    [backup] = (tmp_path / "backups").iterdir()
    (backup / "manifest.json").write_bytes(b"{}")
    (tmp_path / "backups-2").mkdir()
    assert advised(shop).startswith("no rehearsal yet")
    assert len(list((tmp_path / "backups-3").glob("*.full"))) == 1


def test_the_commands_for_a_database_of_a_server_work(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with serving(data) as (url, _):
        well("databases", "create", "copy", "--url", url)
        place = ("--url", url, "--database", "copy")
        assert advised(*place).startswith("no rehearsal yet")
        [backup] = (data / "Backups" / "copy").glob("*.full")
        (backup / "manifest.json").write_bytes(b"{}")
        assert advised(*place).startswith("no rehearsal yet")
        assert len(list((data / "Backups" / "copy-2").glob("*.full"))) == 1


def test_a_backup_of_a_server_is_told_as_that_of_a_folder(shop: Path, tmp_path: Path) -> None:
    with DocumentDatabase(shop) as database:
        database.put("orders/2", {"n": 2})
    folder = tmp_path / "data" / "shop"
    shutil.copytree(shop, folder)
    shutil.copytree(tmp_path / "backups", tmp_path / "others")
    of_folder = well("backup", shop, "--dest", tmp_path / "backups", "--incremental", "--json").json
    with serving(tmp_path / "data") as (url, _):
        well("databases", "create", "shop", "--url", url, "--setting", f"Raven/DataDir={folder}")
        asked = ("backup", "--url", url, "--database", "shop", "--dest", tmp_path / "others", "--incremental")
        of_server = well(*asked, "--json", "--quiet").json
    for told in (of_folder, of_server):
        assert (told["kind"], told["documents"], told["written"]["documents"]) == ("incremental", 2, 1)
    same = ("reason", "name", "etag", "time", "attachments", "bytes", "fingerprint", "files", "written", "skipped")
    assert {name: of_server[name] for name in same} == {name: of_folder[name] for name in same}
    assert {*of_folder} <= {*of_server}
    assert Path(of_server["backup"]).parent == tmp_path / "others"


def test_what_to_do_next_takes_what_an_encrypted_folder_needs(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("orders/1", {"n": 1})
    (tmp_path / "FILE").write_text("correct horse battery staple\n")
    recipient = muniment("identity", "generate", "mine", "--json", cwd=tmp_path).json["recipient"]
    muniment("encryption", "generate-key", "shop.key", cwd=tmp_path)

    def recommended(*key: str) -> str:
        """The command that is recommended, after it was run."""
        said: str = muniment("status", "shop", *key, "--json", cwd=tmp_path).json["next"]
        command = said[said.rindex("muniment ") :]
        assert recipient not in said  # which anybody may have written into the folder
        meant = command.replace("--identity FILE", "--identity mine").replace("RECIPIENT", recipient)
        ended = muniment(*shlex.split(meant)[1:], cwd=tmp_path)
        assert ended.code == 0, (command, ended.err)
        return command

    for dest, options, opens, seals in (
        ("a", ["--passphrase-file", "FILE"], "--passphrase-file FILE", "--passphrase-file FILE"),
        ("b", ["--recipient", recipient], "--identity FILE", "--recipient RECIPIENT"),
        ("c", ["--key-file", "shop.key"], "--key-file shop.key", ""),
    ):
        key: list[str] = []
        if dest == "c":
            key = ["--key-file", "shop.key"]
            assert muniment("encryption", "rotate", "shop", "--new-key-file", "shop.key", cwd=tmp_path).code == 0
        assert muniment("backup", "shop", "--dest", dest, *options, cwd=tmp_path).code == 0
        assert recommended(*key) == f"muniment rehearse {tmp_path / dest} {opens}"
        with DocumentDatabase(tmp_path / "shop", key_file=tmp_path / "shop.key" if key else None) as database:
            database.put("orders/1", {"n": dest})
        where = shlex.join(["shop", *key])
        continued = f"muniment backup {where} --dest {tmp_path / dest} --incremental {seals}".strip()
        assert recommended(*key) == continued


def test_a_plug_in_for_monitoring(shop: Path, tmp_path: Path) -> None:
    limits = ("--fail-if-older", "1h", "--fail-if-unverified", "7d")
    ended = muniment("status", str(shop), *limits)
    assert (ended.code, ended.text.splitlines()[0]) == (1, "WARNING - shop: the backups were never verified")
    assert ended.text.splitlines()[1].split() == ["warning", "unverified"]
    well("verify", tmp_path / "backups")
    for place in (shop, tmp_path / "backups"):
        ended = muniment("status", str(place), *limits)
        assert ended.code == 0
        assert ended.text.startswith("OK - ")
    with DocumentDatabase(shop) as database:
        database.put("orders/1", {"n": 2})
    ended = muniment("status", str(shop), "--fail-if-older", "0s", "--json")
    assert (ended.code, ended.json["state"], ended.json["alerts"][0]["condition"]) == (2, "critical", "backup-late")
    shutil.rmtree(tmp_path / "backups")
    ended = muniment("status", str(shop), *limits)
    assert ended.code == 2
    assert ended.text.startswith("CRITICAL - shop: there is no backup; shop: there is no folder ")


@some(2)
@pytest.mark.parametrize(
    "more", [["none"], ["shop", "--fail-if-unverified", "x"], ["shop", "--unknown"], ["http://127.0.0.1:9"], []]
)
def test_what_cannot_be_found_out_is_unknown(shop: Path, more: list[str]) -> None:
    ended = muniment("status", *more, "--fail-if-older", "1h", cwd=shop.parent)
    assert ended.code == 3
    assert ended.err


def test_a_folder_with_backups(shop: Path, tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "other") as other:
        other.put("a", {})
    well("backup", tmp_path / "other", "--dest", tmp_path / "others")
    said = well("status", tmp_path / "backups").text
    assert said.startswith(f"{tmp_path / 'backups'} has backups of shop at etag 1\n")
    [backup] = [each for each in (tmp_path / "others").iterdir() if each.is_dir()]
    shutil.copytree(backup, tmp_path / "backups" / backup.name)
    ended = muniment("status", str(tmp_path / "backups"), "--json")
    assert [each["name"] for each in ended.json["databases"]] == ["other", "shop"]
    assert "has backups of other at etag 1 and shop at etag 1" in well("status", tmp_path / "backups").text


def test_a_server_tells_of_a_backup_that_failed(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as (url, _):
        well("databases", "create", "shop", "--url", url)
        where = ("status", f"{url}/databases/shop", "--fail-if-unverified", "7d")
        assert well(*where).text.startswith("OK - ")
        assert muniment(*where, "--fail-if-older", "1d").code == 2
        (tmp_path / "file").write_text("no folder")
        assert muniment("backup", "--url", url, "--database", "shop", "--dest", str(tmp_path / "file")).code
        ended = muniment(*where)
        assert ended.code == 2
        assert "backup-failed" in ended.text
        assert not muniment("backup", "--url", url, "--database", "shop", "--dest", str(tmp_path / "backups")).code
        assert muniment(*where).code == 1


def test_backups_in_an_object_store(shop: Path, object_store: ObjectStore) -> None:
    place = object_store.place()
    assert muniment("status", place).code == 3
    well("backup", shop, "--dest", place)
    assert well("status", place).text.startswith(f"{place} has backups of shop at etag 1\n")
    assert muniment("status", place, "--fail-if-older", "1h").code == 0
    assert well("status", shop, "--fail-if-older", "1h").text.startswith("OK - ")
