"""Every error that Muniment raises on purpose, drawn as one tree.

Each has a message that says what failed and where, and a hint that says what to do next. `status` is the HTTP
status and `exit_code` the command line's exit code for it; both are part of the public contract and are inherited
down the tree. Errors of the libraries underneath (SQLite, Parquet) are mapped to these at the edge where they occur.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

_NOTE: Final = "hint: "
_SAID: Final = frozenset({"message", "_hint", "__notes__"})


class MunimentError(Exception):
    """The root: something that Muniment was asked to do was not done, and nothing is left half done."""

    status = 500
    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def hint(self) -> str:
        """What to do next; it stands below the message in a traceback too."""
        return self._hint

    @hint.setter
    def hint(self, hint: str) -> None:
        self._hint = hint
        others = [note for note in getattr(self, "__notes__", []) if not note.startswith(_NOTE)]
        self.__notes__ = [*others, f"{_NOTE}{hint}"] if hint else others

    def __str__(self) -> str:
        return self.message


class InvalidInput(MunimentError):
    """What was given cannot be accepted as it is; nothing was changed."""

    status = 400
    exit_code = 2


class InvalidId(InvalidInput):
    """A document id or attachment key that is empty, too long or not Unicode."""


class AmbiguousPoint(InvalidInput):
    """Several histories of the database have this moment; the hint names them. `instead` are the options that say one.

    A copy that is backed up beside the database that it was made of has a history of its own.
    """

    instead: tuple[tuple[str, ...], ...] = ()


class InvalidDocument(InvalidInput):
    """A body or metadata that is not a JSON object, or is too large."""

    status = 422


class InvalidQuery(InvalidInput):
    """A query that cannot be read or answered; `place` is where in its text, from 0."""

    def __init__(self, message: str, hint: str = "", place: int = 0) -> None:
        super().__init__(message, hint)
        self.place = place


class NotEvaluated(MunimentError):
    """What RavenDB evaluates and Muniment does not, by its name; the hint says how to ask instead."""

    status = 501
    exit_code = 2


class InvalidScript(InvalidInput):
    """A transform script that does not compile, throws, takes too long, or makes something that is no document."""


class Forbidden(InvalidInput):
    """A folder, or something else, that the server does not use for whoever asks."""

    status = 403


class AccessDenied(MunimentError):
    """The key that was sent does not have the right to this."""

    status = 403
    exit_code = 11


class Unauthorized(AccessDenied):
    """The server wants to know who asks: no key was sent, or one that it does not know."""

    status = 401


class NotFound(MunimentError):
    """What was asked for does not exist."""

    status = 404
    exit_code = 3


def unreadable(path: object, error: OSError | ValueError, hint: str) -> MunimentError:
    """For a file that somebody named and that cannot be read: `NotFound` if it is missing, else `StorageFailure`."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NotFound(f"there is no file {path}", hint)
    reason = error.strerror if isinstance(error, OSError) else None
    return StorageFailure(f"{path} cannot be read: {reason or error}", hint)


class DocumentNotFound(NotFound):
    """No document or attachment has this id."""


class IndexNotFound(NotFound):
    """There is no index with this name."""


class DatabaseNotFound(NotFound):
    """There is no database in this place."""


class BackupNotFound(NotFound):
    """There is no complete backup in this place."""


class UnreachablePoint(NotFound):
    """The backups do not hold this moment; the hint names the nearest that they do hold, `instead` their options."""

    instead: tuple[tuple[str, ...], ...] = ()


class Conflict(MunimentError):
    """The present state does not allow it; nothing was changed."""

    status = 409
    exit_code = 4


class ConcurrencyConflict(Conflict):
    """A document is not at the etag that the writer expected.

    `actual` is the current etag, 0 when the document does not exist; `expected` is what the writer asked for.
    """

    def __init__(self, id: str, expected: int, actual: int) -> None:
        found = f"its etag is {actual}" if actual else "there is no such document"
        super().__init__(
            f"{id!r} was expected at etag {expected}, but {found}",
            "load it again, repeat the change on what it is now, and save that",
        )
        self.id = id
        self.expected = expected
        self.actual = actual

    def __reduce__(self) -> tuple[type[ConcurrencyConflict], tuple[str, int, int]]:
        return type(self), (self.id, self.expected, self.actual)  # so that it may come from another process


class PatchConflict(Conflict):
    """A member of a document has not the value that a patch expected."""


