"""From where to where a chain can be restored, as its manifests say."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from muniment.backup.repository import Backup


class Point(msgspec.Struct, frozen=True):
    """A moment that can be restored; its time is known when it is the end of a backup."""

    etag: int
    time: str | None = None

    def __str__(self) -> str:
        return f"{self.time} (etag {self.etag:,})" if self.time else f"etag {self.etag:,}"


def restorable(chain: Sequence[Backup]) -> list[tuple[Point, Point]]:
    """From where to where every transaction can be restored; the end of a backup without history stands for itself."""
    reach: list[tuple[Point, Point]] = []
    for backup in chain:
        manifest = backup.manifest
        end = Point(manifest.through, manifest.snapshot.time)
        if reach and manifest.whole_from == manifest.after:
            reach[-1] = (reach[-1][0], end)
        elif reach and manifest.whole_from < manifest.through:
            reach.append((Point(manifest.whole_from), end))
        else:
            reach.append((end, end))
    return reach
