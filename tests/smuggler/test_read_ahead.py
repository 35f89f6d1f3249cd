"""A dump that another process reads: what comes of it, and what becomes of that process."""

from __future__ import annotations

import gzip
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from muniment import DocumentDatabase
from muniment.errors import Cancelled, DamagedDump, MunimentError, StorageFailure, UnknownFormat
from muniment.progress import Progress
from muniment.smuggler import read_ahead
from muniment.smuggler.importer import import_dump
from muniment.smuggler.read_ahead import DumpAhead, ReadyDocument, kept, open_ahead
from muniment.smuggler.reader import Dump, DumpDocument, DumpFault, DumpItem, open_dump
from tests.processes import runs
from tests.sampled import some
from tests.smuggler.dumps import LEGACY, SMALL, attachment, docs, document, plain
from tests.smuggler.test_cut import MIXED, told

LARGE = docs(*(document(f"a/{n}", b'"x":"%s"' % (b"x" * 1000)) for n in range(20_000)))
FAULTY = docs(
    document("a/1"),
    b'{"@metadata":{}}',
    attachment(b"not what the hash is of", hash="A" * 43 + "="),
    document("x" * 513),
    attachment(b"x" * (3 << 20)),
    b'{"@metadata":{"@id":"a","@collection":"\\ud800"}}',
    more=b',"BuildVersion":62029,"Tombstones":[{"Key":"a/2","Type":"Document"},{"Key":"a","Type":"?"},1],"Docs":[{}]',
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "large.ravendbdump"
    path.write_bytes(LARGE)
    return path


def taken(dump: Dump | DumpAhead) -> list[Any]:
    """All that there is to see of a dump, and the error that it ends with."""
    found: list[Any] = [dump.compression, dump.head, dump.build_version]
    try:
        for item in dump:
            found += [seen(item), dump.build_version]
    except MunimentError as error:
        found.append((type(error), error.message, error.hint))
    return found


def seen(item: DumpItem) -> Any:
    if isinstance(item, DumpFault):
        return type(item.error), item.error.message, item.error.hint, item.position
    if isinstance(item, DumpDocument):
        return item.id, item.body, item.metadata, item.position
    try:
        return plain(item)
    except DamagedDump as error:
        return error.message


@some(4)
@pytest.mark.parametrize("pass_faults", [False, True])
@pytest.mark.parametrize("dump", [SMALL, LEGACY, FAULTY, FAULTY[:-1], gzip.compress(LARGE)[:-9], LARGE])
def test_it_gives_what_reading_here_gives(tmp_path: Path, dump: bytes, pass_faults: bool) -> None:
    path = tmp_path / "dump"
    path.write_bytes(dump)
    with open_dump(path, pass_faults=pass_faults) as here:
        expected = taken(here)
    with DumpAhead(path, pass_faults=pass_faults, progress=Progress()) as there:
        assert taken(there) == expected


def test_documents_come_with_what_is_stored_of_them(tmp_path: Path) -> None:
    """But for those that cannot be stored: of them the import has to say why."""
    path = tmp_path / "dump"
    path.write_bytes(FAULTY)
    with DumpAhead(path, pass_faults=True, progress=Progress()) as dump:
        documents = [item for item in dump if seen(item) and isinstance(item, DumpDocument)]
    assert [isinstance(item, ReadyDocument) for item in documents] == [True, False, False]
    for item in documents:
        if isinstance(item, ReadyDocument):
            assert (item.kept, item.collection) == kept(item)


@some(3)
@pytest.mark.parametrize("columns", [1, 7, 100])
@pytest.mark.parametrize("dump", [FAULTY, MIXED, MIXED[:-90], gzip.compress(LARGE)[:-9]])
def test_columns_hold_the_same_documents(tmp_path: Path, dump: bytes, columns: int) -> None:
    path = tmp_path / "dump"
    path.write_bytes(dump)
    found: dict[int, list[Any]] = {}
    for asked in (0, columns):
        found[asked] = []
        with DumpAhead(path, pass_faults=True, columns=asked, progress=Progress()) as there:
            try:
                for item in there:
                    found[asked] += told(item)
            except DamagedDump as error:
                found[asked].append(error.message)
    assert found[0] == found[columns]


def test_contents_that_nobody_reads_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    path.write_bytes(SMALL)
    with open_dump(path) as here, DumpAhead(path, pass_faults=False, progress=Progress()) as there:
        assert len(list(there)) == len(list(here))


def test_only_large_files_are_read_so(tmp_path: Path, path: Path) -> None:
    small, progress = tmp_path / "small", Progress()
    small.write_bytes(SMALL)
    for source, expected in ((path, DumpAhead), (small, Dump), (io.BytesIO(LARGE), Dump)):
        with open_ahead(source, pass_faults=False, progress=progress) as dump:
            assert type(dump) is expected


def test_what_is_no_dump_is_said_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "no dump"
    path.write_bytes(b"PK" + bytes(read_ahead.AHEAD_BYTES))
    with pytest.raises(UnknownFormat, match="zip archive"):
        open_ahead(path, pass_faults=False, progress=Progress())


class Killing(Progress):
    """Once some documents are stored, the process that reads is killed; or it is stopped, and the import cancelled."""

    def __init__(self, sign: signal.Signals) -> None:
        super().__init__()
        self.sign = sign
        self.killed: list[int] = []

    def advance(self, *, documents: int = 0, attachments: int = 0, bytes: int = 0, written: int = 0) -> None:
        super().advance(documents=documents, attachments=attachments, bytes=bytes)
        if not self.killed:
            self.killed = readers(os.getpid())
            for pid in self.killed:
                os.kill(pid, self.sign)
            if self.sign == signal.SIGSTOP:
                Timer(0.5, self.cancel).start()


def readers(parent: int) -> list[int]:
    """The processes that read dumps for this one."""
    command = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(parent)]
    listed = subprocess.run(command, capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if "smuggler.read_ahead" in line]


