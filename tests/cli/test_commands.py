"""What each command says when all goes well, as text and as JSON, and what holds after it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from muniment import DocumentDatabase
from muniment.version import VERSION
from tests.backup.state import tree
from tests.cli.conftest import SMALL
from tests.cli.process import Ended, muniment

DUMP = b"""{"BuildVersion":62028,"Docs":[
{"Name":"Zaanse koeken","Price":1.10,"@metadata":{"@id":"products/1-A","@collection":"Products"}},
{"Name":"Chai","@metadata":{"@id":"products/2-A","@collection":"Products"}}],
"Identities":[{"Key":"orders|","Value":830}],"CompareExchange":[{"Key":"a","Value":1}]}"""


def well(*arguments: str | Path, cwd: Path | None = None) -> Ended:
    """Run a command that succeeds and has nothing to say on stderr."""
    ended = muniment(*arguments, cwd=cwd)
    assert (ended.code, ended.err) == (0, "")
    return ended


def fingerprint(folder: Path) -> str:
    with DocumentDatabase(folder, create=False) as database:
        assert database.check() == []
        return database.statistics().fingerprint


def test_a_backup_says_what_it_holds_and_where_it_is(shop: Path, tmp_path: Path) -> None:
    said = well("backup", shop, "--dest", tmp_path / "new" / "backups").text
    (folder,) = (tmp_path / "new" / "backups").iterdir()
    assert said.startswith(f"Backed up {shop} to {folder}\n")
    for part in (f"{SMALL + 1:,}", "attachments", "MB/s", fingerprint(shop)):
        assert part in said
    assert (folder / "manifest.json").is_file()


def test_a_backup_as_json(shop: Path, tmp_path: Path) -> None:
    facts = well("backup", shop, "--dest", tmp_path, "--json").json
    manifest = json.loads((Path(facts["backup"]) / "manifest.json").read_bytes())
    assert facts["kind"] == "full"
    assert facts["documents"] == manifest["counts"]["documents"] == SMALL + 1
    assert facts["attachments"] == 8
    assert facts["etag"] == manifest["snapshot"]["etag"]
    assert facts["files"] == len(manifest["files"])
    assert facts["file_bytes"] == sum(file["size"] for file in manifest["files"])
    assert facts["fingerprint"] == fingerprint(shop)
    assert facts["seconds"] > 0


def test_of_several_places_each_that_failed_has_its_hint(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = muniment("backup", shop, "--dest", tmp_path / "file", "--dest", tmp_path / "good")
    assert ended.code == 8
    lines = [" ".join(line.split()) for line in ended.text.splitlines()]
    assert lines[0].endswith("to 1 of 2 places")
    assert lines[1:3] == [
        f"failed {tmp_path / 'file'}: {tmp_path / 'file'} is a file, so no backup can be written into it",
        "→ give a folder",
    ]
    assert lines[3].startswith(f"backup {tmp_path / 'good'}")


def test_a_restore_brings_everything_back(shop: Path, backups: Path, tmp_path: Path) -> None:
    said = well("restore", backups, "--to", tmp_path / "again", "--defrag").text
    assert said.startswith(f"Restored shop to {tmp_path / 'again'}\n")
    assert fingerprint(tmp_path / "again") == fingerprint(shop)
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_a_restore_as_json(shop: Path, backups: Path, tmp_path: Path) -> None:
    (one,) = backups.iterdir()
    facts = well("restore", one, "--to", tmp_path / "again", "--json").json
    assert facts["database"] == str(tmp_path / "again")
    assert facts["backup"] == str(one)
    assert facts["fingerprint"] == fingerprint(tmp_path / "again") == fingerprint(shop)


def test_a_restore_into_the_empty_folder_one_stands_in(shop: Path, backups: Path, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    well("restore", backups, "--to", ".", cwd=tmp_path / "here")
    assert fingerprint(tmp_path / "here") == fingerprint(shop)


def test_verify(shop: Path, backups: Path) -> None:
    (one,) = backups.iterdir()
    assert well("verify", backups, "--no-record").text.startswith(f"Verified 1 backup in {backups}\n")
    assert list(backups.iterdir()) == [one]
    before = tree(one)
    facts = well("verify", one, "--json").json
    assert facts["backup"] == str(one)
    assert facts["verified"] == [str(one)]
    assert facts["fingerprint"] == fingerprint(shop)
    record = Path(facts["record"])
    assert (record.parent, tree(one)) == (backups, before)
    assert json.loads(record.read_bytes())["problem"] is None
    record.unlink()  # other tests use the folder too


def test_of_a_chain_the_whole_is_counted(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "shop") as database:
        for number in range(1, 4):
            database.put(f"orders/{number}", {"number": number})
            database.maintenance.start_backup(tmp_path / "backups", incremental=True).wait()
    for facts in (
        well("verify", tmp_path / "backups", "--json").json,
        well("restore", tmp_path / "backups", "--to", tmp_path / "again", "--json").json,
    ):
        assert (facts["kind"], facts["documents"]) == ("incremental", 3)
        assert facts["fingerprint"] == fingerprint(tmp_path / "shop")
    assert fingerprint(tmp_path / "again") == fingerprint(tmp_path / "shop")


def test_statistics(shop: Path) -> None:
    said = well("statistics", shop).text
    facts = well("statistics", shop, "--json").json
    assert facts["documents"] == SMALL + 1
    assert facts["collections"]["Orders"] == 830
    assert facts["fingerprint"] == fingerprint(shop)
    for value in (f"{SMALL + 1:,}", "Orders", "830", facts["fingerprint"], facts["database_id"], facts["last_changed"]):
        assert value in said


def test_check(shop: Path) -> None:
    assert well("check", shop).text.startswith(f"{shop} is consistent\n")
    facts = well("check", shop, "--json").json
    assert (facts["problems"], facts["documents"], facts["fingerprint"]) == ([], SMALL + 1, fingerprint(shop))


def test_a_database_can_be_read_while_another_process_has_it(shop: Path) -> None:
    with DocumentDatabase(shop):
        well("get", shop, "orders/1")
        well("check", shop)
        well("statistics", shop)


def test_get_gives_the_exact_bytes(shop: Path) -> None:
    with DocumentDatabase(shop, read_only=True) as database:
        document = database.get("odd/one")
    assert document is not None
    assert well("get", shop, "ODD/one").out == document.body
    assert well("get", shop, "odd/one", "--metadata").out == document.metadata_json
    ended = well("get", shop, "odd/one", "--json")
    assert document.body in ended.out
    assert ended.json == {
        "id": "Odd/One",
        "etag": document.etag,
        "last_modified": document.last_modified,
        "metadata": document.metadata,
        "document": document.json(),
    }


def test_a_sample_is_the_same_every_time(tmp_path: Path) -> None:
    first, again, other = (
        well("sample", tmp_path / name, "--documents", "1500", "--attachments", "3", "--seed", seed, "--json").json
        for name, seed in (("first", "1"), ("again", "1"), ("other", "2"))
    )
    assert (first["documents"], first["attachments"]) == (1500, 3)
    assert first["fingerprint"] == again["fingerprint"] != other["fingerprint"]
    assert fingerprint(tmp_path / "first") == first["fingerprint"]
    assert well("sample", tmp_path / "default").text.startswith("Made default in ")


def test_a_sample_goes_into_an_empty_database(tmp_path: Path) -> None:
    DocumentDatabase(tmp_path / "shop").close()
    assert well("sample", tmp_path / "shop", "--documents", "10", "--json").json["documents"] == 10


def test_import_of_a_dump(tmp_path: Path) -> None:
    (tmp_path / "two.ravendbdump").write_bytes(DUMP)
    facts = well("smuggler", "in", tmp_path / "shop", tmp_path / "two.ravendbdump", "--create", "--json").json
    assert (facts["documents"], facts["identities"], facts["build_version"]) == (2, 1, 62028)
    assert facts["skipped"] == {"CompareExchange": 1}
    assert facts["fingerprint"] == fingerprint(tmp_path / "shop")
    assert well("get", tmp_path / "shop", "products/1-a").out == b'{"Name":"Zaanse koeken","Price":1.10}'
    said = well("smuggler", "in", tmp_path / "shop", tmp_path / "two.ravendbdump").text
    assert "1 CompareExchange" in said


def test_version() -> None:
    assert well("--version").text == f"muniment {VERSION}\n"


@pytest.mark.parametrize("name", ["São Paulo", "[bold]x[/bold]", "a\nb", "with space"])
def test_names_are_printed_as_they_are(tmp_path: Path, name: str) -> None:
    said = well("sample", tmp_path / name, "--documents", "1").text
    assert str(tmp_path / name) in said
