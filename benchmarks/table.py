"""Every job in one table: what Muniment takes, what the machine allows, and what a RavenDB beside it takes.

`--peer URL` names a RavenDB 4 to 7 without authentication that works on the same machine. It gets the same dump and the
same load, in databases that are removed afterwards, and writes its backups below `--peer-folder`, which both may read.
`--dump FILE` measures with documents of one's own instead of `muniment.sample`.

The limits are those of `backup.py`, `smuggler.py` and `server.py`: for an import to decompress the dump, for an export
to compress the same bytes, for HTTP a bare handler on the same server and file. Each is measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import backup as jobs
import server as http
from _load import Job
from _machine import Report, alone, compress_seconds, read_seconds, timed, write_seconds
from server import Measured, Process, Target, in_turns
from smuggler import decompress, recompress

from muniment.storage.sqlite.files import FILE

LOOK_SECONDS: Final = 0.05
COLUMNS: Final = ("job", "Muniment", "what the machine allows", "ratio", "the peer", "wanted")
CLIENT: Final = {"Raven-Client-Version": "6.2.0.0"}


class Peer(Target):
    """A server that speaks the HTTP of RavenDB 4 to 7, as its documentation has it."""

    def __init__(self, server: Process, seconds: float, folder: Path) -> None:
        super().__init__(server, seconds)
        self.client.headers.update(CLIENT)
        self.folder = folder

    @contextmanager
    def database(self, name: str = "") -> Iterator[str]:
        """A new database, or the name of one that will be made, which is removed in the end."""
        made = name or f"benchmark-{uuid.uuid4().hex[:8]}"
        if not name:
            record = {"DatabaseName": made, "Settings": {}, "Disabled": False}
            self._put("/admin/databases", {"name": made, "replicationFactor": 1}, record)
        try:
            yield made
        finally:
            body = {"DatabaseNames": [made], "HardDelete": True}
            self.client.request("DELETE", "/admin/databases", json=body).raise_for_status()

    def _put(self, path: str, parameters: dict[str, Any], body: object) -> None:
        self.client.put(path, params=parameters, json=body).raise_for_status()

    def _number(self, database: str) -> int:
        answer = self.client.get(f"/databases/{database}/operations/next-operation-id").raise_for_status()
        number: int = answer.json()["Id"]
        return number

    def _wait(self, root: str, number: int) -> None:
        while not self._ended(root, number):
            time.sleep(LOOK_SECONDS)

    def _ended(self, root: str, number: int) -> bool:
        told = self.client.get(f"{root}/operations/state", params={"id": number}).raise_for_status().json()
        if told["Status"] in ("Faulted", "Canceled"):
            raise RuntimeError(told)
        return bool(told["Status"] == "Completed")

    def import_(self, database: str, dump: Path) -> float:
        """Seconds until a dump is imported."""
        number = self._number(database)
        with dump.open("rb") as file:
            parts: Any = {"importOptions": (None, b"{}", "application/json"), "file": (dump.name, file)}
            path, asked = f"/databases/{database}/smuggler/import", {"operationId": number}
            return timed(lambda: self.client.post(path, params=asked, files=parts).raise_for_status())

    def export(self, database: str, target: Path) -> float:
        """Seconds until an export is in a file here."""
        path, asked = f"/databases/{database}/smuggler/export", {"operationId": self._number(database)}

        def work() -> None:
            with self.client.stream("POST", path, params=asked, json={}) as answer, target.open("wb") as file:
                answer.raise_for_status()
                for block in answer.iter_raw():
                    file.write(block)

        return timed(work)

    def take(self, database: str, folder: Path) -> float:
        """Seconds for a full backup."""
        return timed(lambda: self._wait(f"/databases/{database}", self._begin(database, folder)))

    def _begin(self, database: str, folder: Path) -> int:
        local = {"Disabled": False, "FolderPath": str(folder)}
        wanted = {"BackupType": "Backup", "LocalSettings": local}
        answer = self.client.post(f"/databases/{database}/admin/backup", json=wanted).raise_for_status()
        number: int = answer.json()["OperationId"]
        return number

    def restore(self, name: str, folder: Path) -> float:
        """Seconds for a restore of what is in a folder; RavenDB puts each backup into a folder of its own there."""
        inside = [path for path in folder.iterdir() if path.is_dir()]
        place = folder if (folder / "muniment.json").exists() or len(inside) != 1 else inside[0]
        wanted = {"Type": "Local", "DatabaseName": name, "BackupLocation": str(place)}

        def work() -> None:
            answer = self.client.post("/admin/restore/database", json=wanted).raise_for_status()
            self._wait("", answer.json()["OperationId"])

        return timed(work)

    def get(self) -> Measured:
        """Documents by their ids."""
        return self.measure(self._asking("GET"))

    def put(self) -> Measured:
        """Documents of 1 KB, each durable when it is answered."""
        about = b',"@metadata":{"@collection":"Items"}}'
        return self.measure(self._asking("PUT", http.BODY[:-1] % 1 + about))

    def _asking(self, method: str, body: bytes = b"") -> Job:
        job = self._job(method, "/docs?id=items%2F{n}", body, "Content-Type: application/json\r\n" if body else "")
        job.head = job.head.replace("3.5.0.0", CLIENT["Raven-Client-Version"])
        return job

    def fill(self, count: int) -> float:
        """Documents in batches of 1 000."""
        for first in range(0, count, 1000):
            commands = [
                {
                    "Type": "PUT",
                    "Id": f"items/{n}",
                    "ChangeVector": None,
                    "Document": {**json.loads(http.BODY % 1), "@metadata": {"@collection": "Items"}},
                }
                for n in range(first, min(first + 1000, count))
            ]
            self.client.post(f"{self.root}/bulk_docs", json={"Commands": commands}).raise_for_status()
        return 0.0

    def backup(self, folder: str) -> int:
        """Begin a backup."""
        return self._begin(self.root.rpartition("/")[2], Path(folder))

    def ended(self, operation: int) -> bool:
        """Whether the backup has ended."""
        return self._ended(self.root, operation)


def size_of(folder: Path) -> float:
    """Megabytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def of_peer(peer: Peer, dump: Path, place: Path) -> dict[str, str]:
    """What the peer takes for each job on the same documents."""
    folder = Path(tempfile.mkdtemp(prefix="muniment-benchmark-", dir=peer.folder))
    folder.chmod(0o777)  # it may run as somebody else
    exported = place / "peer.ravendbdump"
    try:
        with peer.database() as name:
            found = {"import": f"{peer.import_(name, dump):.2f} s"}
            found["full backup"] = f"{peer.take(name, folder):.2f} s, {size_of(folder):,.0f} MB"
            found["export"] = f"{peer.export(name, exported):.2f} s, {exported.stat().st_size / 1e6:,.0f} MB"
            copy = f"{name}-restored"
            with peer.database(copy):
                found["restore"] = f"{peer.restore(copy, folder):.2f} s"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        exported.unlink(missing_ok=True)
    return found


