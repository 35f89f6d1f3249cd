"""Whether a machine, a folder and a database are fit for work, as findings that each say what to do.

Nothing is changed, but for a small file that is written into the folder, waited for and removed.
"""

from __future__ import annotations

import errno
import os
import platform
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Final, Literal, TypeAlias

import msgspec

from muniment import native
from muniment.amounts import count_text, seconds_text, size_text
from muniment.backup.alerts import LEAST_ROOM, Alert, Policy, alerts
from muniment.backup.recoverability import DestinationState, Proof, Recoverability, of_backups
from muniment.database import DocumentDatabase
from muniment.duration import duration_text
from muniment.errors import BackupNotFound, DamagedBackup, DatabaseNotFound, MunimentError, StorageFailure
from muniment.fingerprint import in_c
from muniment.security.encryption import EncryptionKey
from muniment.storage import engines
from muniment.storage.base import system_clock
from muniment.version import VERSION

DAY: Final = 86_400
WANTED: Final = Policy(older=2 * DAY, unverified=14 * DAY, unrehearsed=45 * DAY)
"""What is thought late where nobody has said when it is."""
PARTS: Final = ("apsw-sqlite3mc", "pyarrow", "granian", "httpx")
EXTRAS: Final = {"obstore": "s3", "duckdb": "duckdb", "apprise": "alerts", "psycopg": "postgresql"}
COMPILED: Final = ("digests", "rows", "imports", "exports", "copies to PostgreSQL")
LEAST_DESCRIPTORS: Final = 1024
FSYNCS: Final = 5
TOO_QUICK: Final = 20e-6
SLOW: Final = 0.05
CLOCKS_APART: Final = 2.0
_BUILT: Final = datetime(2026, 1, 1, tzinfo=UTC)
_NETWORK: Final = {"9p", "afs", "ceph", "cifs", "fuse.sshfs", "nfs", "nfs4", "smb3", "smbfs", "vboxsf", "virtiofs"}
_FLEETING: Final = {"tmpfs": "the memory", "ramfs": "the memory", "overlay": "a container's own layer"}
_CODES: Final = {"unreachable": BackupNotFound.exit_code, "backup-failed": MunimentError.exit_code}

