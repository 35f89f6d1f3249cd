"""The summary of an import or export: what was carried, what was left out, and which items failed."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final

from muniment.errors import MunimentError

TOLD: Final = 20


@dataclass(frozen=True, slots=True)
class Fault:
    """An item that failed and was skipped: its id, None if unknown, and its place in the dump, if it is in one."""

    id: str | None
    position: int | None
    reason: str


@dataclass(slots=True)
class Faults:
    """How many items failed, and the first 20 of them."""

    count: int = 0
    first: list[Fault] = field(default_factory=list)

    def add(self, id: str | None, position: int | None, error: MunimentError | str) -> None:
        """Count an item that failed with this error, or for this reason."""
        self.count += 1
        if len(self.first) < TOLD:
            self.first.append(Fault(id, position, error if isinstance(error, str) else error.message))


@dataclass
class Imported:
    """What an import did.

    `kept` counts by section what means nothing here and is kept as documents, for exports to give back; `skipped`
    counts by kind what the dump holds but was not stored. `failed` is how many malformed items were skipped;
    the first of them are in `faults`. `unfinished`: the dump was whole, but its compressed stream had no end, as
    RavenDB leaves it. `conflicts` is how many documents stand for conflicts that RavenDB 2 or 3 had not resolved; they
    are stored as they are, and the ids of the first 20 are in `conflicting`. `continuation` is set when the import
    stopped at its limit: the token with which another one goes on.
    """

    documents: int = 0
    attachments: int = 0
    identities: int = 0
    deletions: int = 0
    kept: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    seconds: float = 0.0
    compression: str = ""
    build_version: int | None = None
    failed: int = 0
    faults: list[Fault] = field(default_factory=list)
    continuation: str | None = None
    unfinished: bool = False
    conflicts: int = 0
    conflicting: list[str] = field(default_factory=list)

    def add(self, later: Imported) -> None:
        """Add a later import's summary: counts are added, other facts become the later one's."""
        for name in (each.name for each in fields(self)):
            value, old = getattr(later, name), getattr(self, name)
            if isinstance(value, dict):
                value = {key: old.get(key, 0) + value.get(key, 0) for key in old | value}
            elif isinstance(value, list):
                value = (old + value)[:TOLD]
            elif isinstance(value, bool):
                value = value or old
            elif isinstance(value, int | float) and name != "build_version":
                value += old
            setattr(self, name, value)


@dataclass
class Exported:
    """What an export wrote.

    `kept` counts by section what imports had kept of other dumps. `skipped` counts by kind what was not written: what
    the format cannot hold, and the documents that the options left out. `failed` is how many documents could not be
    written; the first of them are in `faults`. `etag` and `time` (microseconds) are those of the exported state,
    `bytes` is the size before compression and `size` that written. `kind` is "full" or "incremental", and `reason` says
    why an incremental export became a full one, or wrote no `file`. `refused` is how many documents there are for which
    RavenDB refuses the whole dump, and the first of them are in `refusals`. `notes` are remarks for the user.
    """

    documents: int = 0
    attachments: int = 0
    identities: int = 0
    deletions: int = 0
    kept: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    faults: list[Fault] = field(default_factory=list)
    refused: int = 0
    refusals: list[Fault] = field(default_factory=list)
    etag: int = 0
    time: int = 0
    bytes: int = 0
    size: int = 0
    seconds: float = 0.0
    format: str = ""
    compression: str = ""
    kind: str = "full"
    reason: str = ""
    file: str | None = None
    notes: list[str] = field(default_factory=list)