def measure_jobs(dump: Path, place: Path, peer: Peer | None, report: Report) -> None:
    """Import, backup, verification, restore and export of the documents in a dump."""
    database, backups, restored, again = (place / name for name in ("db", "backups", "restored", "again.ravendbdump"))
    program = str(jobs.__file__)
    beside = of_peer(peer, dump, place) if peer else {}

    def row(job: str, source: Path, target: Path, limit: Callable[[], float], wanted: str, size: object = None) -> None:
        done = alone(program, job.split()[-1], str(source), str(target))
        least = limit()
        told = f"{done.seconds:.2f} s" + (f", {size():,.0f} MB" if callable(size) else "")
        told += f", {done.largest:,.0f} MB of memory"
        report.row(job, told, f"{least:.2f} s", f"{done.seconds / least:.2f}", beside.get(job, ""), wanted)

    row("import", dump, database, lambda: timed(lambda: decompress(dump)), "≤ 5.2 s")
    compressing = lambda: compress_seconds(database / FILE, place)  # noqa: E731
    row("full backup", database, backups, compressing, "≤ 1.3 × limit, ≤ 165 MB", lambda: size_of(backups))
    reading = lambda: read_seconds(list(backups.rglob("documents-*")))  # noqa: E731
    row("verify", backups, Path(), reading, "≤ 1.3 s")
    writing = lambda: write_seconds(place, (restored / FILE).stat().st_size)  # noqa: E731
    row("restore", backups, restored, writing, "≤ 2.5 s, ≤ 2 × limit")
    compressed = lambda: recompress(again, place / "plain", "gzip")  # noqa: E731
    row("export", database, again, compressed, "≤ 2.8 s, ≤ 171 MB", lambda: again.stat().st_size / 1e6)