@pytest.mark.usefixtures("real_workers")
def test_a_reader_that_is_killed_is_told_with_what_was_imported(tmp_path: Path, path: Path) -> None:
    progress = Killing(signal.SIGKILL)
    with DocumentDatabase(tmp_path / "db") as database:
        with pytest.raises(StorageFailure, match=r"code -9; [\d,]+ documents were imported") as caught:
            import_dump(database.storage, path, progress=progress)
        assert progress.killed
        assert 1000 <= database.statistics().documents < 20_000
        token = caught.value.hint.rpartition("continuation token ")[2]
        assert token
        assert import_dump(database.storage, path).documents == 20_000


@pytest.mark.usefixtures("real_workers")
def test_a_reader_that_hangs_can_be_cancelled(tmp_path: Path, path: Path) -> None:
    progress = Killing(signal.SIGSTOP)
    with DocumentDatabase(tmp_path / "db") as database, pytest.raises(Cancelled, match="documents were imported"):
        import_dump(database.storage, path, progress=progress)
    assert progress.killed
    assert readers(os.getpid()) == []


@pytest.mark.usefixtures("real_workers")
def test_it_ends_with_the_import(tmp_path: Path, path: Path) -> None:
    with DocumentDatabase(tmp_path / "db") as database:
        import_dump(database.storage, path)
    with DumpAhead(path, pass_faults=False, progress=Progress()) as dump:
        next(iter(dump))
        assert len(readers(os.getpid())) == 1
    assert readers(os.getpid()) == []


def test_it_ends_with_its_parent(path: Path) -> None:
    script = (
        "import sys; from muniment.progress import Progress; from muniment.smuggler.read_ahead import DumpAhead\n"
        "dump = DumpAhead(sys.argv[1], pass_faults=False, progress=Progress())\n"
        "print(dump._worker.pid, flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdin=pipe, stdout=pipe) as parent:
        assert parent.stdout is not None
        reader = int(parent.stdout.readline())
        assert readers(parent.pid) == [reader]
        parent.kill()
    while runs(reader):
        time.sleep(0.01)
