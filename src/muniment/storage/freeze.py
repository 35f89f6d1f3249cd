"""A database whose files stand still, so that a tool that copies files gets all of one moment."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Generic, Self, TypeVar

from muniment.errors import Conflict, InvalidInput

State = TypeVar("State")
SECONDS: Final = 60
MOST_SECONDS: Final = 86_400


class Freeze(Generic[State]):
    """A freeze of the database in `folder`, which ends by itself after so many seconds.

    `begun` is answered with the state that the files hold as soon as nothing writes to them, and `over` when writes go
    on. Used as a context it is thawed at the end, and raises `Conflict` if it had ended before.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        """Raises `InvalidInput` for a time that makes no sense."""
        if not 0 < seconds <= MOST_SECONDS:
            raise InvalidInput(
                f"a database cannot be frozen for {seconds:g} s", f"give more than 0 and at most {MOST_SECONDS} seconds"
            )
        self.id: Final = uuid.uuid4().hex[:8]
        self.folder: Final = folder
        self.seconds: Final = seconds
        self.since = datetime.now(UTC)
        self.ended: datetime | None = None
        self.expired = False
        self.begun: Future[State] = Future()
        self.over: Future[None] = Future()
        self._lock = threading.Lock()
        self._end = threading.Event()
        self.begun.set_running_or_notify_cancel()
        self.over.set_running_or_notify_cancel()

    @property
    def until(self) -> datetime:
        """When it ends by itself."""
        return self.since + timedelta(seconds=self.seconds)

    @property
    def state(self) -> State:
        """The state that the files hold; waits until they do."""
        return self.begun.result()

    def thaw(self) -> None:
        """Let writes go on. Raises `Conflict` if they do already: then what was copied is of no one moment."""
        if not self.end():
            raise self.conflict()

    def end(self) -> bool:
        """Let writes go on; returns whether the files have stood still until now."""
        with self._lock:
            if self.ended:
                return False
            self.ended = datetime.now(UTC)
        self._end.set()
        return True

    def stand(self, state: State) -> None:
        """Tell that the files stand still, and return when they need not any longer: for whoever writes to them."""
        self.since = datetime.now(UTC)
        self.begun.set_result(state)
        if not self._end.wait(self.seconds):
            self.expired = self.end()

    def conflict(self) -> Conflict:
        """Why this one cannot be thawed."""
        how = f"by itself, after {self.seconds:g} s" if self.expired else "before"
        return Conflict(
            f"the freeze {self.id} of {self.folder} has ended {how}: what was copied may be of several moments",
            "discard the copy, and freeze again" + (", for longer: --timeout" if self.expired else ""),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if not self.end() and kind is None:
            raise self.conflict()
