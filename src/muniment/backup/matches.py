"""Which names of a selection were found: one that is not there is an error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from difflib import get_close_matches
from itertools import chain
from typing import Final

from muniment.backup.parquet import Source, texts_of
from muniment.backup.plan import RestorePlan
from muniment.document import fold
from muniment.errors import DocumentNotFound
from muniment.fingerprint import Fingerprint
from muniment.owner import key_of, split_id

MANY: Final = 50_000  # ids that are looked at for one that is like the one that was asked for
NEAR: Final = 3
ALIKE: Final = 0.75


class Matches:
    """Counts off the names of a selection, whose case is folded: `check` tells which nothing was noted for."""

    def __init__(self, collections: Iterable[str] = (), ids: Iterable[str] = (), prefixes: Iterable[str] = ()) -> None:
        self._collections = set(collections)
        self._ids = set(ids)
        self._prefixes = set(prefixes)

    def note(self, id: str, collection: str | None) -> None:
        """Note that this document exists."""
        if self._collections:
            self._collections.discard(fold(collection or ""))
        self._note_key(fold(id))

    def note_attachment(self, id: str) -> None:
        """Note that this attachment exists."""
        owner, name = split_id(fold(id))
        self._note_key(key_of(fold(id)))
        self._ids.discard(name.rpartition("/")[0] if owner is None else owner)

    def _note_key(self, key: str) -> None:
        self._ids.discard(key)
        if self._prefixes:
            self._prefixes = {prefix for prefix in self._prefixes if not key.startswith(prefix)}

    @property
    def complete(self) -> bool:
        """Whether something was found for every name."""
        return not (self._collections or self._ids or self._prefixes)

    def check(self, plan: RestorePlan, where: str) -> None:
        """Raises `DocumentNotFound` for what is missing, with names in the backups that are like it."""
        missing = [
            *(f"no document in a collection {name!r}" for name in sorted(self._collections)),
            *(f"neither document nor attachment {id!r}" for id in sorted(self._ids)),
            *(f"nothing whose id begins with {prefix!r}" for prefix in sorted(self._prefixes)),
        ]
        if missing:
            deleted: dict[str, str] = {}
            alike = [*self._near_collections(plan), *self._near_ids(plan, deleted)]
            hint = near_hint(alike)
            if deleted:  # which somebody may want back, and then nothing that is only spelled alike
                found, source = next(iter(deleted.values())), plan.place
                hint = f"it was deleted before: `muniment inspect {source} --id {found}` tells until when it was there"
            raise DocumentNotFound(f"{where} there is {' and '.join(missing)}", hint)

    def _near_collections(self, plan: RestorePlan) -> Iterator[str]:
        if self._collections:
            names = collections_of(*(backup.manifest.fingerprint_at_snapshot() for backup in plan.chain))
            for collection in sorted(self._collections):
                yield from near(collection, names)

    def _near_ids(self, plan: RestorePlan, deleted: dict[str, str]) -> Iterator[str]:
        """Ids like those that are missing; `deleted` takes those of them that were there at another moment."""
        if not (self._ids or self._prefixes):
            return
        ids: dict[str, str] = {}  # what is deleted at this moment is no better than what is missing
        beginnings: dict[str, str] = {}
        for id in ids_of(plan):
            key = fold(id)
            if key in self._ids:
                deleted[key] = id
            if "/" in id and len(beginnings) < MANY:
                beginnings[key.partition("/")[0] + "/"] = id.partition("/")[0] + "/"
            if len(ids) < MANY and key not in self._ids and any(_could_be(key, wanted) for wanted in self._ids):
                ids[key] = id
        for wanted in sorted(self._ids):
            yield from near(wanted, ids.values())
        for wanted in sorted(self._prefixes):
            yield from near(wanted, beginnings.values())


def near(wanted: str, names: Iterable[str]) -> list[str]:
    """The names that are most like this one."""
    by_key = {fold(name): name for name in names}
    return [by_key[key] for key in get_close_matches(fold(wanted), list(by_key), NEAR, ALIKE)]


def near_hint(names: Iterable[str]) -> str:
    """The hint when these names are similar to what was asked for."""
    found = list(dict.fromkeys(names))[:NEAR]
    if found:
        return f"did you mean {' or '.join(found)}?"
    return "case is ignored, but names are compared whole; `muniment inspect --id ID` tells when a document was there"


def collections_of(*fingerprints: Fingerprint) -> set[str]:
    """The names of all collections with members."""
    return {
        name for name in chain.from_iterable((name for _, name in each.occupied()) for each in fingerprints) if name
    }


def _could_be(key: str, wanted: str) -> bool:
    """Whether these two can be alike: told without comparing letter by letter."""
    return abs(len(key) - len(wanted)) <= max(2, len(wanted) // 4) and (
        key[:2] == wanted[:2] or key[-2:] == wanted[-2:]
    )


def ids_of(plan: RestorePlan) -> Iterator[str]:
    """The ids in the backups of this plan, also those of attachments and of what is deleted at its moment."""
    for backup, file in plan.files:
        with closing(Source.of(backup, file)) as source:
            for _, group in source.groups():
                yield from map(key_of, texts_of(source.read(group, ["id"]), "id"))
