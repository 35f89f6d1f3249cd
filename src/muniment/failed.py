"""An error on its way from one process to another."""

from __future__ import annotations

import msgspec

from muniment import errors
from muniment.errors import MunimentError, StorageFailure


class Failed(msgspec.Struct, frozen=True, tag=True):
    """What an error says, and of which kind it is."""

    kind: str
    message: str
    hint: str

    @classmethod
    def of(cls, error: Exception) -> Failed:
        """What an error says; one that nobody expected is told as a `StorageFailure`."""
        if isinstance(error, MunimentError):
            kind = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
            return cls(kind.__name__, unicode(error.message), unicode(error.hint))
        return cls(StorageFailure.__name__, unicode(f"unexpected error: {error!r}"), "please report this")

    def error(self) -> MunimentError:
        """The error again."""
        kind: type[MunimentError] = getattr(errors, self.kind)
        error = kind.__new__(kind)
        MunimentError.__init__(error, self.message, self.hint)  # some are made of other things than these two
        return error


def unicode(text: str) -> str:
    """The text as JSON can carry it: a path that is not Unicode has lone surrogates in Python."""
    return text.encode(errors="backslashreplace").decode()
