"""`make demo`: a server, its backup and restore at work on one page, with every promise checked as it is made."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from muniment.attachment import Attachment
from muniment.backup.repository import Backup, backups
from muniment.cli.outcome import outcome
from muniment.cli.output import count_text, seconds_text, size_text, took_text
from muniment.cli.sample import fill
from muniment.client import DocumentStore, RemoteAttachment
from muniment.command import Put
from muniment.database import DocumentDatabase
from muniment.document import Document, encode
from muniment.errors import MunimentError
from muniment.smuggler.importer import import_dump
from muniment.version import VERSION

duckdb: Any = import_module("duckdb") if find_spec("duckdb") else None  # an extra

DOCUMENTS: Final = 20_000
ATTACHMENTS: Final = 40
PAGE: Final = 1000
STOP_SECONDS: Final = 20.0
COUNTER: Final = "muniment-demo/counter"

TOP_COMPANIES: Final = """\
SELECT c.document->>'$.Name' AS company, count(*) AS orders
FROM 'backups/*/documents-*.parquet' o JOIN 'backups/*/documents-*.parquet' c
ON c.id = o.document->>'$.Company' WHERE o.collection = 'Orders'
GROUP BY c.id, company ORDER BY orders DESC, c.id LIMIT 3"""
COLLECTIONS: Final = """\
SELECT collection, count(*) AS documents FROM 'backups/*/documents-*.parquet'
GROUP BY collection ORDER BY documents DESC, collection LIMIT 3"""


Database: TypeAlias = DocumentDatabase | DocumentStore


class Acknowledged(NamedTuple):
    """A write that the server has said is on disk: its etag, and the document."""

    etag: int
    id: str
    body: bytes


class Writer(threading.Thread):
    """Writes until it is told to stop, and remembers what was acknowledged.

    Each transaction stores a new document and counts it in another one, so that a transaction cut in two would show.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(name="demo writer", daemon=True)
        self.acknowledged: list[Acknowledged] = []
        self.slowest = 0.0
        self.error: BaseException | None = None
        self._database = database
        self._ended = threading.Event()

    def run(self) -> None:
        """The thread."""
        try:
            while not self._ended.is_set():
                self.write(len(self.acknowledged) + 1)
        except BaseException as error:
            self.error = error

    def write(self, number: int) -> None:
        """One transaction."""
        id, body = f"muniment-demo/{number}", encode({"Number": number, "WrittenAt": time.time()})
        started = time.monotonic()
        written = self._database.batch([Put(id, body), Put(COUNTER, {"Written": number})])
        self.slowest = max(self.slowest, time.monotonic() - started)
        self.acknowledged.append(Acknowledged(written[1].etag, id, body))

    def finish(self) -> None:
        """Stop after the present write; raises what made it fail."""
        self._ended.set()
        self.join()
        if self.error:
            raise self.error


@dataclass(frozen=True, slots=True)
class Before:
    """What was there before anybody wrote: the digest of every document, and of every attachment."""

    documents: dict[str, bytes]
    attachments: dict[str, str]
    bytes: int

    @classmethod
    def of(cls, database: Database) -> Before:
        """Read all of it."""
        return cls(
            {document.id: _digest(document) for document in _documents(database)},
            {attachment.key: attachment.sha256 for attachment in _attachments(database)},
            database.statistics().bytes,
        )

    def __str__(self) -> str:
        return f"{count_text(len(self.documents), 'document')} and {count_text(len(self.attachments), 'attachment')}"


def _digest(document: Document) -> bytes:
    return hashlib.sha256(document.metadata_json + b"\n" + document.body).digest()


def _documents(database: Database) -> Iterator[Document]:
    after = 0
    while page := database.by_etag(after=after, limit=PAGE):
        yield from page
        after = page[-1].etag


def _attachments(database: Database) -> Iterator[Attachment | RemoteAttachment]:
    start = 0
    while page := database.attachments(start=start, limit=PAGE):
        yield from page
        start += len(page)


