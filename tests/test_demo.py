"""The demonstration says what it proved on one page, and fails loudly when a promise is broken."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from examples import demo
from examples.demo import Acknowledged, Before, prove
from muniment import DocumentDatabase
from muniment.backup.repository import Backup
from muniment.client import DocumentStore
from muniment.errors import ServerUnavailable
from muniment.maintenance import MaintenanceActions
from tests.cli.process import environment
from tests.sampled import WHOLE, some
from tests.waiting import PATIENCE

DEMO = Path(__file__).parents[1] / "examples" / "demo.py"
DUMP = b"""{"BuildVersion":62028,"Docs":[
{"Company":"companies/1-A","@metadata":{"@id":"orders/1-A","@collection":"Orders"}},
{"Name":"Chai","Price":1.10,"@metadata":{"@id":"products/1-A","@collection":"Products"}}]}"""


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The demonstration, with this as the place for temporary files."""
    return subprocess.run(
        [sys.executable, str(DEMO), *map(str, arguments)],
        env=environment(TMPDIR=str(folder)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def page(done: subprocess.CompletedProcess[str]) -> str:
    """What it printed, which fits on a page."""
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    return done.stdout


def on_a_sample(folder: Path) -> None:
    said = page(run(folder, "--documents", "2000"))
    assert said.count("proven: ") == 6
    for part in (
        "2,000 documents and 40 attachments: all are there, byte for byte",
        "transactions acknowledged after it: none is there",
        "$ muniment sample data/shop --documents 2000 --attachments 40",
        "$ muniment server --data-dir data",
        "$ muniment backup --url=URL --database=shop --dest=$PWD/backups",
        "$ muniment restore $PWD/backups --server URL --name shop-restored",
        "$ muniment verify backups",
        "FROM 'backups/*/documents-*.parquet'",
    ):
        assert part in said
    assert list(folder.iterdir()) == []


def on_a_dump(folder: Path) -> None:
    (folder / "it's a dump").mkdir()
    (folder / "d.ravendbdump").write_bytes(DUMP)
    done = run(folder / "it's a dump", "--dump", folder / "d.ravendbdump")
    assert done.returncode == 0
    assert "2 documents and 0 attachments: all are there, byte for byte" in done.stdout
    assert "SELECT collection, count(*)" in done.stdout
    assert list((folder / "it's a dump").iterdir()) == []


@some(1)
@pytest.mark.parametrize("shown", [on_a_sample, on_a_dump])
def test_it_proves_every_promise(tmp_path: Path, shown: Callable[[Path], None]) -> None:
    shown(tmp_path)


def test_a_dump_that_is_none_is_said_to_be_so(tmp_path: Path) -> None:
    done = run(tmp_path, "--dump", tmp_path / "nowhere")
    assert done.returncode == 3
    assert done.stderr.startswith("error: there is no file")
    assert list(tmp_path.iterdir()) == []


def test_stopped_in_the_middle_it_leaves_no_server_and_no_file(tmp_path: Path) -> None:
    command = [sys.executable, "-u", str(DEMO), "--documents", "500"]
    env = environment(TMPDIR=str(tmp_path))
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("2. A server"))
        process.terminate()
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert said.startswith("error: ")
    with pytest.raises(ServerUnavailable), DocumentStore(line.split()[-1]) as store:
        store.admin.build_version()
    assert list(tmp_path.iterdir()) == []


def test_without_duckdb_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "duckdb", None)
    demo.Demo(Path("unused")).query()
    assert "pip install 'muniment[duckdb]'" in capsys.readouterr().out


History: TypeAlias = tuple[Before, Backup, list[Acknowledged], int]


@pytest.fixture
def history(database: DocumentDatabase, tmp_path: Path) -> History:
    """A document and an attachment, then a write, a backup, and another write."""
    database.put("orders/1", b'{"price":1.10}')
    database.put_attachment("photo", b"\x89PNG")
    before = Before.of(database)
    writer = demo.Writer(database)
    writer.write(1)
    backup = database.maintenance.start_backup(tmp_path / "backups").wait()
    writer.write(2)
    return before, backup, writer.acknowledged, 1


@pytest.fixture
def restored(history: History, tmp_path: Path) -> Iterator[DocumentDatabase]:
    """What the backup of the history gives back."""
    restored = MaintenanceActions.restore(history[1].folder, tmp_path / "restored")
    with DocumentDatabase(restored.folder, create=False) as database:
        yield database


def test_what_is_true_is_proven(history: History, restored: DocumentDatabase) -> None:
    prove(restored, *history)


def asked_for_too_early(history: History) -> History:
    return (*history[:3], 2)


def a_write_was_forgotten(history: History) -> History:
    before, backup, acknowledged, _ = history
    return before, backup, acknowledged[1:], 0


def a_write_was_changed(history: History) -> History:
    before, backup, acknowledged, asked = history
    return before, backup, [acknowledged[0]._replace(body=b"{}"), *acknowledged[1:]], asked


def a_later_write_is_there(history: History) -> History:
    before, backup, acknowledged, asked = history
    return before, backup, [*acknowledged, acknowledged[1]._replace(id="orders/1")], asked


def a_document_is_missing(history: History) -> History:
    before = history[0]
    return (Before({**before.documents, "orders/2": b""}, before.attachments, before.bytes), *history[1:])


def an_attachment_was_changed(history: History) -> History:
    before = history[0]
    return (Before(before.documents, {"photo": "0" * 64}, before.bytes), *history[1:])


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (asked_for_too_early, "1 transactions acknowledged before"),
        (a_write_was_forgotten, "no transaction was cut in two"),
        (a_write_was_changed, "1 transactions acknowledged before"),
        (a_later_write_is_there, "2 transactions acknowledged after"),
        (a_document_is_missing, "2 documents and 1 attachment: all are there"),
        (an_attachment_was_changed, "1 document and 1 attachment: all are there"),
    ],
)
def test_what_is_not_true_is_not_proven(
    history: History, restored: DocumentDatabase, wrong: Callable[[History], History], what: str
) -> None:
    with pytest.raises(match=f"NOT PROVEN: {what}"):
        prove(restored, *wrong(history))


def test_what_is_not_proven_is_a_failure() -> None:
    step = "prove" if WHOLE else "make"  # the last of them, or the first
    code = f"""
from examples import demo
demo.Demo.{step} = lambda *_: demo._proven(False, "x")
exit(demo.main(["--documents", "9"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: NOT PROVEN: x\n")
    assert "All of it was proven" not in done.stdout


def test_another_fingerprint_is_not_proven(history: History, restored: DocumentDatabase) -> None:
    restored.put("more", {})
    with pytest.raises(match="NOT PROVEN: the fingerprint"):
        prove(restored, *history)