State: TypeAlias = Literal["ok", "warning", "problem"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at; `advice` is what to do, empty where there is nothing.

    `exit_code` is what a command ends with for a problem.
    """

    name: str
    state: State
    text: str
    advice: str = ""
    exit_code: int = 0


def of_machine(folder: Path | None = None) -> Iterator[Finding]:
    """What holds for all that runs here, with what is true of a folder's disk, or of the current one's."""
    yield _software()
    yield _descriptors()
    place = folder or Path.cwd()
    while not place.is_dir():
        place = place.parent
    yield from _disk(place.resolve())


def of_folder(folder: Path, key: EncryptionKey | None = None) -> Iterator[Finding]:
    """The same with a database in a folder and its backups, or with the backups in it."""
    yield from of_machine(folder if engines.is_folder(folder) else None)
    try:
        if not engines.exists(folder) and folder.is_dir() and (held := of_backups(folder, system_clock())):
            for each in held:
                yield from of_recoverability(each, named=len(held) > 1)
            return
        with DocumentDatabase(folder, create=False, read_only=True, key=key) as database:
            found = database.statistics()
            text = f"{count_text(found.documents, 'document')} with {size_text(found.bytes)}"
            yield Finding(name="database", state="ok", text=text)
            if engines.is_folder(folder):
                yield _room(folder, found.file_bytes)
            yield from _clock_of_database(found.last_changed)
            yield _history(told := database.maintenance.recoverability())
            yield from of_recoverability(told)
    except MunimentError as error:
        advice = error.hint
        is_folder = engines.is_folder(folder)
        if isinstance(error, DatabaseNotFound) and is_folder and engines.exists(folder / "System"):
            advice = "it is the data folder of a server: give the server's URL, or a folder in it"
        yield Finding(
            name="database", state="problem", text=error.message, advice=advice, exit_code=type(error).exit_code
        )


def of_recoverability(
    found: Recoverability, told: Sequence[Alert] | None = None, *, named: bool = False
) -> Iterator[Finding]:
    """How the backups of a database are; of several databases each is named. `told` is what its server finds wrong."""
    about = f"{found.name}: " if named else ""
    wrong = alerts(found, WANTED, datetime.now(UTC)) if told is None else told
    if not found.destinations:
        yield Finding(
            name="last backup", state="warning", text=f"{about}it was never backed up", advice=found.next or ""
        )
    else:
        yield from _of_backups(found, wrong, about)
    for each in wrong:
        if each.condition not in ("backup-late", "backup-missing", "unverified", "unrehearsed"):
            critical = each.severity == "critical"
            code = _CODES.get(each.condition, DamagedBackup.exit_code) if critical else 0
            text = f"{about}{f'{each.destination}: ' if each.destination else ''}{each.text}"
            yield Finding(
                name=each.condition.replace("-", " "),
                state="problem" if critical else "warning",
                text=text,
                exit_code=code,
            )
    if found.next and found.destinations:
        yield Finding(name="to do", state="warning", text=about + found.next)


def _of_backups(found: Recoverability, wrong: Sequence[Alert], about: str) -> Iterator[Finding]:
    """The last one and its proofs, where there has been one."""
    late = [each for each in wrong if each.condition in ("backup-late", "backup-missing")]
    unproven = {each.condition for each in wrong}
    state = next((each for each in found.destinations if each.last_backup), found.destinations[0])
    if state.last_backup:
        yield Finding(name="last backup", state="warning" if late else "ok", text=about + _last(state))
        for name, proof, condition in (
            ("last verification", state.last_verification, "unverified"),
            ("last rehearsal", state.last_rehearsal, "unrehearsed"),
        ):
            yield _proof(name, about, proof, late=condition in unproven)


def worst(findings: Sequence[Finding]) -> State:
    """The state of all together."""
    states = {each.state for each in findings}
    return "problem" if "problem" in states else "warning" if "warning" in states else "ok"


def exit_code(findings: Sequence[Finding]) -> int:
    """That of the first problem."""
    return next((each.exit_code for each in findings if each.state == "problem"), 0)


def _software() -> Finding:
    parts = [f"muniment {VERSION}", f"Python {platform.python_version()}"]
    parts += [f"{name} {_version(name) or 'missing'}" for name in PARTS]
    without = [extra for name, extra in EXTRAS.items() if not _version(name)]
    told = [", ".join(parts), *_compiled(), *([f"without the extras {', '.join(without)}"] if without else [])]
    return Finding(name="versions", state="ok", text="; ".join(told))


def _compiled() -> Iterator[str]:
    """What is done in C, and what in Python, and why."""
    found = native.look()
    lacking = dict.fromkeys(COMPILED, found) if isinstance(found, str) else {}
    if not isinstance(found, str) and not in_c():
        lacking["digests"] = "libcrypto has no SHA-256 that can be used"
    if not isinstance(found, str) and not engines.rows_in_c():
        lacking["rows"] = "this apsw loads no extensions of SQLite"
    if there := [part for part in COMPILED if part not in lacking]:
        yield f"in C: {', '.join(there)}"
    for why in dict.fromkeys(lacking.values()):
        parts = [part for part, each in lacking.items() if each == why]
        yield f"in Python, which is slower: {', '.join(parts)} ({why})"


def _version(package: str) -> str | None:
    with suppress(PackageNotFoundError):
        return version(package)
    return None


def _descriptors() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < LEAST_DESCRIPTORS:
        advice = f"ulimit -n {LEAST_DESCRIPTORS}, or LimitNOFILE={LEAST_DESCRIPTORS} in the unit of systemd"
        text = f"a process may have {soft:,} at once, which is few for a server"
        return Finding(name="open files", state="warning", text=text, advice=advice)
    text = "no limit" if soft < 0 or soft == resource.RLIM_INFINITY else f"a process may have {soft:,} at once"
    return Finding(name="open files", state="ok", text=text)


def _disk(folder: Path) -> Iterator[Finding]:
    """The file system of a folder: whether what is written there stays, how long that takes, and what time it has."""
    kind = _kind_of(folder)
    if kind in _NETWORK:
        text = f"{folder} is on {kind}, a disk of another machine"
        yield Finding(
            name="disk",
            state="warning",
            text=text,
            advice="keep databases on a disk of this machine; backups may be there",
        )
    elif kind in _FLEETING:
        text = f"{folder} is on {kind}, which is {_FLEETING[kind]}: it goes when that does"
        yield Finding(name="disk", state="warning", text=text, advice="keep what has to last on a disk or a volume")
    elif kind:
        yield Finding(name="disk", state="ok", text=f"{folder} is on {kind}")
    try:
        seconds, written = _waited_for(folder)
    except OSError as error:
        text = f"nothing can be written into {folder}: {error.strerror}"
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "make room there" if full else "run it as the user who uses the database"
        yield Finding(name="fsync", state="warning", text=text, advice=advice)
        yield _clock(None)
        return
    yield _fsync(seconds, kind)
    yield _clock(written)


def _fsync(seconds: float, kind: str) -> Finding:
    text = f"{seconds * 1000:,.2f} ms until what is written is on disk"
    if "eatmydata" in os.environ.get("LD_PRELOAD", ""):
        return Finding(
            name="fsync",
            state="problem",
            text="libeatmydata is loaded, which leaves fsync out: what is acknowledged is not on disk",
            advice="start it without LD_PRELOAD",
            exit_code=StorageFailure.exit_code,
        )
    if seconds < TOO_QUICK and kind not in _FLEETING:
        advice = "see whether the disk, or the host of this virtual machine, has a cache that loses power"
        return Finding(name="fsync", state="warning", text=f"{text}: too quick for a disk", advice=advice)
    if seconds > SLOW:
        return Finding(
            name="fsync", state="warning", text=text, advice="each commit waits for it: see what else writes there"
        )
    return Finding(name="fsync", state="ok", text=text)


def _waited_for(folder: Path) -> tuple[float, float]:
    """How long fsync of a small file takes, and by how much the file system's clock is ahead of this machine's."""
    taken = []
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".muniment-doctor-") as file:
        for _ in range(FSYNCS):
            file.write(os.urandom(8192))
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
        os.utime(file.fileno())  # which has the file system's server say what time it is
        return median(taken), os.fstat(file.fileno()).st_mtime - time.time()


def _clock(ahead: float | None) -> Finding:
    now = datetime.now(UTC)
    text = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if now < _BUILT:
        return Finding(
            name="clock",
            state="problem",
            text=f"{text}, which is before this software was made",
            advice="set it, for every document and backup carries its time",
            exit_code=StorageFailure.exit_code,
        )
    began, waited = time.time(), time.monotonic()
    time.sleep(0.02)
    jumped = abs((time.time() - began) - (time.monotonic() - waited))
    if jumped > CLOCKS_APART / 4:
        return Finding(
            name="clock", state="warning", text=f"{text}; it jumped while it was looked at", advice="run NTP"
        )
    if ahead is not None and abs(ahead) > CLOCKS_APART:
        text += f"; that of the disk is {seconds_text(abs(ahead))} {'ahead' if ahead > 0 else 'behind'}"
        return Finding(name="clock", state="warning", text=text, advice="run NTP on both machines")
    return Finding(name="clock", state="ok", text=text)


def _clock_of_database(changed: datetime) -> Iterator[Finding]:
    ahead = (changed - datetime.now(UTC)).total_seconds()
    if ahead > CLOCKS_APART:
        yield Finding(
            name="last change",
            state="warning",
            text=f"{seconds_text(ahead)} after now: the clock was put back, or that of another machine was ahead",
            advice="changes carry that time until the clock has come there; name moments by --etag meanwhile",
        )


def _room(folder: Path, size: int) -> Finding:
    free, least = shutil.disk_usage(folder).free, max(size, LEAST_ROOM)
    text = f"{size_text(free)} free, the database takes {size_text(size)}"
    if free < LEAST_ROOM // 16:
        return Finding(
            name="room", state="problem", text=text, advice="make room now", exit_code=StorageFailure.exit_code
        )
    if free < least:
        return Finding(
            name="room", state="warning", text=text, advice=f"have {size_text(least)}, to compact or restore beside it"
        )
    return Finding(name="room", state="ok", text=text)


def _history(found: Recoverability) -> Finding:
    if found.history is None:
        text = "not kept: only the ends of backups can be restored"
        return Finding(
            name="history", state="ok", text=text, advice="to keep it: muniment settings … Muniment/History=true"
        )
    text = f"kept, every state since etag {found.history.since:,}, {size_text(found.history.bytes)}"
    return Finding(name="history", state="ok", text=text)


def _last(state: DestinationState) -> str:
    last = state.last_backup
    assert last
    since = "" if state.changes_since is None else f", {count_text(state.changes_since, 'change')} since"
    return f"{duration_text(last.age)} ago, {last.kind}, to {state.destination}{since}"


def _proof(name: str, about: str, proof: Proof | None, *, late: bool) -> Finding:
    if proof is None:
        return Finding(name=name, state="warning" if late else "ok", text=f"{about}never")
    text = (
        f"{about}{proof.completed} in {seconds_text(proof.seconds)}{'' if proof.of_last else ', of an earlier backup'}"
    )
    return Finding(name=name, state="warning" if late else "ok", text=text)


def _kind_of(folder: Path) -> str:
    """The kind of file system that a folder is in, empty where that is not told."""
    best, kind = "", ""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            before, _, after = line.partition(" - ")
            point = before.split()[4].replace("\\040", " ")
            if len(point) >= len(best) and (folder == Path(point) or Path(point) in folder.parents):
                best, kind = point, after.split()[0]
    return kind