class Demo:
    """The steps, in a folder of their own, each with the commands by which one would take it oneself."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.backups = folder / "backups"
        self.log = folder / "server.log"

    def run(self, dump: Path | None, documents: int) -> None:
        """All of it, in order."""
        started = time.monotonic()
        print(f"Muniment {VERSION}: backup and restore, each promise checked on this machine\n")
        before = self.make(dump, documents)
        with self.serve() as url:
            backup, writer, asked = self.back_up(url)
            self.lose_and_restore(url, backup)
            with DocumentStore(url, "shop-restored") as database:
                self.prove(database, before, backup, writer.acknowledged, asked)
        self.verify()
        self.query()
        print(f"\nAll of it was proven in {seconds_text(time.monotonic() - started)}, and nothing is left of it.")

    def make(self, dump: Path | None, documents: int) -> Before:
        """A database, from a dump or made up."""
        with DocumentDatabase(self.data / "shop") as database:
            if dump:
                import_dump(database.storage, dump)
                command = f"smuggler in data/shop {dump} --create"
            else:
                fill(database, documents, attachments=ATTACHMENTS)
                command = f"sample data/shop --documents {documents} --attachments {ATTACHMENTS}"
            before = Before.of(database)
        _step(1, f"A database with {before}, {size_text(before.bytes)}", command)
        return before

    @contextmanager
    def serve(self) -> Iterator[str]:
        """A server in a process of its own, which is ended at the end; gives its URL."""
        command = [sys.executable, "-m", "muniment", "server", "--data-dir", str(self.data), "--port", "0"]
        with self.log.open("w") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                raise MunimentError(f"the server did not start: {self.log.read_text()}", "see what it says")
            with DocumentStore(url) as store:
                store.admin.create_database("shop", {"Raven/DataDir": "~/shop"})
            _step(
                2,
                f"A server serves it on {url}",
                "server --data-dir data --port 0",
                "databases create shop --location ~/shop --url URL",
            )
            yield url
        finally:
            process.terminate()
            _end(process)

    def back_up(self, url: str) -> tuple[Backup, Writer, int]:
        """A backup while somebody writes; returns how many writes were acknowledged when it was asked for too."""
        with DocumentStore(url, "shop") as database:
            writer = Writer(database)
            writer.start()
            time.sleep(0.5)
            asked = len(writer.acknowledged)
            told = _muniment("backup", "--url", url, "--database", "shop", "--dest", str(self.backups))
            ended = len(writer.acknowledged)
            time.sleep(0.2)
            writer.finish()
        [backup] = backups(self.backups)
        manifest, total = backup.manifest, len(writer.acknowledged)
        _step(
            3,
            "The utility has it backed up, while a writer keeps writing over HTTP",
            "backup --url=URL --database=shop --dest=$PWD/backups",
        )
        _say(
            f"{took_text(manifest.counts.bytes, told['seconds'])}:"
            f" {count_text(len(manifest.files), 'Parquet file')} with {size_text(manifest.size)}, and a manifest",
            f"durable transactions meanwhile: {asked:,} before it, {ended - asked:,} while it ran,"
            f" {total - ended:,} after it",
            f"nobody waits for a backup: the slowest of them took {1000 * writer.slowest:.0f} ms",
        )
        return backup, writer, asked

    def lose_and_restore(self, url: str, backup: Backup) -> None:
        """The disaster, and the way out of it."""
        with DocumentStore(url) as store:
            store.admin.delete_database("shop", hard=True)
        told = _muniment("restore", str(self.backups), "--server", url, "--name", "shop-restored")
        _step(
            4,
            "The database is lost, and restored by the server under another name",
            "databases delete shop --hard --url URL",
            "restore $PWD/backups --server URL --name shop-restored",
        )
        _say(f"{took_text(backup.manifest.counts.bytes, told['seconds'])}")

    def prove(
        self, database: Database, before: Before, backup: Backup, acknowledged: Sequence[Acknowledged], asked: int
    ) -> None:
        """Compare the restored database with what was written down before; raises `MunimentError`."""
        _step(5, "The proof: what was written down before, compared with what the server has now")
        prove(database, before, backup, acknowledged, asked)
        with DocumentDatabase(self.data / "shop-restored", create=False, read_only=True) as files:
            _proven(files.check() == [], "the restored database agrees with itself, down to every page")

    def verify(self) -> None:
        """Read the backup once more."""
        told = _muniment("verify", str(self.backups))
        _step(6, "A backup can be verified at any time, wherever it lies", "verify backups")
        _say(f"every byte of it read and checked in {seconds_text(told['seconds'])}")

    def query(self) -> None:
        """Ask DuckDB about the backup."""
        _step(7, "A backup can be queried without restoring it, here by DuckDB")
        if duckdb is None:
            _say("DuckDB is not installed, so this step is left out: pip install 'muniment[duckdb]'")
            return
        place = str(self.backups).replace("'", "''")
        for sql in (TOP_COMPANIES, COLLECTIONS):
            rows = duckdb.sql(sql.replace("'backups/", f"'{place}/")).fetchall()
            if rows:
                _say(*sql.split("\n"), *(f"  {name or '(none)':32} {count:>9,}" for name, count in rows))
                return


def _muniment(*arguments: str) -> dict[str, Any]:
    """Run a command in a process of its own; what it says as JSON, or its error."""
    command = [sys.executable, "-m", "muniment", *arguments, "--json", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            said, _ = process.communicate()
        except BaseException:  # a signal, which the command may have got too, or not
            process.terminate()
            raise
    told: dict[str, Any] = json.loads(said or b"{}")
    if process.returncode:
        problem = f"`muniment {arguments[0]}` failed with {process.returncode}: {told.get('error')}"
        raise MunimentError(problem, told.get("hint", ""))
    return told


def _end(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdout is not None
    process.stdout.close()


def prove(database: Database, before: Before, backup: Backup, acknowledged: Sequence[Acknowledged], asked: int) -> None:
    """Say what is proven of a restored database, line by line; raises at the first thing that is not."""
    expected, moment = backup.manifest.fingerprint_at_snapshot().short(), backup.manifest.snapshot.etag
    _proven(
        database.statistics().fingerprint == expected,
        f"the fingerprint is the one recorded at the backup's moment: {expected}",
    )
    found = {document.id: _digest(document) for document in _documents(database)}
    same = all(found.get(id) == digest for id, digest in before.documents.items())
    contents = {attachment.key: hashlib.sha256(attachment.read()).hexdigest() for attachment in _attachments(database)}
    _proven(same and contents == before.attachments, f"{before}: all are there, byte for byte")
    kept = [write for write in acknowledged if write.etag <= moment]
    bodies = {document.id: document.body for document in database.get_many(write.id for write in kept) if document}
    _proven(
        len(kept) >= asked and all(bodies.get(write.id) == write.body for write in kept),
        f"{len(kept):,} transactions acknowledged before that moment: all are there, byte for byte",
    )
    later = acknowledged[len(kept) :]
    _proven(
        not any(database.get_many(write.id for write in later)),
        f"{len(later):,} transactions acknowledged after it: none is there",
    )
    counter = database.get(COUNTER)
    _proven((counter.json()["Written"] if counter else 0) == len(kept), "no transaction was cut in two")


def _step(number: int, title: str, *commands: str) -> None:
    print(f"{number}. {title}")
    for command in commands:
        print(f"   $ muniment {command}")


def _say(*lines: str) -> None:
    for line in lines:
        print(f"     {line}")


def _proven(holds: bool, what: str) -> None:
    if not holds:
        raise MunimentError(f"NOT PROVEN: {what}", "please report this: it is a bug in Muniment")
    _say(f"proven: {what}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; returns 1 if anything could not be proven."""
    parser = argparse.ArgumentParser("examples/demo.py", description=__doc__)
    parser.add_argument("--dump", type=Path, metavar="FILE", help="a .ravendbdump or .ravendump to show it with")
    parser.add_argument("--documents", type=int, metavar="NUMBER", default=DOCUMENTS, help="how many to make up")

    def run() -> None:
        options = parser.parse_args(arguments)
        with tempfile.TemporaryDirectory(prefix="muniment-demo-") as folder:
            Demo(Path(folder)).run(options.dump, options.documents)

    return outcome(run)


if __name__ == "__main__":
    sys.exit(main())
