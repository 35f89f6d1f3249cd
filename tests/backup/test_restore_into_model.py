"""Any moment, any part, any policy, into any later state: the result is that of a plain dict."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from muniment import DocumentDatabase
from muniment.backup.restore_into import OnConflict
from muniment.backup.selection import Selection
from muniment.errors import Conflict, DocumentNotFound
from muniment.revision import ATTACHMENT, DOCUMENT
from tests.backup.state import seen_by_readers
from tests.clock import SECOND, Clock
from tests.sampled import count
from tests.storage.reference import lowered

IDS = ["a", "a/1", "a/2", "B", "b/c", "ß"]
COLLECTIONS = [None, "As", "Bs"]


class Thing(NamedTuple):
    """A document or an attachment: its collection, and the number in it."""

    collection: str | None
    number: int


Model: TypeAlias = dict[tuple[int, str], Thing]


class Write(NamedTuple):
    kind: int
    id: str
    thing: Thing | None


things = st.builds(Thing, st.sampled_from(COLLECTIONS), st.integers(0, 2))
writes = st.builds(Write, st.sampled_from([DOCUMENT, DOCUMENT, ATTACHMENT]), st.sampled_from(IDS), st.none() | things)
phases = st.lists(writes, max_size=8)
selections = st.none() | st.builds(
    lambda collections, ids, prefixes: Selection.of(tuple(collections), tuple(ids), tuple(prefixes)),
    st.sets(st.sampled_from(["as", "BS"])),
    st.sets(st.sampled_from(["A", "b", "a/1", "none"])),
    st.sets(st.sampled_from(["b", "A/", "SS"])),
)


def carry_out(write: Write, database: DocumentDatabase, model: Model) -> None:
    key = (write.kind, lowered(write.id))
    if write.thing is None:
        (database.delete if write.kind == DOCUMENT else database.delete_attachment)(write.id)
        model.pop(key, None)
        return
    collection, number = write.thing
    metadata = {"Raven-Entity-Name": collection} if collection else {}
    if write.kind == DOCUMENT:
        database.put(write.id, {"n": number}, metadata)
    else:
        database.put_attachment(write.id, b"n" * number, metadata)
    model[key] = write.thing


def selected(selection: Selection | None, key: tuple[int, str], thing: Thing | None) -> bool:
    """Written out again from the guide."""
    kind, id = key
    if selection is None:
        return True
    if id in selection.ids or any(id.startswith(prefix) for prefix in selection.prefixes):
        return True
    if kind == ATTACHMENT:
        return "/" in id and id.rpartition("/")[0] in selection.ids
    return bool(thing and thing.collection and lowered(thing.collection) in selection.collections)


def matches_nothing(selection: Selection | None, was: Model, now: Model) -> bool:
    """Whether one of the names in the selection stands for nothing, neither then nor now."""
    if selection is None:
        return False
    things = [*was.items(), *now.items()]
    keys = {key for (_, key), _ in things}
    owners = {key.rpartition("/")[0] for (kind, key), _ in things if kind == ATTACHMENT and "/" in key}
    collections = {lowered(thing.collection) for (kind, _), thing in things if kind == DOCUMENT and thing.collection}
    prefixes = {prefix for prefix in selection.prefixes if not any(key.startswith(prefix) for key in keys)}
    return bool(selection.ids - keys - owners or prefixes or selection.collections - collections)


def restored(was: Model, now: Model, selection: Selection | None, policy: OnConflict) -> Model | None:
    """What the policy makes of the present state, None for a conflict."""
    part = {
        key
        for key in was.keys() | now.keys()
        if selected(selection, key, was.get(key)) or selected(selection, key, now.get(key))
    }
    differs = {key for key in part & now.keys() if was.get(key) != now[key]}
    if policy == "fail" and differs:
        return None
    result = now | {key: was[key] for key in part & was.keys() if key not in now}
    if policy == "overwrite":
        result = {key: was.get(key, thing) if key in part else thing for key, thing in result.items()}
        result = {key: thing for key, thing in result.items() if key not in part or key in was}
    return result


def model_of(database: DocumentDatabase) -> Model:
    found: Model = {}
    for (kind, key), (id, _, content) in seen_by_readers(database).items():
        document: Any = database.get(id) if kind == DOCUMENT else database.get_attachment(id)
        number = document.json()["n"] if kind == DOCUMENT else len(content)
        found[kind, key] = Thing(document.metadata.get("Raven-Entity-Name"), number)
    return found


@settings(max_examples=count(12, whole=300), deadline=None)
@given(
    before=phases,
    within=phases,
    after=phases,
    back=st.integers(0, 8),
    selection=selections,
    policy=st.sampled_from(["skip", "overwrite", "fail"]),
)
def test_into_any_later_state(
    before: list[Write], within: list[Write], after: list[Write], back: int, selection: Any, policy: OnConflict
) -> None:
    with tempfile.TemporaryDirectory() as place:
        backups = Path(place) / "backups"
        with DocumentDatabase(Path(place) / "shop", clock=Clock(step=SECOND)) as database:
            database.configure({"Muniment/History": "true"})
            model: Model = {}
            for write in before:
                carry_out(write, database, model)
            database.maintenance.start_backup(backups).wait()
            moments = [(database.snapshot().etag, dict(model))]
            for write in within:
                carry_out(write, database, model)
                moments.append((database.snapshot().etag, dict(model)))
            database.maintenance.start_backup(backups, incremental=True).wait()
            for write in after:
                carry_out(write, database, model)
            etag, was = moments[max(0, len(moments) - 1 - back)]
            expected = restored(was, model, selection, policy)
            nowhere = matches_nothing(selection, was, model)
            try:
                database.maintenance.restore_into(backups, on_conflict=policy, etag=etag, selection=selection)
                assert expected is not None
                assert not nowhere
            except DocumentNotFound:
                assert nowhere
                expected = model
            except Conflict:
                assert not nowhere
                assert expected is None
                expected = model
            assert model_of(database) == expected
            assert database.check() == []
