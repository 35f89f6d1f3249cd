"""What differs between a moment of the backups that was restored and a database, told by the digests that both keep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import groupby
from typing import Any, Final, Literal, TypeAlias, get_args

from muniment.backup.differences import Changes
from muniment.backup.reader import Moment
from muniment.backup.selection import Selection
from muniment.document import SEPARATOR, fold, from_microseconds, rfc3339, without_time_kept
from muniment.numbers import series_of
from muniment.owner import find, ids_of, key_of
from muniment.revision import ATTACHMENT, DOCUMENT, Revision
from muniment.storage.base import Member, Storage
from muniment.storage.scratch import Scratch

Action: TypeAlias = Literal["added", "changed", "deleted"]

_TABLE: Final = "CREATE TABLE todo(number INTEGER PRIMARY KEY, kind, id, action, expected)"


@dataclass(frozen=True, slots=True)
class Difference:
    """How a database differs from a moment, by kind and collection, and the moment that it was compared with.

    Added is what only the moment has; deleted is what only the database has.
    """

    moment: Moment
    changes: tuple[Changes, ...]

    def count(self, action: Action) -> int:
        """How many documents and attachments were added, changed or deleted."""
        return sum(len(getattr(changes, action)) for changes in self.changes)

    def as_json(self) -> dict[str, Any]:
        """For `--json` and HTTP, with every id."""
        return {
            "etag": self.moment.etag,
            "time": rfc3339(from_microseconds(self.moment.modified)),
            **{action: self.count(action) for action in get_args(Action)},
            "changes": [changes.as_json() for changes in self.changes],
        }


class Account:
    """What differs: by kind and collection for people, and in the table `todo` of a scratch database for the writer.

    `moved` are documents that are in a selected collection now and were not then. They may have been in another one,
    and are then to be put back there, not deleted.
    """

    def __init__(self, storage: Storage, selection: Selection | None, scratch: Scratch) -> None:
        self.moved: dict[str, Member] = {}
        self._storage = storage
        self._selection = selection
        self._scratch = scratch
        self._scratch.execute(_TABLE)
        self._found: dict[tuple[int, str], Changes] = {}
        self.matches = selection.matches() if selection else None

    def take_all(self, moment: Storage) -> Iterator[None]:
        """Compare everything that is selected, one id for each that is taken from this."""
        for was, now in _pairs(moment.members(), self._storage.members(_prefixes(self._selection))):
            self._take(was, now, moment)
            yield

    def take_moved(self, moment: Storage) -> None:
        """Compare the documents that have moved with what they were, which this holds."""
        then = {member.key: member for member in moment.members() if member.kind == DOCUMENT}
        for key, now in self.moved.items():
            self._note(then.get(key), now, moment)
        for changes in self._found.values():
            for ids in (changes.added, changes.changed, changes.deleted):
                ids.sort(key=fold)

    def difference(self, moment: Moment) -> Difference:
        """All of it."""
        changes = tuple(self._found[group] for group in sorted(self._found))
        return Difference(moment, changes)

    def _take(self, was: Member | None, now: Member | None, moment: Storage) -> None:
        member, selection = was or now, self._selection
        assert member is not None
        if selection and not any(_selects(selection, each) for each in (was, now) if each):
            return
        for each in (was, now) if self.matches else ():
            self._match(each)
        if now and member.kind == DOCUMENT and series_of(member.key):
            return  # numbers do not go back: whoever writes the rest raises them where they are too low
        if member.kind == ATTACHMENT and was is None and now and _twin(moment, self._storage, now.id):
            return  # it is compared under the id that it had
        if member.kind == ATTACHMENT and was and now is None and (twin := _twin(self._storage, moment, was.id)):
            now = Member(ATTACHMENT, fold(twin.id), twin.id, twin.collection, twin.etag, b"")
        if selection and was is None and not _selects(selection, member._replace(collection=None)):
            self.moved[member.key] = member
        else:
            self._note(was, now, moment)

    def _match(self, member: Member | None) -> None:
        assert self.matches is not None
        if member is None or self.matches.complete:
            return
        if member.kind == ATTACHMENT:
            self.matches.note_attachment(member.id)
        else:
            self.matches.note(member.id, member.collection)

    def _note(self, was: Member | None, now: Member | None, moment: Storage) -> None:
        member = was or now
        assert member is not None
        action: Action = "added" if now is None else "deleted"
        if was is not None and now is not None:
            if was.digest == now.digest or _same(was, now, moment, self._storage):
                return
            action = "changed"
        id, collection = (now or member).id, member.collection or ""
        changes = self._found.setdefault((member.kind, collection), Changes(member.kind, collection))
        getattr(changes, action).append(key_of(id) if member.kind == ATTACHMENT else id)
        row = (member.kind, id, action, now.etag if now else 0)
        self._scratch.execute("INSERT INTO todo(kind, id, action, expected) VALUES(?, ?, ?, ?)", row)


def _twin(here: Storage, there: Storage, id: str) -> Revision | None:
    """The same attachment of a document, of which one side knows the owner and the other has the key alone.

    Backups that earlier versions took have keys alone.
    """
    found = find(here, key_of(id))
    if found is None or (SEPARATOR in found.id) == (SEPARATOR in id) or there.get(ATTACHMENT, found.id):
        return None
    return found


def _selects(selection: Selection, member: Member) -> bool:
    if member.kind == ATTACHMENT:
        return selection.takes_attachment(member.id)
    return selection.takes(member.id, member.collection)


def _prefixes(selection: Selection | None) -> tuple[str, ...]:
    """Prefixes that cover all ids that the selection can take."""
    if selection is None or selection.collections:
        return ("",)
    return tuple(id for key in (*selection.ids, *selection.prefixes) for id in ids_of(key))


def _pairs(moment: Iterator[Member], database: Iterator[Member]) -> Iterator[tuple[Member | None, Member | None]]:
    """Both in the order of their ids: what was there at the moment beside what is there now."""
    both = merge(((m.kind, m.key, 0, m) for m in moment), ((m.kind, m.key, 1, m) for m in database))
    for _, group in groupby(both, key=lambda entry: entry[:2]):
        sides = {side: member for _, _, side, member in group}
        yield sides.get(0), sides.get(1)


def _same(was: Member, now: Member, moment: Storage, storage: Storage) -> bool:
    """Whether two differ only in the case of their ids, or in the time that a restore has kept."""
    before, after = moment.get(was.kind, was.id), storage.get(now.kind, now.id)
    return before is not None and after is not None and _content(before) == _content(after)


def _content(revision: Revision) -> tuple[bytes | None, bytes]:
    return revision.body, without_time_kept(revision.metadata, 0)[0]