class TargetExists(Conflict):
    """A restore or an export would have written over something that is already there."""


class ForeignBackup(Conflict):
    """The folder holds the backups of another database."""


class Damaged(MunimentError):
    """Stored data is not what was written: a checksum, a count or a structure does not agree."""

    exit_code = 5


class DamagedBackup(Damaged):
    """A file of a backup is missing, cut short or changed, or its content is not what the manifest says.

    Where a moment was asked for, `instead` are the options for the nearest that can be restored all the same.
    """

    instead: tuple[tuple[str, ...], ...] = ()


class BadSignature(DamagedBackup):
    """A backup is not signed, or not by whom it has to be, or was changed since; or is in clear and should not be."""

    status = 422


class DamagedDatabase(Damaged):
    """The database's own structures or checksums do not agree."""


class LostWrites(DamagedDatabase):
    """A database does not have all that was acknowledged: its log is damaged or gone, or its files are older.

    `missing` is how many etags that are, None when nobody knows.
    """

    def __init__(self, message: str, hint: str = "", missing: int | None = None) -> None:
        super().__init__(message, hint)
        self.missing = missing

    def __reduce__(self) -> tuple[type[LostWrites], tuple[str, str, int | None]]:
        return type(self), (self.message, self.hint, self.missing)


class DamagedDump(Damaged):
    """A dump is cut short, is not well formed, or does not hold what it says."""

    status = 400


class UnknownFormat(MunimentError):
    """A file or backup of a kind or a version that this software does not read."""

    status = 400
    exit_code = 6


class Busy(MunimentError):
    """Somebody else has it; the same call can succeed later."""

    status = 503
    exit_code = 7


class DatabaseLocked(Busy):
    """Another process has this database open for writing."""


class BackupRunning(Busy):
    """A backup of this database is already running."""

    status = 500  # RavenDB's answer to a second backup


class WrongKey(MunimentError):
    """It is encrypted, and nothing was given that opens it: no key, another one, or a wrong passphrase.

    Or it is a database that is not encrypted, and a key was given. Nothing was touched.
    """

    status = 403
    exit_code = 10


class StorageFailure(MunimentError):
    """The operating system refused a read or a write: disk full, no permission, an I/O error."""

    status = 507
    exit_code = 8


class DatabaseClosed(MunimentError):
    """The database was closed before or while it was asked."""

    status = 503


class ServerUnavailable(MunimentError):
    """No server answered, or what answered is none of ours."""

    status = 503
    exit_code = 9


class Cancelled(MunimentError):
    """The operation was stopped because somebody asked for that; nothing half done is left, or the hint says what."""

    exit_code = 130


class ErrorRecord(msgspec.Struct, frozen=True, tag=True):
    """An error on its way to another process: its class, what it says, and what else it knows."""

    kind: str
    message: str
    hint: str
    facts: dict[str, Any] = {}

    @classmethod
    def of(cls, error: Exception) -> ErrorRecord:
        """The record of this error; one that nobody expected is a `StorageFailure`."""
        if not isinstance(error, MunimentError):
            return cls(StorageFailure.__name__, unicode(f"unexpected error: {error!r}"), "please report this")
        kind = next(kind for kind in type(error).__mro__ if kind.__module__ == __name__)
        known = {name: _listed(fact) for name, fact in vars(error).items() if name not in _SAID}
        facts = {name: fact for name, fact in known.items() if isinstance(fact, str | int | list | None)}
        return cls(kind.__name__, unicode(error.message), unicode(error.hint), facts)

    def error(self) -> MunimentError:
        """The error again; one of a class that is not drawn here is of the nearest that is."""
        kind: type[MunimentError] = globals()[self.kind]
        error = kind.__new__(kind)
        MunimentError.__init__(error, self.message, self.hint)  # some are made of other things than these two
        vars(error).update({name: _tuples(fact) for name, fact in self.facts.items()})
        return error


def _listed(fact: Any) -> Any:
    if isinstance(fact, tuple):
        return [_listed(each) for each in fact]
    return unicode(fact) if isinstance(fact, str) else fact


def _tuples(fact: Any) -> Any:
    return tuple(map(_tuples, fact)) if isinstance(fact, list) else fact


def unicode(text: str) -> str:
    """The text as JSON can carry it: a path that is not Unicode has lone surrogates in Python."""
    return text.encode(errors="backslashreplace").decode()
