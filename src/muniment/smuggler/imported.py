"""What an import tells."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from muniment.smuggler.faults import TOLD, Fault


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
