"""Any history of writes, purges, backups, merges and restores against a plain dict, at every moment promised."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from muniment import Delete, DocumentDatabase, MaintenanceActions, Put
from muniment.backup.lineages import ALWAYS, Tree, micros, spans_of
from muniment.backup.reader import moment_of
from muniment.backup.repository import Backup, backups
from muniment.backup.selection import Selection
from muniment.command import Command
from muniment.document import collection_of, encode, fold, from_microseconds, to_microseconds
from muniment.errors import (
    AmbiguousPoint,
    BackupNotFound,
    ConcurrencyConflict,
    Conflict,
    DocumentNotFound,
    TargetExists,
    UnreachablePoint,
)
from muniment.owner import content_hash, content_type
from muniment.revision import ATTACHMENT, DOCUMENT
from tests.backup import awkward
from tests.backup.state import Item, State, live, opened, state_of
from tests.clock import SECOND, Clock
from tests.sampled import count, torture

MEMORY = Path("/dev/shm")  # where there is no disk to wait for
MOST_RESTORED = 12  # moments of a destination that are restored; the others are only planned
LATEST = "9999-01-01T00:00:00.000000Z"

# Few ids, so that they are often replaced and deleted; some are the same in another case.
ids = st.sampled_from(["a", "A", "b", "orders/1", "Orders/1", "straße", "STRASSE", "nul\0", "İ", "'%_"])
metadata = st.sampled_from(awkward.METADATA)
contents = st.binary(max_size=50) | st.sampled_from([1 << 20, (1 << 20) + 1]).map(bytes)
commands: st.SearchStrategy[Command] = st.builds(Put, ids, awkward.bodies, metadata) | st.builds(Delete, ids)


few: st.SearchStrategy[Command] = st.builds(Put, st.sampled_from("abB"), awkward.bodies, metadata) | st.builds(
    Delete, st.sampled_from("ab")
)
destinations = st.sampled_from(["one", "two"])


@dataclass
class Taken:
    """A backup and what it must restore to."""

    backup: Backup
    state: State
    lineage: str


@dataclass
class Shelved:
    """A database that was left for a copy of it, and may go on at any time."""

    folder: Path
    model: State
    etag: int
    modified: int


def seen_until(backup: Backup) -> int:
    """Through when a backup shows that its lineage was alive."""
    return micros(backup.manifest.snapshot.until or "")


class Rehearsal(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(mkdtemp(prefix="muniment-rehearsal-", dir=MEMORY if MEMORY.is_dir() else None))
        self.clock = Clock(step=SECOND)
        self.database = DocumentDatabase(self.folder / "shop", clock=self.clock)
        self.database_id = self.database.storage.identity.database_id
        self.model: State = {}
        self.etag = 0
        self.modified = 0
        self.taken: list[Taken] = []
        self.moments: dict[str, dict[int, State]] = {}  # what was there after every transaction of every lineage
        self.times: dict[str, dict[int, int]] = {}  # and when that was
        self.forks: dict[str, tuple[str, int]] = {}  # the lineage that each one left, and after which etag
        self.lived: dict[str, tuple[int, int]] = {}  # from when to when each one is known to have been alive
        self.shelf: list[Shelved] = []
        self.merged: dict[tuple[str, str], str] = {}  # by destination and backup, what that was merged into
        self.places = 0

    def place(self) -> Path:
        self.places += 1
        return self.folder / str(self.places)

    @property
    def lineage(self) -> str:
        return self.database.storage.identity.lineage

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Within it no tombstone expires, and those that have are gone from the model too."""
        storage = self.database.storage
        with storage.pin() as snapshot:
            storage.commit([])  # one that had begun to expire before the pin is gone after this
            found = state_of(self.database)
            for key, item in [*self.model.items()]:
                if key not in found:
                    assert item.content is None
                    assert item.etag <= snapshot.tombstones_from
                    assert item.etag < self.etag
                    assert "Muniment/TombstoneWindow" in self.database.settings
                    del self.model[key]
            yield

    def apply(self, kind: int, id: str, metadata: bytes, content: bytes | None) -> int:
        """Carry out a write on the model; returns the etag that the database should have given it."""
        key = (kind, fold(id))
        old = self.model.get(key)
        if content is None and (old is None or old.content is None):
            return 0
        self.etag += 1
        spelling = old.id if old else id
        collection = collection_of(metadata) if content is not None else old.collection if old else None
        self.model[key] = Item(self.etag, spelling, collection, 0, metadata, content)
        return self.etag

    def read_times(self) -> None:
        """Times are the database's: they are taken from its readers, and must only ever grow."""
        for (kind, key), item in self.model.items():
            if not item.modified:
                changed = self.modified + 1
                if item.content is not None:
                    read = self.database.get if kind == DOCUMENT else self.database.get_attachment
                    found = read(item.id)
                    assert found is not None
                    changed = to_microseconds(found.changed)
                    assert changed > self.modified
                self.model[kind, key] = item._replace(modified=changed if item.content is not None else -1)
        self.modified = max(self.modified, *(item.modified for item in self.model.values()), 0)

    def expected(self, state: State) -> State:
        """Without the times of tombstones, which no reader sees."""
        return {key: item if item.content is not None else item._replace(modified=-1) for key, item in state.items()}

    @rule(commands=st.lists(commands, min_size=1, max_size=8))
    def write(self, commands: list[Command]) -> None:
        with self.settled():
            written = self.database.batch(commands)
            for command, result in zip(commands, written, strict=True):
                if isinstance(command, Put):
                    assert isinstance(command.metadata, bytes)
                    assert result.etag == self.apply(DOCUMENT, command.id, command.metadata, command.body)
                else:
                    assert result.etag == self.apply(DOCUMENT, command.id, b"{}", None)
        self.read_times()

    @rule(commands=st.lists(commands, min_size=1, max_size=4), id=ids)
    def write_in_vain(self, commands: list[Command], id: str) -> None:
        """The last command of a batch fails, so none is carried out."""
        with suppress(ConcurrencyConflict):
            self.database.batch([*commands, Put(id, {}, etag=10**9)])
            raise AssertionError("a conflict was not noticed")

    @rule(key=ids, content=contents, metadata=metadata)
    def attach(self, key: str, content: bytes, metadata: bytes) -> None:
        with self.settled():
            written = self.database.put_attachment(key, content, metadata)
            assert written.etag == self.apply(ATTACHMENT, key, metadata, content)
        self.read_times()

    @rule(key=ids)
    def detach(self, key: str) -> None:
        with self.settled():
            old = self.model.get((ATTACHMENT, fold(key)))
            kept = b"{}"
            if old is not None and old.content is not None:  # what RavenDB has to know of the content that goes
                kept = encode({"Hash": content_hash([old.content]), "Content-Type": content_type(old.metadata)})
            assert self.database.delete_attachment(key) == bool(self.apply(ATTACHMENT, key, kept, None))
        self.read_times()

    @rule()
    def purge(self) -> None:
        self.database.storage.purge()

    @rule(hours=st.integers(-48, 48))
    def change_the_clock(self, hours: int) -> None:
        self.clock.now += hours * 3600 * 1_000_000

    @rule()
    def reopen(self) -> None:
        folder = self.database.path
        self.database.close()
        self.database = DocumentDatabase(folder, create=False, clock=self.clock)

    @initialize(kept=st.booleans(), window=st.sampled_from([None, "0s"]))
    def begin(self, kept: bool, window: str | None) -> None:
        self.configure(kept, window)

    @rule(kept=st.booleans(), window=st.sampled_from([None, "0s", "1h"]))
    def configure(self, kept: bool, window: str | None) -> None:
        expiry = {} if window is None else {"Muniment/TombstoneWindow": window}
        with self.settled():  # by the settings that there were
            self.database.configure({"Muniment/History": str(kept).lower(), **expiry}, replace=True)

    @rule()
    def back_up(self) -> None:
        with self.settled():
            backup = self.database.maintenance.start_backup(self.place()).wait()
            assert backup.manifest.snapshot.etag == self.etag
            self.taken.append(Taken(backup, dict(self.model), self.lineage))

    @rule(name=destinations)
    def back_up_incrementally(self, name: str) -> None:
        backup = self.database.maintenance.start_backup(self.folder / name, incremental=True).wait()
        assert backup.manifest.through == self.etag
        assert backup.manifest.database.lineage == self.lineage

    @rule(name=destinations, commands=st.lists(few, min_size=1, max_size=6), purge=st.booleans())
    def live_a_while(self, name: str, commands: list[Command], purge: bool) -> None:
        """Transactions on few ids, a backup, and what may be forgotten then: what makes chains, so it is done often."""
        for command in commands:
            self.write([command])
            self.the_database_is_the_model()
        self.back_up_incrementally(name)
        if purge:
            self.database.storage.purge()

    def available(self, name: str) -> list[Backup]:
        return list(backups(self.folder / name)) if (self.folder / name).exists() else []

    @rule(name=destinations, which=st.integers(0, 9), delete=st.booleans())
    def merge(self, name: str, which: int, delete: bool) -> None:
        incremental = [backup.name for backup in self.available(name) if backup.manifest.kind == "incremental"]
        if not incremental:
            return
        through = incremental[which % len(incremental)]
        before = {backup.name for backup in self.available(name)}
        there = not delete and self.merged.get((name, through)) in before
        try:
            merged = MaintenanceActions.merge(self.folder / name, through, delete_merged=delete, clock=self.clock)
        except TargetExists:
            assert there
            assert {backup.name for backup in self.available(name)} == before
            return
        except Conflict:
            assert delete
            assert {backup.name for backup in self.available(name)} == before
            return
        assert not there
        self.merged[name, through] = merged.name
        assert merged.manifest.kind == "full"
        assert not delete or through not in {backup.name for backup in self.available(name)}

    def check_moment(self, name: str, state: State, **moment: Any) -> Path:
        """A restore of this moment has what was there then, bytes, metadata, etags and times."""
        target = self.place()
        MaintenanceActions.restore(self.folder / name, target, clock=self.clock, **moment)
        with opened(target, self.clock) as database:
            assert live(state_of(database)) == state
        return target

    def owner(self, lineage: str, etag: int) -> str:
        """The lineage that made this etag: the given one, or one that it came from."""
        while lineage in self.forks and etag <= self.forks[lineage][1]:
            lineage = self.forks[lineage][0]
        return lineage

    def promised(self, name: str) -> dict[tuple[str, int], State]:
        """By lineage and etag, everything that is listed as restorable from a destination."""
        return {
            (branch.id, etag): state
            for branch in Tree(self.available(name)).held
            for span in spans_of(branch)
            for etag, state in self.moments[branch.id].items()
            if span.first.etag <= etag <= span.last.etag
        }

    def reachable(self, name: str) -> dict[int, State]:
        """By etag, of that what only one lineage has."""
        promised = self.promised(name)
        owners: dict[int, set[str]] = {}
        for branch in Tree(self.available(name)).held:
            for etag in {etag for _, etag in promised if etag <= branch.last_etag}:
                owners.setdefault(etag, set()).add(self.owner(branch.id, etag))
        return {etag: state for (_, etag), state in promised.items() if len(owners[etag]) == 1}

    def check_destination(self, name: str) -> None:
        """Every transaction that is promised, by its etag and lineage; and the end of every backup, by its name."""
        promised, alone, available = self.promised(name), self.reachable(name), self.available(name)
        for number, ((lineage, etag), state) in enumerate(promised.items()):
            plan = MaintenanceActions.plan_restore(self.folder / name, etag=etag, lineage=lineage)
            assert moment_of(plan).etag == etag
            assert self.owner(plan.manifest.database.lineage, etag) == self.owner(lineage, etag)
            if number % (1 + len(promised) // MOST_RESTORED) == 0:
                shutil.rmtree(self.check_moment(name, state, etag=etag, lineage=lineage))
            if etag not in alone:
                with pytest.raises(AmbiguousPoint):
                    MaintenanceActions.plan_restore(self.folder / name, etag=etag)
            else:
                plan = MaintenanceActions.plan_restore(self.folder / name, etag=etag)
                assert self.owner(plan.manifest.database.lineage, etag) == self.owner(lineage, etag)
        self.check_times(name)
        if available:
            verified = MaintenanceActions.verify(self.folder / name, record=False)
            assert verified.backups == tuple(available)
        for backup in available:
            state = self.moments[backup.manifest.database.lineage][backup.manifest.through]
            shutil.rmtree(self.check_moment(name, state, backup=backup.name))

    def check_times(self, name: str) -> None:
        """At any time: the state that the database had then, or a refusal where that is not certain."""
        held = Tree(self.available(name)).held
        known = {time for times in self.times.values() for time in times.values()}
        known |= {branch.seen for branch in held} | {branch.certain_from for branch in held if branch.certain_from > 0}
        for at in sorted({time + more for time in known for more in (-1, 0, 1)}):
            lived = [lineage for lineage, (since, until) in self.lived.items() if since <= at <= until]
            expected = {self.moment_at(lineage, at) for lineage in lived}
            try:
                plan = MaintenanceActions.plan_restore(self.folder / name, at=from_microseconds(at))
                etag = moment_of(plan).etag
            except AmbiguousPoint:
                assert len(lived) > 1
            except UnreachablePoint:
                sure = {branch.id: branch for branch in held if [branch.id] == lived}
                for span in (span for branch in sure.values() for span in spans_of(branch)):
                    assert not micros(span.first.time or LATEST) <= at <= micros(span.until or ""), (span, at)
            except BackupNotFound:
                assert not held
            else:
                assert (self.owner(plan.manifest.database.lineage, etag), etag) in expected
                seen = {backup.manifest.database.lineage for backup in self.available(name) if seen_until(backup) >= at}
                assert len({self.moment_at(lineage, at) for lineage in seen & {*lived}}) == 1

    def moment_at(self, lineage: str, at: int) -> tuple[str, int]:
        """The transaction after which a lineage stood at this time, and whose it was."""
        before = [etag for etag, time in self.times[lineage].items() if time <= at]
        etag = max(before, default=0)
        return self.owner(lineage, etag), etag

    @rule(data=st.data(), name=destinations)
    def look_at_a_moment(self, data: st.DataObject, name: str) -> None:
        """By its time, in part, and compared with another."""
        moments = self.reachable(name)
        if not moments:
            return
        etag, other = (data.draw(st.sampled_from(sorted(moments))) for _ in range(2))
        state, after = moments[etag], moments[other]
        if not self.forks:
            plan = MaintenanceActions.plan_restore(self.folder / name, at=self.time_of(name, etag))
            shutil.rmtree(self.check_moment(name, state, at=self.time_of(name, etag)))
            assert plan.manifest.through >= etag
        id = fold(data.draw(ids))
        part = {key: item for key, item in state.items() if id in (key[1], key[1].rpartition("/")[0] if key[0] else "")}
        if part:
            shutil.rmtree(self.check_moment(name, part, etag=etag, selection=Selection.of(ids=(id,))))
        else:
            with pytest.raises(DocumentNotFound):
                self.check_moment(name, part, etag=etag, selection=Selection.of(ids=(id,)))
        found = MaintenanceActions.differences(self.folder / name, str(etag), f"etag:{other}").changes
        assert sorted(id for changes in found for id in changes.added) == sorted(
            item.id for key, item in after.items() if key not in state
        )
        assert sorted(id for changes in found for id in changes.deleted) == sorted(
            item.id for key, item in state.items() if key not in after
        )
        assert sorted(id for changes in found for id in changes.changed) == sorted(
            item.id for key, item in after.items() if key in state and state[key].etag != item.etag
        )

    def time_of(self, name: str, etag: int) -> datetime:
        """When the transaction with this last etag was made."""
        plan = MaintenanceActions.plan_restore(self.folder / name, etag=etag)
        return from_microseconds(moment_of(plan).modified)

    @rule(data=st.data(), name=destinations)
    def go_on_from_a_moment(self, data: st.DataObject, name: str) -> None:
        """Life goes on in a restored database, and its next backup begins a chain."""
        moments = self.reachable(name)
        if not moments:
            return
        etag = data.draw(st.sampled_from(sorted(moments)))
        target = self.check_moment(name, moments[etag], etag=etag)
        self.leave_for(target)
        with self.database.storage.pin():
            self.database.storage.commit([])
            self.model = self.expected(state_of(self.database))
        self.etag, self.modified = etag, self.database.snapshot().modified

    def restore_and_go_on(self, name: str, which: int) -> None:
        """From any moment of any lineage that is promised, also of one that was left long ago."""
        promised = self.promised(name)
        if promised:
            (lineage, etag), state = sorted(promised.items(), key=lambda item: item[0])[which % len(promised)]
            self.go_on_in(self.check_moment(name, state, etag=etag, lineage=lineage), etag)

    def go_on_in(self, target: Path, etag: int) -> None:
        self.leave_for(target)
        with self.database.storage.pin():
            self.database.storage.commit([])
            self.model = self.expected(state_of(self.database))
        self.etag, self.modified = etag, self.database.snapshot().modified
        self.the_database_is_the_model()

    def leave_for(self, target: Path) -> None:
        """The database that was restored is the one that is used now; the other one stays where it is."""
        self.shelf.append(Shelved(self.database.path, self.model, self.etag, self.modified))
        self.database.close()
        self.database = DocumentDatabase(target, create=False, clock=self.clock)
        begun = self.database.storage.identity.lineages[-1]
        assert begun.parent is not None
        self.forks[self.lineage] = begun.parent, begun.etag
        self.lived[self.lineage] = micros(begun.began or ""), micros(begun.began or "")

    @precondition(lambda self: self.shelf)
    @rule(which=st.integers(0, 9))
    def go_back_to_another(self, which: int) -> None:
        """A database that was copied, or a copy, goes on: then there are two histories at once."""
        self.shelf.append(Shelved(self.database.path, self.model, self.etag, self.modified))
        self.database.close()
        other = self.shelf.pop(which % (len(self.shelf) - 1) if len(self.shelf) > 1 else 0)
        self.database = DocumentDatabase(other.folder, create=False, clock=self.clock)
        self.model, self.etag, self.modified = other.model, other.etag, other.modified

    def restore(self, taken: Taken, defrag: bool = False) -> Path:
        target = self.place()
        restored = MaintenanceActions.restore(taken.backup.folder, target, defrag=defrag, clock=self.clock)
        assert restored.fingerprint == MaintenanceActions.verify(taken.backup.folder.parent).fingerprint
        with opened(target, self.clock) as database:
            found = self.expected(state_of(database))
            assert live(found) == live(taken.state)
            assert found.items() <= taken.state.items()  # tombstones may have expired already
            identity = database.storage.identity
            assert (identity.database_id, identity.lineage != taken.lineage) == (self.database_id, True)
            assert database.snapshot().etag == taken.backup.manifest.snapshot.etag
        return target

    @precondition(lambda self: self.taken)
    @rule(data=st.data(), defrag=st.booleans())
    def restore_any(self, data: st.DataObject, defrag: bool) -> None:
        self.restore(data.draw(st.sampled_from(self.taken)), defrag)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def go_on_from_a_restore(self, data: st.DataObject) -> None:
        """Life goes on in the restored database, from the moment of the backup."""
        taken = data.draw(st.sampled_from(self.taken))
        target = self.restore(taken)
        self.leave_for(target)
        with self.database.storage.pin():
            self.database.storage.commit([])
            self.model = self.expected(state_of(self.database))
        self.etag = taken.backup.manifest.snapshot.etag
        self.modified = self.database.snapshot().modified

    @invariant()
    def the_database_is_the_model(self) -> None:
        with self.settled():
            assert self.expected(state_of(self.database)) == self.model
            assert self.database.snapshot().etag == self.etag
            self.moments.setdefault(self.lineage, {})[self.etag] = live(self.model)
            modified = self.database.snapshot().modified
            self.times.setdefault(self.lineage, {})[self.etag] = modified
            since, until = self.lived.get(self.lineage, (ALWAYS, ALWAYS))
            self.lived[self.lineage] = since, max(until, modified, self.clock.now)

    def teardown(self) -> None:
        try:
            assert self.database.check() == []
            for taken in self.taken[-1:]:
                self.restore(taken)
            for name in ("one", "two"):
                self.check_destination(name)
        finally:
            self.database.close()
            shutil.rmtree(self.folder)


TestRehearsal = torture(Rehearsal.TestCase)
TestRehearsal.settings = settings(
    deadline=None,
    max_examples=count(3, whole=60),
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


# The machine goes everywhere, and so seldom far: these histories do little but make chains.
lives: st.SearchStrategy[Callable[[Rehearsal], None]] = st.builds(
    lambda name, commands, purge: lambda machine: machine.live_a_while(name, commands, purge),
    destinations,
    st.lists(few, min_size=1, max_size=4),
    st.booleans(),
)
others: st.SearchStrategy[Callable[[Rehearsal], None]] = st.one_of(
    st.builds(
        lambda kept, window: lambda machine: machine.configure(kept, window),
        st.booleans(),
        st.sampled_from([None, "0s"]),
    ),
    st.builds(
        lambda name, which, delete: lambda machine: machine.merge(name, which, delete),
        destinations,
        st.integers(0, 9),
        st.booleans(),
    ),
    st.builds(lambda key, content: lambda machine: machine.attach(key, content, b"{}"), ids, st.binary(max_size=9)),
    st.builds(lambda key: lambda machine: machine.detach(key), ids),
    st.builds(lambda hours: lambda machine: machine.change_the_clock(hours), st.integers(-48, 48)),
    st.builds(
        lambda name, which: lambda machine: machine.restore_and_go_on(name, which), destinations, st.integers(0, 99)
    ),
    st.builds(lambda which: lambda machine: machine.shelf and machine.go_back_to_another(which), st.integers(0, 9)),
)


@torture
@settings(
    deadline=None,
    max_examples=count(5, whole=200),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    kept=st.booleans(),
    window=st.sampled_from([None, "0s"]),
    steps=st.lists(lives | lives | others, min_size=10, max_size=30),
)
def test_every_moment_of_any_chain(kept: bool, window: str | None, steps: list[Callable[[Rehearsal], None]]) -> None:
    machine = Rehearsal()
    try:
        machine.begin(kept, window)
        for step in steps:
            step(machine)
            machine.the_database_is_the_model()
    finally:
        machine.teardown()
