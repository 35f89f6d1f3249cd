"""What is to go of the backups of a folder, and what was removed on purpose: new objects beside them that say so."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from muniment.backup.beside import read_beside
from muniment.backup.manifest import Hex, Time

KIND: Final = "expiry"


class Marked(msgspec.Struct, frozen=True):
    """A backup that is to go."""

    backup: str
    manifest: Hex


class Mark(msgspec.Struct, frozen=True):
    """All that was to go at a time, and what of it was being removed."""

    decided: Time
    backups: tuple[Marked, ...] = ()
    removing: tuple[Marked, ...] = ()


def marks(place: Path) -> list[tuple[Path, Mark]]:
    """All of them, the oldest first."""
    return read_beside(place, KIND, Mark)


def removed_in(place: Path) -> frozenset[str]:
    """The SHA-256 of the manifests of backups that a mark says were removed on purpose."""
    return frozenset(each.manifest for _, mark in marks(place) for each in mark.removing)