def measure_http(place: Path, count: int, seconds: float, turns: int, peer: Peer | None, report: Report) -> None:
    """Reads, durable writes, and durable writes while a backup runs, over 32 connections."""
    with ExitStack() as stack:
        ours = Target(stack.enter_context(http.process("-c", http._SERVE, str(place / "data"))), seconds)
        ours.client.put(f"/admin/databases/{http.NAME}", json={"Settings": {}}).raise_for_status()
        ours.fill(count)
        file = place / "data" / "Databases" / http.NAME / FILE
        bare = Target(stack.enter_context(http.process(str(http._BARE), str(place), str(file))), seconds)
        targets = [ours, bare]
        if peer:
            peer.root = "/databases/" + quote(stack.enter_context(peer.database()))
            peer.fill(count)
            targets.append(peer)

        def row(job: str, wanted: str, *found: Measured) -> None:
            us, most = found[:2]
            told = [rate(each) for each in found]
            report.row(job, told[0], told[1], f"{us.load.rate / most.load.rate:.2f}", *(told[2:] or [""]), wanted)

        row("GET by id, 32 connections", "≥ 28 000/s", *in_turns(turns, *(each.get for each in targets)))
        alone = in_turns(turns, *(each.put for each in targets))
        row("durable PUT of 1 KB, 32 connections", "≥ 11 500/s", *alone)
        during, mine = while_a_backup_runs(ours, place / "backup"), alone[0]
        theirs = ""
        if peer:
            folder = Path(tempfile.mkdtemp(prefix="muniment-benchmark-", dir=peer.folder))
            folder.chmod(0o777)
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            found = while_a_backup_runs(peer, folder)
            theirs = rate(found)
        told, without = rate(during), f"without {rate(mine)}"
        ratio = f"{during.load.rate / mine.load.rate:.2f}, p99 {during.load.p99 / mine.load.p99:.1f}"
        report.row("PUT while a backup runs", told, without, ratio, theirs, "≥ 0.85, p99 ≤ 2")


def rate(found: Measured) -> str:
    """Answers a second, and how long the slowest took."""
    failed = f", {found.load.failures} failed" if found.load.failures else ""
    return f"{found.load.rate:,.0f}/s, p99 {found.load.p99:.1f} ms{failed}"


def while_a_backup_runs(target: Target, folder: Path) -> Measured:
    """Durable writes meanwhile."""
    operation = target.backup(str(folder))
    time.sleep(0.3)  # until it has begun to read
    found = target.put()
    while not target.ended(operation):
        time.sleep(LOOK_SECONDS)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=500_000)
    parser.add_argument("--dump", type=Path, help="a .ravendbdump to measure with")
    parser.add_argument("--stored", type=int, default=200_000, help="documents in the database that is asked over HTTP")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--peer", help="the URL of a RavenDB 4 to 7")
    parser.add_argument("--peer-folder", type=Path, default=Path("/tmp"), help="where it may write backups")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as temporary:
        place = Path(temporary)
        dump, data = options.dump, f"{options.documents:,} documents of muniment.sample"
        if dump:
            data = f"the documents of {dump.name}"
        else:
            dump = place / "sample.ravendbdump"
            jobs.write_dump(dump, options.documents)
        data += f", {dump.stat().st_size / 1e6:,.0f} MB as a dump"
        report = Report("The whole table", data, COLUMNS)
        peer = Peer(Process(options.peer), options.seconds, options.peer_folder) if options.peer else None
        measure_jobs(dump, place, peer, report)
        measure_http(place, options.stored, options.seconds, options.turns, peer, report)
        report.print()


if __name__ == "__main__":
    main()
