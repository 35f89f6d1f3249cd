"""The tables of a SQLite database of Muniment, and the connection settings that its promises depend on."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import apsw
import msgspec

from muniment.errors import (
    DamagedDatabase,
    DatabaseLocked,
    DatabaseNotFound,
    MunimentError,
    StorageFailure,
    UnknownFormat,
    WrongKey,
)
from muniment.security.encryption import Algorithm, EncryptionKey
from muniment.storage.sqlite.cipher import is_encrypted, unlock
from muniment.storage.sqlite.files import FILE, StillFiles, mounted_read_only

APPLICATION_ID: Final = 0x4D756E69  # "Muni"
FORMAT: Final = 3
READABLE: Final = 2  # the oldest that need not be brought to the present one to be read
PAGE_BYTES: Final = 8192
BUSY_MILLISECONDS: Final = 10_000
SHARED_BYTES: Final = 32768  # of the file `-shm`, as SQLite makes it first
PART_BITS: Final = 12  # parts of one content: 2^12 of 1 MiB are more than the largest attachment's 2 GiB

TABLES: Final = """
CREATE TABLE state(name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
-- Append only. A NULL body is a tombstone; an attachment's body is the SHA-256 of its content. The digest is that of
-- all other columns but the last (`fingerprint.row_digest`); its default is there because format 1 had no such column.
CREATE TABLE log(
  etag INTEGER PRIMARY KEY, kind INTEGER NOT NULL, id TEXT NOT NULL, collection TEXT, modified INTEGER NOT NULL,
  metadata BLOB NOT NULL, body BLOB, content INTEGER, digest BLOB NOT NULL DEFAULT x''
) STRICT;
-- The newest revision of every id. The key is the folded id; the spelling is there when it differs from the key.
-- A NULL digest is a tombstone. Collection and size repeat the log's, so that a write need not read the old revision.
CREATE TABLE current(
  kind INTEGER NOT NULL, key TEXT NOT NULL, spelling TEXT, etag INTEGER NOT NULL, collection TEXT,
  size INTEGER NOT NULL, digest BLOB, PRIMARY KEY(kind, key)
) STRICT, WITHOUT ROWID;
-- Revisions that are no longer current, and the etag that took their place.
CREATE TABLE dead(etag INTEGER PRIMARY KEY, replaced_by INTEGER NOT NULL) STRICT;
-- A kind of -1 counts all rows of the log, with the sum of their digests; a kind of -2 those of a span of etags, which
-- is named in the place of the collection (`spans`).
CREATE TABLE fingerprint(
  kind INTEGER NOT NULL, collection TEXT NOT NULL, count INTEGER NOT NULL, bytes INTEGER NOT NULL,
  digest BLOB NOT NULL, PRIMARY KEY(kind, collection)
) STRICT, WITHOUT ROWID;
-- The contents of attachments, in parts numbered content * 4096 + position. Staged: no revision names it yet.
CREATE TABLE content(
  content INTEGER PRIMARY KEY AUTOINCREMENT, size INTEGER NOT NULL, sha256 BLOB NOT NULL, staged INTEGER NOT NULL
) STRICT;
CREATE TABLE part(part INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
"""
INDEXES: Final = """
CREATE INDEX log_collection ON log(collection COLLATE NOCASE, etag) WHERE collection IS NOT NULL;
CREATE INDEX log_attachment ON log(etag) WHERE kind = 1;
CREATE INDEX content_staged ON content(content) WHERE staged = 1;
"""
_KEY_HINT: Final = (
    "give the right one: --key-file FILE, MUNIMENT_KEY_FILE, key= or key_file= in Python; or, for a database of a"
    " server, Raven/Encryption/Key in its SecuredSettings"
)
# What a damaged file leads to: errors of SQLite's own checks, or values that are impossible where they stand.
_DAMAGE: Final = (
    *(apsw.CorruptError, apsw.NotADBError, apsw.SQLError, apsw.TooBigError, apsw.ConstraintError),
    *(UnicodeDecodeError, msgspec.DecodeError),
)


@contextmanager
def mapped_errors(path: Path) -> Iterator[None]:
    """Within it, errors of SQLite and the operating system become errors of ours that name the place."""
    try:
        yield
    except (apsw.Error, OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise mapped(error, path) from error


def mapped(error: BaseException, path: Path) -> BaseException:
    """The error of ours for one of SQLite's or the operating system's."""
    if isinstance(error, MunimentError):
        return error
    cause = error.__context__
    if isinstance(error, apsw.SQLError) and isinstance(cause, apsw.IOError | apsw.FullError | apsw.CantOpenError):
        error = cause  # SQLite has rolled back by itself, so our own rollback failed too
    if isinstance(error, _DAMAGE):
        return DamagedDatabase(
            f"the database file in {path} is damaged: {error}", "restore it from its last backup into a new folder"
        )
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return DatabaseLocked(f"another process holds the database file in {path}", "close it there and try again")
    if isinstance(error, apsw.FullError):
        return StorageFailure(
            f"the disk that holds {path} is full; this write was not stored", "make room and write again"
        )
    if getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE and _is_full(path):
        return StorageFailure(
            f"the disk that holds {path} is full; there is not even room for the small file that reading it needs",
            "make room there; or copy the folder to another disk, while no process has the database open",
        )
    if isinstance(error, apsw.ReadOnlyError):
        return StorageFailure(
            f"{path} may not be written to by this user, which reading needs too",
            "run it as the user whose database it is, or change the permissions of the folder and of the files in it",
        )
    if isinstance(error, apsw.IOError | OSError) and (most := _limit_met(path)):
        return StorageFailure(
            f"a file in {path} could not be written: this process may not write files larger than {most:,} bytes",
            "raise that limit (RLIMIT_FSIZE: `ulimit -f unlimited`, or LimitFSIZE= of the service)",
        )
    if isinstance(error, apsw.CantOpenError) and mounted_read_only(path):
        return unsure(path)
    if isinstance(error, apsw.Error | OSError):
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        return StorageFailure(
            f"{path} could not be read or written: {reason}",
            "check that the disk is there and that you may write to the folder",
        )
    return error


def unsure(folder: Path) -> StorageFailure:
    """The error for a folder that is mounted read-only here, while somebody elsewhere may write to it."""
    return StorageFailure(
        f"{folder} is mounted read-only here, but somebody elsewhere may be writing to its disk",
        "do it where the folder is writable; or make the whole file system read-only; or copy the folder while no"
        " process has the database open, and use the copy",
    )


def _is_full(path: Path) -> bool:
    """Whether its disk has no room for the file `-shm`; SQLite does not tell why it could not be made larger."""
    with suppress(OSError):
        return shutil.disk_usage(path).free < SHARED_BYTES
    return False


def _limit_met(path: Path) -> int | None:
    """The largest file that the system lets this process write, if a file there has about that size."""
    most, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if most == resource.RLIM_INFINITY:
        return None
    with suppress(OSError):
        folder = path if path.is_dir() else path.parent
        with os.scandir(folder) as entries:
            if any(entry.stat().st_size > most - 16 * PAGE_BYTES for entry in entries):
                return most
    return None


def connect(
    folder: Path, *, key: EncryptionKey | None = None, read_only: bool = False, still: StillFiles | None = None
) -> apsw.Connection:
    """A connection to an existing database.

    Raises `DatabaseNotFound`, `UnknownFormat`, `DamagedDatabase`, and `WrongKey`, which leaves the file untouched.

    A file opened for writing may have an older format: see `outdated`. A connection to `still` files takes no locks.
    """
    file = folder.absolute() / FILE
    check_there(folder)
    with mapped_errors(folder):
        for algorithm in _tried(key):
            connection = _opened(file, still, encrypted=algorithm is not None)
            try:
                return _prepared(connection, folder, key, algorithm, read_only=read_only)
            except apsw.NotADBError:
                if key is None and not is_encrypted(file):
                    raise
    if key is None:
        raise WrongKey(f"the database in {folder} is encrypted, and no key was given", _KEY_HINT)
    raise WrongKey(f"this is not the key of the database in {folder}, or its first page is damaged", _KEY_HINT)


def _tried(key: EncryptionKey | None) -> list[Algorithm | None]:
    """The algorithms to try with this key, the likeliest first; None stands for no encryption."""
    return [*sorted(Algorithm, key=lambda each: each is not key.algorithm), None] if key else [None]


def _opened(file: Path, still: StillFiles | None, *, encrypted: bool) -> apsw.Connection:
    if still:
        return _still(file, still, encrypted)
    # A reader opens for writing too: otherwise it could not rebuild the index of a write-ahead log after a crash.
    return apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI)


def _prepared(
    connection: apsw.Connection,
    folder: Path,
    key: EncryptionKey | None,
    algorithm: Algorithm | None = None,
    *,
    read_only: bool,
) -> apsw.Connection:
    """The connection with its settings. Closes it when it raises; a wrong key raises `apsw.NotADBError`."""
    try:
        connection.set_busy_timeout(BUSY_MILLISECONDS)
        # Or a statement is planned anew for each value that is bound to it, which takes longer than many a query.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # until the key is known to be right
        if key and algorithm:
            unlock(connection, key, algorithm)
        run(connection, "PRAGMA temp_store=FILE")  # apsw's build would sort, and VACUUM, in memory
        _check_format(connection, folder, read_only=read_only)
        if key and not algorithm:
            raise WrongKey(f"the database in {folder} is not encrypted, but a key was given", "open it without a key")
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
        run(connection, f"PRAGMA cache_size=-{4_096 if read_only else 65_536}")
        if read_only:
            run(connection, "PRAGMA query_only=1")
        else:
            run(connection, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=4000")
    except BaseException:
        connection.close()
        raise
    return connection


def _still(file: Path, still: StillFiles, encrypted: bool) -> apsw.Connection:
    """A connection to a file that nobody writes to, in a folder where SQLite can create no file.

    If a write-ahead log was left there, SQLite wants its index in shared memory, unless it has the database to itself:
    then it builds the index in its own memory. Nobody can change anything, so exclusive locking is safe. If there is no
    log, SQLite would create an empty one, unless the file is `immutable`, which with a log would ignore the log.
    """
    how = f"vfs={'multipleciphers-' if encrypted else ''}unix-none" if still.log else "immutable=1"
    uri = f"file:{quote(str(file))}?mode=ro&{how}"
    connection = apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    try:
        run(connection, "PRAGMA locking_mode=EXCLUSIVE")
    except BaseException:
        connection.close()
        raise
    return connection


def check_there(folder: Path) -> None:
    """Raises `DatabaseNotFound` if there is no database in this folder."""
    with mapped_errors(folder):
        there = (folder / FILE).is_file()
    if not there:
        raise DatabaseNotFound(f"there is no database in {folder}", "give the folder that holds muniment.db")


def wait_for_commit(connection: apsw.Connection) -> None:
    """Make a reader wait until the write transaction in progress, if there is one, has ended.

    Raises `apsw.BusyError` after a minute.
    """
    connection.set_busy_timeout(60_000)
    try:
        run(connection, "PRAGMA query_only=0; BEGIN IMMEDIATE; ROLLBACK")
    finally:
        run(connection, "PRAGMA query_only=1")
        connection.set_busy_timeout(BUSY_MILLISECONDS)


def outdated(connection: apsw.Connection, format: int = FORMAT) -> bool:
    """Whether the file has an older format than this one."""
    return int(connection.execute("PRAGMA user_version").get) < format


def run(connection: apsw.Connection, statements: str) -> None:
    """Execute all of these statements: apsw alone stops at the first that gives a row, as many a PRAGMA does."""
    connection.execute(statements).fetchall()


def _check_format(connection: apsw.Connection, folder: Path, *, read_only: bool) -> None:
    application = connection.execute("PRAGMA application_id").get
    version = connection.execute("PRAGMA user_version").get
    if application != APPLICATION_ID:
        raise UnknownFormat(f"the file {FILE} in {folder} is not a database of Muniment", "give another folder")
    if version > FORMAT:
        raise UnknownFormat(
            f"the database in {folder} has format {version}; this software reads up to {FORMAT}",
            "open it with a newer version of Muniment",
        )
    if version < READABLE and read_only:
        hint = "open it for writing once: with the program that uses it, or by backing it up (`muniment backup FOLDER`)"
        if mounted_read_only(folder):
            hint = "copy its folder to a writable disk, and use the copy: this one is read-only"
        raise UnknownFormat(
            f"the database in {folder} has format {version}; opening it for writing brings it to format {FORMAT}",
            hint,
        )


def create(file: Path, key: EncryptionKey | None = None) -> apsw.Connection:
    """A connection to a new database file with empty tables, without indexes."""
    with mapped_errors(file.parent):
        connection = apsw.Connection(str(file))
        if key:
            unlock(connection, key, key.algorithm)
        run(connection, f"PRAGMA page_size={PAGE_BYTES}; PRAGMA application_id={APPLICATION_ID}")
        run(connection, f"PRAGMA user_version={FORMAT}; PRAGMA encoding='UTF-8'")
        with connection:
            connection.execute(TABLES)
    return connection


def parts_of(content: int) -> tuple[int, int]:
    """The number of the first part of a content, and the number after its last possible part."""
    if not 0 <= content < 1 << (63 - PART_BITS):
        raise DamagedDatabase(
            f"{content} cannot be the number of an attachment's content", "run `muniment check` on the database"
        )
    return content << PART_BITS, (content + 1) << PART_BITS
