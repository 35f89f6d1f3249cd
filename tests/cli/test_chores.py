"""`verify`, `rehearse`, `expire`, `merge` and `copy` done by a server: they say what they say of a folder here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase, DocumentStore
from tests.cli.process import muniment
from tests.cli.serving import serving
from tests.waiting import until

OF_A_JOB = {"url", "operation", "state", "messages"}
DIFFER = {*OF_A_JOB, "backup", "seconds", "seconds_with_look", "bytes_per_second", "record", "destination", "copied"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("chores") / "data") as (url, _):
        yield url


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A full backup and an incremental one."""
    with DocumentDatabase(tmp_path / "shop") as database:
        for number in range(20):
            database.put(f"orders/{number}", {"number": number})
        database.maintenance.start_backup(tmp_path / "b").wait()
        database.put("orders/20", {})
        database.maintenance.start_backup(tmp_path / "b", incremental=True).wait()
    return tmp_path / "b"


def both(url: str, here: Sequence[str | Path], there: Sequence[str | Path] = ()) -> tuple[Any, Any]:
    """What a command says with --json, done here and by the server; the same but for where and when."""
    ended = muniment(*here, "--json")
    asked = muniment(*(there or here), "--json", "--url", url)
    assert (ended.code, asked.code) == (0, 0), (ended.err, asked.err)
    assert asked.json.keys() - OF_A_JOB - {"seconds"} == ended.json.keys() - {"seconds"}
    for name in ended.json.keys() - DIFFER:
        assert asked.json[name] == ended.json[name], name
    assert (asked.json["url"], asked.json["state"]) == (url, "completed")
    return ended.json, asked.json


def test_a_server_does_them_and_they_say_the_same(url: str, place: Path, tmp_path: Path) -> None:
    here, there = both(url, ["verify", place])
    assert (here["backup"], len(there["verified"])) == (there["backup"], 2)
    assert Path(there["record"]).is_file()
    here, there = both(url, ["rehearse", place, "--query", "SELECT count(*) = 21 FROM documents"])
    assert here["backup"] == there["backup"]
    assert Path(there["record"]).is_file()
    both(url, ["expire", place, "--keep-last", "1", "--dry-run"])
    copies = [tmp_path / "here", tmp_path / "there"]
    both(url, ("copy", place, copies[0]), ("copy", place, copies[1]))
    through = next(place.glob("*.incremental")).name
    merge = ("--through", through, "--delete-merged")
    both(url, ("merge", copies[0], *merge), ("merge", copies[1], *merge))
    assert [len([*copy.glob("*.full")]) for copy in copies] == [1, 1]
    said = muniment("verify", tmp_path / "there", "--url", url)
    assert said.text.startswith(f"Verified 1 backup in {tmp_path / 'there'}\n  newest"), said.text
    gone = muniment("expire", place, "--keep-last", "1", "--grace", "0s", "--yes", "--url", url)
    assert (gone.code, "2 of 2 backups kept" in gone.text) == (0, True), gone.text


def test_a_moment_there_is_the_moment_here(url: str, place: Path) -> None:
    newest, _ = both(url, ["verify", place])
    lineage = muniment("inspect", place, "--json").json["chains"][0]["lineage"]
    full = next(place.glob("*.full")).name
    moments = {("--backup", full): 20, ("--etag", "20"): 20, ("--at", newest["time"], "--lineage", lineage[:8]): 21}
    for moment, documents in moments.items():
        for command in ("verify", "rehearse"):
            here, there = both(url, [command, place, *moment])
            assert [here["documents"], there["documents"]] == [documents, documents], (command, moment)


def test_a_moment_that_cannot_be_had_there(url: str, place: Path) -> None:
    for moment in (("--etag", "99"), ("--backup", "none"), ("--lineage", "zz"), ("--at", "2000-01-01T00:00Z")):
        for command in ("verify", "rehearse"):
            here, there = muniment(command, place, *moment), muniment(command, place, *moment, "--url", url)
            assert (here.code, there.code) in ((2, 2), (3, 3)), (here.err, there.err)


def test_what_goes_wrong_there_ends_as_it_does_here(url: str, place: Path, tmp_path: Path) -> None:
    file = next(next(place.glob("*.full")).glob("*.parquet"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    for command in (("verify", place), ("rehearse", place), ("copy", place, tmp_path / "copy")):
        here, there = muniment(*command), muniment(*command, "--url", url)
        assert (here.code, there.code) == (5, 5), (here.err, there.err)
        assert str(file) in there.err
    missing = muniment("verify", tmp_path / "none", "--url", url)
    assert (missing.code, muniment("verify", tmp_path / "none").code) == (3, 3), missing.err


def test_nobody_has_to_wait_for_it(url: str, place: Path) -> None:
    begun = muniment("verify", place, "--nowait", "--read-rate", "1GB", "--json", "--url", url)
    assert (begun.code, {*begun.json}) == (0, {"url", "operation", "state"}), begun.err
    with DocumentStore(url) as store:
        until(lambda: store.operations.status(begun.json["operation"]).state != "running")
        assert store.operations.status(begun.json["operation"]).state == "completed"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["verify", "b", "--nowait"], "--nowait is for the jobs of a server"),
        (["verify", "b", "--api-key", "a/b"], "--api-key is for the databases of a server"),
        (["verify", "b", "--no-record", "--url", "http://127.0.0.1:1"], "--no-record is for backups in a folder"),
        (["verify", "b", "--identity", "x", "--url", "http://127.0.0.1:1"], "no secret is sent to a server"),
        (["rehearse", "b", "--script", "true", "--url", "http://127.0.0.1:1"], "--script is for backups in a folder"),
        (["merge", "b", "--through", "x", "--sign-with", "x", "--url", "http://127.0.0.1:1"], "--sign-with is for"),
        (["expire", "b", "--keep-last", "1", "--url", "http://127.0.0.1:1"], "--yes"),
    ],
)
def test_what_a_server_takes_not(words: list[str], said: str, tmp_path: Path) -> None:
    ended = muniment(*words, cwd=tmp_path)
    assert (ended.code, said in ended.err) == (2, True), ended.err
