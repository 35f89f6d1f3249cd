"""Which documents are carried, and as what: the options that look at documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self, TypeAlias

from muniment.document import decode, from_microseconds
from muniment.errors import InvalidInput
from muniment.smuggler.faults import Faults
from muniment.smuggler.options import SmugglerOptions
from muniment.smuggler.script import Transform
from muniment.smuggler.words import EXPIRES
from muniment.storage.base import system_clock

FILTERED: Final = "documents that the filters left out"
EXPIRED: Final = "documents that had expired"
DROPPED: Final = "documents that the script left out"

Choose: TypeAlias = Callable[[str, bytes, bytes], tuple[bytes, bytes] | None]


class Chooser:
    """Takes documents one by one and says what is carried of each. To be closed, since a script runs in a process.

    `left_out` counts documents by the reason why they are not carried. With `ignore_errors`, those for which a script
    failed are left out too, and told in `faults`; `position` is where the next document stands, if anywhere.
    """

    def __init__(self, options: SmugglerOptions, *, clock: Callable[[], int] = system_clock) -> None:
        """Raises `InvalidScript` for a script that does not compile; `clock` gives microseconds since 1970."""
        self.left_out: Counter[str] = Counter()
        self.faults = Faults()
        self.position: int | None = None
        self._ignore_errors = options.ignore_errors
        self._filters = options.filters
        self._now = from_microseconds(clock()) if options.exclude_expired else None
        self._transform = Transform(options.transform) if options.transform is not None else None

    @property
    def choose(self) -> Choose | None:
        """`document` as a function, or None when every document is carried as it is, which then costs nothing."""
        return self.document if self._filters or self._now or self._transform else None

    def document(self, id: str, metadata: bytes, body: bytes) -> tuple[bytes, bytes] | None:
        """The metadata and body to carry, or None to leave the document out.

        `metadata` is as Muniment stores it. What no script has changed comes back as the very same bytes. Raises
        `InvalidScript` with the id when a script fails, unless errors are ignored.
        """
        if not all(filter.accepts(id, metadata, body) for filter in self._filters):
            self.left_out[FILTERED] += 1
            return None
        if self._now and has_expired(metadata, self._now):
            self.left_out[EXPIRED] += 1
            return None
        return self._transformed(id, metadata, body) if self._transform else (metadata, body)

    def _transformed(self, id: str, metadata: bytes, body: bytes) -> tuple[bytes, bytes] | None:
        assert self._transform is not None
        try:
            result = self._transform.document(id, metadata, body)
        except InvalidInput as error:
            if not self._ignore_errors:
                raise
            self.faults.add(id, self.position, error)
            return None
        if result is None:
            self.left_out[DROPPED] += 1
        return result

    def close(self) -> None:
        """End the script's process, if there is one."""
        if self._transform:
            self._transform.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def has_expired(metadata: bytes, now: datetime) -> bool:
    """Whether the expiration date in this metadata has passed; a date that is none never does, as in RavenDB."""
    if EXPIRES.lower().encode() not in metadata.lower() and b"\\" not in metadata:
        return False
    for name, value in decode(metadata).items():
        if name.lower() == EXPIRES.lower() and isinstance(value, str):
            with suppress(ValueError):
                expires = datetime.fromisoformat(value)
                return (expires if expires.tzinfo else expires.replace(tzinfo=UTC)) < now
    return False
