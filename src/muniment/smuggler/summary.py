"""What an import or an export tells: what was carried, what was left out, and what went wrong with single items."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final

from muniment.errors import MunimentError

TOLD: Final = 20


@dataclass(frozen=True, slots=True)
class Fault:
    """An item that was passed over: its id, None where it is not known, and its place in the dump, if it is one's."""

    id: str | None
    position: int | None
    reason: str


@dataclass(slots=True)
class Faults:
    """How many items were passed over, and the first 20 of them."""

    count: int = 0
    first: list[Fault] = field(default_factory=list)

    def add(self, id: str | None, position: int | None, error: MunimentError) -> None:
        """Count an item that failed with this error."""
        self.count += 1
        if len(self.first) < TOLD:
            self.first.append(Fault(id, position, error.message))


@dataclass
class Imported:
    """What an import did.

    `skipped` names and counts what the dump holds and was not stored. `failed` items were passed over because they are
    not as they should be; the first of them are in `faults`. `unfinished` says that the dump's compression had no end,
    as RavenDB leaves it, although all of the dump was there. `conflicts` documents stand for conflicts that RavenDB 2
    or 3 had not resolved; they are stored as they are, and the ids of the first 20 are in `conflicting`. `continuation`
    is set when the import has stopped at its limit: the token with which another one goes on.
    """

    documents: int = 0
    attachments: int = 0
    identities: int = 0
    deletions: int = 0
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
        """Take in what an import did after this one: its counts are added, and what is not counted is the later's."""
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

    `skipped` names and counts what was there and was not written: what the format has no place for, and the documents
    that the options left out. `failed` documents were passed over, and the first of them are in `faults`. `etag` and
    `time` (microseconds) are those of the state that was exported, `bytes` those before compression and `size` those
    written. `kind` is "full" or "incremental", and `reason` says why an incremental export became a full one, or wrote
    no `file`. `notes` are what whoever asked for it should know.
    """

    documents: int = 0
    attachments: int = 0
    identities: int = 0
    deletions: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    faults: list[Fault] = field(default_factory=list)
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
