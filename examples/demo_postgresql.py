"""`make demo STORAGE=postgresql`: from a folder into PostgreSQL, two servers on it, one killed, a backup, and back.

PostgreSQL is one that this starts itself, in a temporary folder, as the tests do.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from examples.demo import Before, Writer, _end, _muniment, _proven, _say, _step, prove
from muniment.backup.repository import backups
from muniment.cli.outcome import outcome
from muniment.cli.output import seconds_text, took_text
from muniment.cli.sample import fill
from muniment.client import DocumentStore
from muniment.database import DocumentDatabase
from muniment.errors import MunimentError
from muniment.version import VERSION
from tests.postgres_server import Postgres, binaries, postgres_server

DOCUMENTS = 5_000
ATTACHMENTS = 10


class Demo:
    """The steps, in a folder of their own and on a PostgreSQL of their own."""

    def __init__(self, folder: Path, postgres: Postgres) -> None:
        self.folder = folder
        self.storage = postgres.server
        self.shop = f"{postgres.server}&schema=shop"

    def run(self, documents: int) -> None:
        """All of it, in order."""
        started = time.monotonic()
        print(f"Muniment {VERSION}: one database in a folder, in PostgreSQL, and in a folder again\n")
        with DocumentDatabase(self.folder / "shop") as database:
            fill(database, documents, attachments=ATTACHMENTS)
            before = Before.of(database)
        _step(1, f"A database with {before} in a folder", f"sample shop --documents {documents}")
        told = _muniment("move", str(self.folder / "shop"), self.shop)
        _step(2, "It is moved into PostgreSQL", "move shop 'postgresql://…?schema=shop'")
        _say(f"proven by its fingerprint, in {seconds_text(told['seconds'])}: {told['fingerprint']}")
        with self.serve("one") as (one, url), self.serve("two") as (_, other):
            with DocumentStore(url) as store:
                store.admin.create_database("shop", {"Raven/DataDir": self.shop})
            _step(3, "Two servers serve it", "server --storage postgresql://…", "server --storage postgresql://…")
            with DocumentStore(other, "shop") as database:
                writer = Writer(database)
                writer.start()
                time.sleep(0.5)
                asked = len(writer.acknowledged)
                destination = str(self.folder / "backups")
                told = _muniment("backup", "--url", url, "--database", "shop", "--dest", destination)
                one.kill()
                killed = len(writer.acknowledged)
                time.sleep(0.5)
                writer.finish()
            [backup] = backups(self.folder / "backups")
            _step(4, "One takes a backup while the other writes, and is killed", "backup --url=URL --database=shop …")
            _say(
                took_text(backup.manifest.counts.bytes, told["seconds"]),
                f"durable transactions: {asked:,} before it, {killed - asked:,} while it ran,"
                f" {len(writer.acknowledged) - killed:,} after a server was killed",
            )
            with DocumentStore(other, "shop") as database:
                last = writer.acknowledged[-1]
                found = database.get(last.id)
                _proven(
                    found is not None and found.body == last.body, "the other server has what was acknowledged last"
                )
        _muniment("restore", str(self.folder / "backups"), "--to", str(self.folder / "again"))
        _step(5, "The backup is restored into a folder", "restore backups --to again")
        with DocumentDatabase(self.folder / "again", create=False) as restored:
            prove(restored, before, backup, writer.acknowledged, asked)
            _proven(restored.check() == [], "the restored database agrees with itself, down to every page")
        with DocumentDatabase(self.shop, create=False, read_only=True) as database:
            _proven(database.check() == [], "and so does the one in PostgreSQL")
        print(f"\nAll of it was proven in {seconds_text(time.monotonic() - started)}, and nothing is left of it.")

    @contextmanager
    def serve(self, name: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
        """A server in a process of its own, which is ended at the end; gives it and its URL."""
        options = [
            "--data-dir",
            str(self.folder / name),
            "--port",
            "0",
            "--storage",
            self.storage,
            "--backup-root",
            str(self.folder),
        ]
        command = [sys.executable, "-m", "muniment", "server", *options]
        with (self.folder / f"{name}.log").open("w") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                said = (self.folder / f"{name}.log").read_text()
                raise MunimentError(f"the server did not start: {said}", "see what it says")
            yield process, url
        finally:
            if process.poll() is None:
                process.terminate()
            _end(process)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; returns 1 if anything could not be proven."""
    parser = argparse.ArgumentParser("examples/demo_postgresql.py", description=__doc__)
    parser.add_argument("--documents", type=int, metavar="NUMBER", default=DOCUMENTS, help="how many to make up")

    def run() -> None:
        options = parser.parse_args(arguments)
        if binaries() is None:
            raise MunimentError("PostgreSQL's programs are not installed", 'see README.md, "PostgreSQL"')
        with tempfile.TemporaryDirectory(prefix="muniment-demo-") as folder, postgres_server() as postgres:
            Demo(Path(folder), postgres).run(options.documents)

    return outcome(run)


if __name__ == "__main__":
    sys.exit(main())
