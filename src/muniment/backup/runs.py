"""A run: a task of a schedule for one database at one time, and what came of it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from muniment.backup.manifest import Time
from muniment.backup.schedule import Task

RunState = Literal["waiting", "running", "completed", "unchanged", "failed", "skipped", "interrupted", "cancelled"]


class Run(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A task of a schedule for a database, due at a time: how it stands or ended, and what it came to.

    `unchanged` is an incremental backup that was not taken, because the last one holds everything; `result` is of that
    one. `skipped` was due while the one before it still ran. `by_hand` says that somebody asked for it. `database_id`
    tells which database it was, of all that have had this name, once that was found out.
    """

    schedule: str
    task: Task
    database: str
    destination: str
    due: Time
    state: RunState = "waiting"
    by_hand: bool = False
    started: Time | None = None
    ended: Time | None = None
    seconds: float | None = None
    error: str | None = None
    hint: str | None = None
    kind: str | None = None
    database_id: str | None = None
    result: dict[str, Any] = {}

    @property
    def id(self) -> str:
        """What tells it from others, below a prefix."""
        return f"{self.database}/{self.due}/{self.schedule}/{self.task}"

    def is_of(self, database_id: str | None) -> bool:
        """Whether it was with this database, as far as anybody knows, and not with another one of its name."""
        return None in (self.database_id, database_id) or self.database_id == database_id

    @property
    def good(self) -> bool:
        """Whether it did what it was for."""
        return self.state in ("completed", "unchanged")
