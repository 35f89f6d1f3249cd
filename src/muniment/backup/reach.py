"""From where to where each history can be restored, as the manifests say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import TypeAlias

import msgspec

from muniment.backup.lineages import Branch, Tree
from muniment.backup.repository import Backup


class Point(msgspec.Struct, frozen=True):
    """A moment that can be restored; its time is known when it is the end of a backup."""

    etag: int
    time: str | None = None

    def __str__(self) -> str:
        return f"{self.time} (etag {self.etag:,})" if self.time else f"etag {self.etag:,}"


Found: TypeAlias = tuple[Branch, Point] | None


class Span(msgspec.Struct, frozen=True, kw_only=True, rename={"first": "from", "last": "to"}):
    """Every transaction from the first point to the last can be restored; when they are the same, only that one.

    `until` is how long the last one is known to have been the state, None when that is not known.
    """

    first: Point
    last: Point
    until: str | None = None
    lineage: str = ""

    @property
    def single(self) -> bool:
        """Whether it is a single moment."""
        return self.first.etag == self.last.etag

    def through(self, limit: Point | None) -> Span | None:
        """The part of it up to this point, None when it begins after that."""
        if limit is None or self.last.etag <= limit.etag:
            return self
        if self.first.etag > limit.etag:
            return None
        return Span(first=self.first, last=limit, lineage=self.lineage)

    def __str__(self) -> str:
        span = f"at {self.last}" if self.single else f"from {self.first} to {self.last}"
        kept = self.until is not None and self.last.time is not None and self.until > self.last.time
        return f"{span}, the state until {self.until}" if kept else span


def restorable(chain: Sequence[Backup], lineage: str = "") -> list[Span]:
    """From where to where every transaction can be restored; the end of a backup without history stands for itself."""
    reach: list[Span] = []
    for backup in chain:
        manifest = backup.manifest
        end, until = Point(manifest.through, manifest.snapshot.time), manifest.snapshot.until
        first = end
        if reach and manifest.whole_from == manifest.after:
            first = reach.pop().first
        elif reach and manifest.whole_from < manifest.through:
            first = Point(manifest.whole_from)
        reach.append(Span(first=first, last=end, until=until, lineage=lineage))
    return reach


def spans_of(branch: Branch) -> list[Span]:
    """What can be restored of a history, from all its chains, each moment once, in the order of the etags."""
    return list(_joined(span for chain in branch.chains() for span in restorable(chain, branch.id)))


def _joined(spans: Iterable[Span]) -> Iterator[Span]:
    last: Span | None = None
    for span in sorted(spans, key=lambda span: (span.first.etag, -span.last.etag)):
        if last is not None and span.first.etag <= last.last.etag:
            last = _both(last, span)
            continue
        if last is not None:
            yield last
        last = span
    if last is not None:
        yield last


def _both(one: Span, other: Span) -> Span:
    """Two that have a moment in common, as one."""
    newest = max(one.last.etag, other.last.etag)
    ends = [span for span in (one, other) if span.last.etag == newest]
    until = max((span.until for span in ends if span.until), default=None)
    first = one.first if one.first.time or one.first.etag < other.first.etag else other.first
    return Span(first=first, last=ends[0].last, until=until, lineage=one.lineage)


def nearest(tree: Tree, place: Callable[[Point], int | None], limit: int) -> tuple[Found, Found]:
    """The last moment up to this place that can be restored, and the first one after it, of any history."""
    ends = [(branch, point) for branch in tree.held for span in spans_of(branch) for point in (span.first, span.last)]
    known = [(at, branch, point) for branch, point in ends if (at := place(point)) is not None]
    known.sort(key=itemgetter(0))
    before = [(branch, point) for at, branch, point in known if at <= limit]
    after = [(branch, point) for at, branch, point in known if at > limit]
    return before[-1] if before else None, after[0] if after else None
