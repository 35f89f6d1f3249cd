"""`muniment smuggler` as a user runs it: between servers, folders, backups and files, in real processes."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase, DocumentStore
from tests.cli.process import COMMAND, Ended, environment, muniment, on_terminal
from tests.cli.serving import serving
from tests.sampled import some
from tests.shared import shared
from tests.smuggler.dumps import docs, document
from tests.waiting import PATIENCE, until

ORDERS = [{"n": n, "text": "x" * 1000} for n in range(2500)]
_numbers = count(1)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("smuggler") / "data") as (url, _):
        yield url


@pytest.fixture
def name(url: str) -> str:
    """The name of a database of the server that is not there yet."""
    return f"shop{next(_numbers)}"


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """A dump of 2500 documents, more than two batches and more than two blocks."""
    path = tmp_path / "orders.ravendbdump"
    path.write_bytes(docs(*(document(f"orders/{n}", json.dumps(each)[1:-1].encode()) for n, each in enumerate(ORDERS))))
    return path


def well(*arguments: str | Path) -> dict[str, Any]:
    ended = muniment("smuggler", *arguments, "--json")
    assert ended.code == 0, ended.err
    return ended.json


def failed(ended: Ended, code: int, *parts: str) -> None:
    assert (ended.code, "Traceback" in ended.err) == (code, False), ended.err
    for part in parts:
        assert part in ended.err


def started(*arguments: str | Path, **streams: Any) -> subprocess.Popen[bytes]:
    command = [*COMMAND, "smuggler", *map(str, arguments)]
    return subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, **streams)


def ended(process: subprocess.Popen[bytes]) -> Ended:
    out, err = process.communicate(timeout=PATIENCE)
    return Ended(process.returncode, out or b"", err.decode())


def lines(source: str | Path, folder: Path, *options: str) -> list[str]:
    """All documents of a place, in order, but for those that have the time at which they were kept."""
    path = folder / f"lines{next(_numbers)}.ndjson"
    well("out", source, path, *options)
    return sorted(line for line in path.read_text().splitlines() if '"Raven-Smuggler-Section"' not in line)


def attachments(url: str, name: str) -> dict[str, str]:
    with DocumentStore(url, name) as store:
        return {each.key: each.sha256 for each in store.attachments(limit=1000)}


def test_the_real_dump_goes_round(url: str, name: str, tmp_path: Path) -> None:
    real = shared()
    first, last, folder = f"{name}-first", f"{name}-last", tmp_path / "folder"
    told = well("in", url, real, "--database", first, "--create")
    assert (told["documents"], told["attachments"]) == (1059, 17)
    for number, suffix in enumerate(("ravendbdump", "ravendump")):
        path, place = tmp_path / f"northwind.{suffix}", folder.with_name(f"folder{number}")
        exported = well("out", f"{url}/databases/{first}", path)
        assert (exported["documents"], exported["attachments"]) == (1059, 17)
        assert exported["file"] == str(path)
        assert well("in", place, path, "--create")["documents"] == 1059
        again = f"{last}{number}"
        moved = well("between", place, url, "--database2", again, "--create")
        assert (moved["exported"]["documents"], moved["imported"]["attachments"]) == (1059, 17)
        assert lines(url, tmp_path, "--database", again) == lines(url, tmp_path, "--database", first)
        assert attachments(url, again) == attachments(url, first)


def test_pipes(shop: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    sending = started("out", shop, "-", "--compression", "zstd", stdout=subprocess.PIPE)
    taking = started("in", copy, "-", "--create", "--json", stdin=sending.stdout, stdout=subprocess.PIPE)
    assert sending.stdout is not None
    sending.stdout.close()
    sending.stdout = None
    taken, sent = ended(taking), ended(sending)
    assert (taken.code, sent.code) == (0, 0), taken.err + sent.err
    assert taken.json["documents"] == 1052
    assert "Exported" in sent.err
    assert lines(copy, tmp_path) == lines(shop, tmp_path)


def test_a_pipe_that_breaks(shop: Path, tmp_path: Path) -> None:
    """The first end fails: the second says that its dump is cut short. And the other way round."""
    sending = started("out", tmp_path / "none", "-", stdout=subprocess.PIPE)
    taking = started("in", tmp_path / "copy", "-", "--create", stdin=sending.stdout)
    sending.communicate()
    failed(ended(taking), 6, "the dump is empty")
    assert not (tmp_path / "copy").exists()
    sending = started("out", shop, "-", "--compression", "none", stdout=subprocess.PIPE)
    assert sending.stdout is not None
    sending.stdout.read(10)
    sending.stdout.close()
    sending.stdout = None
    broken = ended(sending)
    assert (broken.code, broken.err) == (141, "")  # as any program that nobody reads any more, and not 0


def test_streams_that_are_not_there(shop: Path, tmp_path: Path) -> None:
    command = " ".join((*COMMAND, "smuggler", "in", str(tmp_path / "copy"), "-", "--create"))
    closed = subprocess.Popen(f"{command} <&-", shell=True, env=environment(), stderr=subprocess.PIPE)
    failed(ended(closed), 2, "stdin has no dump to read")
    failed(on_terminal("smuggler", "out", shop, "-", stdout=True), 2, "cannot be shown on a terminal")
    assert list(tmp_path.iterdir()) == []


def test_a_moment_in_backups(shop: Path, backups: Path, url: str, name: str, tmp_path: Path) -> None:
    told = well("out", backups, tmp_path / "new.ravendbdump")
    with DocumentDatabase(shop, read_only=True) as database:
        assert (told["etag"], told["documents"]) == (database.statistics().last_etag, database.statistics().documents)
    moved = well("between", backups, url, "--database2", name, "--create", "--metadata-filter=Raven-Entity-Name=Odd")
    assert moved["imported"]["documents"] == 1
    with DocumentStore(url, name) as store:
        found = store.get("Odd/One")
        assert found is not None
        assert found.body == b'{"price": 1.10 ,\n "name":"S\xc3\xa3o [bold]Paulo"}'
    failed(muniment("smuggler", "between", backups, tmp_path / "new", "--create", "--etag", "99999999"), 3)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("form", ["folder", "backups", "server"])
def test_a_part_by_collections_ids_and_prefixes(form: str, url: str, name: str, tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "small") as database:
        for number in range(1, 4):
            for kind in ("orders", "users", "shops"):
                database.put(f"{kind}/{number}", {"n": number}, {"Raven-Entity-Name": kind.title()})
        database.put_attachment("orders/2/a.txt", b"kept")
        database.put_attachment("shops/2/a.txt", b"left out")
        database.maintenance.start_backup(tmp_path / "small-backups").wait()
    places: dict[str, str | Path] = {
        "folder": tmp_path / "small",
        "backups": tmp_path / "small-backups",
        "server": f"{url}/databases/{name}",
    }
    if form == "server":
        well("between", tmp_path / "small", url, "--database2", name, "--create")
    place = places[form]
    part = ["--collection", "ORDERS", "--id", "Users/3", "--id-prefix", "shops/1", "--id", "shops/3"]
    told = well("out", place, tmp_path / "part.ravendbdump", *part)
    assert (told["documents"], told["attachments"]) == (6, 1)
    copied = well("between", place, tmp_path / "part", "--create", *part)
    assert copied["imported"]["documents"] == 6
    found = [json.loads(line)["@metadata"]["@id"] for line in lines(tmp_path / "part", tmp_path)]
    assert sorted(found) == ["orders/1", "orders/2", "orders/3", "shops/1", "shops/3", "users/3"]
    told = well("out", place, tmp_path / "few.ndjson", *part, "--filter=n=3")  # which has to be met as well
    assert told["documents"] == 3
    for missing, said in (
        (["--collection", "Ordrs"], "no document in a collection 'Ordrs'"),
        (["--id", "orders/1", "--id", "orders/9"], "no document 'orders/9'"),
        (["--id-prefix", "x/"], "no document 'x/*'"),
    ):
        failed(muniment("smuggler", "out", place, tmp_path / "none.ndjson", *missing), 3, said)
    failed(muniment("smuggler", "out", place, tmp_path / "none.ndjson", "--id", ""), 2, "is empty")
    assert not (tmp_path / "none.ndjson").exists()


def test_between_a_database_and_itself(tmp_path: Path) -> None:
    with DocumentDatabase(tmp_path / "shop") as shop:
        shop.put("a", {})
    failed(muniment("smuggler", "between", tmp_path / "shop", f"{tmp_path}/./shop"), 2, "are the same database")


def test_between_servers(url: str, name: str, dump: Path, tmp_path: Path) -> None:
    well("in", url, dump, "--database", name, "--create")
    moved = well("between", url, url, "--database", name, "--database2", f"{name}-copy", "--create", "--limit", "2000")
    assert moved["imported"]["documents"] == 2000
    moved = well("between", f"{url}/databases/{name}", f"{url}/databases/{name}-copy")
    assert lines(url, tmp_path, "--database", f"{name}-copy") == lines(url, tmp_path, "--database", name)
    text = muniment("smuggler", "between", url, tmp_path / "new", "--database", name, "--create").text
    assert "documents    2,500" in text
    assert "etag 2,500" in text


def test_a_database_that_is_not_there(url: str, name: str, dump: Path, tmp_path: Path) -> None:
    for place in ((url, "--database", name), (str(tmp_path / "new"),)):
        for command in (("in", place[0], dump), ("out", place[0], tmp_path / "new.ndjson")):
            failed(muniment("smuggler", *command, *place[1:]), 3)
        failed(muniment("smuggler", "in", place[0], dump, *place[1:]), 3, "--create")
    failed(muniment("smuggler", "between", url, tmp_path / "new", "--database", name, "--create"), 3)
    failed(muniment("smuggler", "between", tmp_path / "none", url, "--database2", name, "--create"), 3)
    assert name not in muniment("databases", "list", "--url", url, "--json").json["databases"]
    assert sorted(tmp_path.iterdir()) == [dump]
    failed(muniment("smuggler", "in", url, dump, "--database", "a/b", "--create"), 2)


def test_what_was_made_for_a_dump_that_can_not_be_read_is_removed(url: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "bad.ravendbdump").write_bytes(b"no dump")
    failed(muniment("smuggler", "in", url, tmp_path / "bad.ravendbdump", "--database", name, "--create"), 6)
    failed(muniment("smuggler", "in", tmp_path / "new", tmp_path / "bad.ravendbdump", "--create"), 6)
    assert name not in muniment("databases", "list", "--url", url, "--json").json["databases"]
    assert not (tmp_path / "new").exists()


@some(1)
@pytest.mark.parametrize("form", ["folder", "server"])
def test_options(form: str, url: str, name: str, dump: Path, tmp_path: Path) -> None:
    place = [str(tmp_path / "new")] if form == "folder" else [f"{url}/databases/{name}"]
    script = tmp_path / "script.js"
    script.write_text("function(doc) { if (doc.n % 2) return null; doc.even = true; return doc; }")
    told = well(
        "in", *place, dump, "--create", "--filter=n=1*,2", "--negative-filter=n=10*", "--transform-file", script
    )
    wanted = [n for n in range(2500) if (str(n)[0] == "1" or n == 2) and str(n)[:2] != "10" and n % 2 == 0]
    assert told["documents"] == len(wanted)
    assert sum(told["skipped"].values()) == 2500 - len(wanted)
    found = [json.loads(line) for line in lines(place[0], tmp_path, "--filter=n=12,14", "--operate-on-types=Documents")]
    assert [(each["n"], each["even"]) for each in found] == [(12, True), (14, True)]
    first = well("in", *place, dump, "--limit", "1200", "--batch-size", "500")
    rest = well("in", *place, dump, "--continuation-token", first["continuation"])
    assert (first["documents"], rest["documents"]) == (1200, 1300)
    late = well("out", *place, tmp_path / "late.ndjson", "--start-document-etag", "2400", "--limit", "10")
    assert late["documents"] == 10
    said = muniment("smuggler", "out", *place, tmp_path / "x.ndjson", "--operate-on-types=Documents,Conflicts").text
    assert "no effect    Conflicts" in said
    wrong = muniment("smuggler", "in", *place, dump, "--continuation-token", "x" * 10)
    failed(wrong, 2, "not a continuation token")
    wrong = muniment("smuggler", "out", *place, tmp_path / "y.ndjson", "--transform", "function(doc) { throw 'oh' }")
    failed(wrong, 2, "orders/", "oh")
    failed(muniment("smuggler", "out", *place, tmp_path / "y.ndjson", "--filter", "n"), 2, "n")
    assert not (tmp_path / "y.ndjson").exists()


def test_errors_that_are_passed_over(url: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.ravendbdump"
    path.write_bytes(docs(document("a/1"), b'{"x":"\xff","@metadata":{"@id":"a/2"}}', document("a/3")))
    failed(muniment("smuggler", "in", url, path, "--database", name, "--create"), 5, "a/1")
    told = well("in", url, path, "--database", name, "--create", "--ignore-errors-and-continue")
    assert (told["documents"], told["failed"]) == (2, 1)
    said = muniment("smuggler", "in", url, path, "--database", name, "--ignore-errors-and-continue").text
    assert "1 item, passed over" in said
    path.write_bytes(docs(document("a/1"), more=b',"Oddities":[{}]'))
    assert well("in", url, path, "--database", name)["skipped"] == {"Oddities": 1}
    failed(muniment("smuggler", "in", url, path, "--database", name, "--fail-on-unknown"), 6, "Oddities")


@some(1)
@pytest.mark.parametrize("command", ["out", "in", "between"])
def test_credentials_are_refused_where_no_server_is_asked(command: str, shop: Path, tmp_path: Path) -> None:
    for option in ("--username", "--password", "--domain", "--api-key"):
        for twin in ("", "2") if command == "between" else ("",):
            ended = muniment("smuggler", command, shop, tmp_path / "new.ravendump", f"{option}{twin}=x")
            failed(ended, 2, "is for the databases of a server", f"{option}{twin}")
    assert list(tmp_path.iterdir()) == []
    assert muniment("smuggler", "out", shop, tmp_path / "new.ravendump", "--username=", "--api-key=").code == 0


def test_a_timeout(shop: Path, tmp_path: Path) -> None:
    failed(muniment("smuggler", "out", shop, tmp_path / "new.ndjson", "--timeout", "1"), 130, "did not end within")
    assert list(tmp_path.iterdir()) == []


@some(1)
@pytest.mark.parametrize("form", ["folder", "server"])
def test_incremental_exports(form: str, url: str, name: str, dump: Path, tmp_path: Path) -> None:
    place = [str(tmp_path / "new")] if form == "folder" else [url, "--database", name]
    exports = tmp_path / "exports"
    well("in", *place, dump, "--create")
    assert well("out", place[0], exports, *place[1:], "--incremental")["kind"] == "full"
    nothing = muniment("smuggler", "out", place[0], exports, *place[1:], "--incremental")
    assert "nothing has changed" in nothing.text
    with DocumentStore(url, name) if form == "server" else DocumentDatabase(place[0]) as database:
        database.delete("orders/7")
        database.put("orders/8", {"new": True})
    other = muniment("smuggler", "out", place[0], exports, *place[1:], "--incremental", "--id", "orders/1-A")
    failed(other, 2, "another part")
    told = well("out", place[0], exports, *place[1:], "--incremental")
    assert (told["kind"], told["documents"], told["deletions"]) == ("incremental", 1, 1)
    assert len(list(exports.glob("*.ravendbdump"))) == 2
    for target in ([str(tmp_path / "copy")], [url, "--database", f"{name}-copy"]):
        told = well("in", target[0], exports, *target[1:], "--create", "--incremental")
        assert told["deletions"] == 1
        source = (place[0], *place[1:])
        assert lines(target[0], tmp_path, *target[1:]) == lines(source[0], tmp_path, *source[1:])
    (exports / "export-state.json").write_text("{}")
    failed(muniment("smuggler", "out", place[0], exports, *place[1:], "--incremental"), 6, "not the state")
    failed(muniment("smuggler", "in", tmp_path / "copy", dump, "--incremental"), 2, "is not a folder")


def test_a_client_that_is_killed_in_the_middle_of_an_export(url: str, name: str, tmp_path: Path) -> None:
    with DocumentStore(url, name) as store:
        store.admin.create_database(name)
        store.put_attachment("big", (os.urandom(1 << 20) for _ in range(20)))
        process = started("out", url, "-", "--database", name, "--compression", "none", stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.read(1000)
        process.kill()
        ended(process)
        [operation] = [each for each in store.operations.list() if name in str(each)]
        until(lambda: store.operations.status(operation.id).state != "running")
        assert store.operations.status(operation.id).state == "cancelled"
        store.admin.delete_database(name, hard=True)


def test_a_client_that_is_killed_in_the_middle_of_an_import(url: str, name: str, dump: Path, tmp_path: Path) -> None:
    content = dump.read_bytes()
    with DocumentStore(url, name) as store:
        store.admin.create_database(name)
        process = started("in", url, "-", "--database", name, "--batch-size", "100", stdin=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(content[:-1000])
        process.stdin.flush()
        until(lambda: store.statistics().documents)
        process.kill()
        ended(process)
        assert 0 < store.statistics().documents < 2500
    assert well("in", url, dump, "--database", name)["documents"] == 2500
    assert len(lines(url, tmp_path, "--database", name)) == 2500


def test_a_server_that_is_killed_in_the_middle_of_an_import(dump: Path, tmp_path: Path) -> None:
    content = dump.read_bytes()
    with serving(tmp_path / "data") as (url, server):
        with DocumentStore(url, "shop") as store:
            store.admin.create_database("shop")
            process = started("in", url, "-", "--database", "shop", "--batch-size", "100", stdin=subprocess.PIPE)
            assert process.stdin is not None
            process.stdin.write(content[:-1000])
            process.stdin.flush()
            until(lambda: store.statistics().documents)
        server.send_signal(signal.SIGKILL)
        server.wait()
        failed(ended(process), 9, "the server broke the connection")
    with serving(tmp_path / "data") as (url, _):
        assert well("in", url, dump, "--database", "shop")["documents"] == 2500


CUT, GOOD = b'{"Docs":[{"a":1,"@metadata":{"@id":"a/1"}},', docs(document("a/1"))
BAD = {
    "cut": (CUT, 5, "cut short"),
    "cut gzip": (gzip.compress(GOOD)[:-15], 5, "cut short"),
    "broken gzip": (gzip.compress(GOOD)[:20] + b"xxxx" + gzip.compress(GOOD)[24:], 5, ""),
    "nothing": (b"", 6, "empty"),
    "text": (b"Hello, world", 6, "not a dump"),
    "not UTF-8": (b'{"Docs":[{"a":"\xff","@metadata":{"@id":"a/1"}}]}', 5, ""),
    "no id": (b'{"Docs":[{"a":1}]}', 5, ""),
    "twice": (b'{"BuildVersion":62028,"Docs":[' + b",".join([document("a/1")] * 2) + b"]}", 5, "a/1"),
}


@some(3)
@pytest.mark.parametrize("kind", BAD)
def test_bad_dumps(kind: str, url: str, name: str, tmp_path: Path) -> None:
    """The same from a folder, a pipe and through a server: a code, two lines, and no traceback."""
    content, code, said = BAD[kind]
    path = tmp_path / "bad.ravendbdump"
    path.write_bytes(content)
    failed(muniment("smuggler", "in", tmp_path / "new", path, "--create"), code, said)
    failed(muniment("smuggler", "in", url, path, "--database", name, "--create"), code, said)
    with path.open("rb") as stream:
        failed(ended(started("in", tmp_path / "new", "-", "--create", stdin=stream)), code, said)


def test_a_bad_dump_is_told_of_while_most_of_it_is_still_to_come(url: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.ravendbdump"
    path.write_bytes(b'{"Docs":[{"a":1}],"x":"' + os.urandom(15_000_000).hex().encode() + b'"}')
    failed(muniment("smuggler", "in", url, path, "--database", name, "--create"), 5, "no @metadata")


@some(1)
@pytest.mark.parametrize("form", ["folder", "server"])
def test_extensions_are_kept_and_given_back(url: str, name: str, tmp_path: Path, form: str) -> None:
    place = [str(tmp_path / "new")] if form == "folder" else [f"{url}/databases/{name}"]
    dump = shared("ravendb-6.2-backup/expected.ravendbdump")
    said = muniment("smuggler", "in", *place, dump, "--create", "--operate-on-types=Documents").text
    assert "  kept" not in said
    told = well("in", *place, dump, "--keep-extensions")
    assert (told["kept"], told["skipped"]) == ({"DatabaseRecord": 1, "RevisionDocuments": 3}, {})
    said = muniment("smuggler", "out", *place, tmp_path / "back.ravendbdump").text
    assert "1 DatabaseRecord, 3 RevisionDocuments" in said
    assert b'"RevisionDocuments":[{"v":1,' in gzip.decompress((tmp_path / "back.ravendbdump").read_bytes())


@some(1)
@pytest.mark.parametrize("form", ["folder", "server"])
def test_what_ravendb_refuses_is_named_and_left_out(url: str, name: str, tmp_path: Path, form: str) -> None:
    place = [str(tmp_path / "new")] if form == "folder" else [f"{url}/databases/{name}"]
    dump = tmp_path / "in.ravendbdump"
    dump.write_bytes(docs(document("a/1", b'"n":1e400'), document("a/2", b'"n":1')))
    well("in", *place, dump, "--create")
    said = muniment("smuggler", "out", *place, tmp_path / "whole.ravendbdump").text
    assert "RavenDB refuses this dump because of 1 document; --for-ravendb leaves them out" in said
    assert "a/1" in said
    told = well("out", *place, tmp_path / "shop.ravendbdump", "--for-ravendb")
    assert (told["documents"], told["refused"]) == (1, 1)
    assert b"1e400" not in gzip.decompress((tmp_path / "shop.ravendbdump").read_bytes())
    assert b"1e400" in gzip.decompress((tmp_path / "shop.refused.ravendbdump").read_bytes())
    failed(muniment("smuggler", "out", *place, tmp_path / "shop.ravendbdump", "--for-ravendb"), 4, "exists already")
    failed(muniment("smuggler", "out", *place, "-", "--for-ravendb"), 2, "writes two files")
