"""A store and a plain dict are given the same things to do, in any order; after each step they hold the same.

Some come to the writer together, and some of those fail: each is then as if it had come alone, after those before it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from muniment.errors import ConcurrencyConflict, MunimentError
from muniment.query.model import Equal, Field, Query, Search
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.storage.base import Snapshot, Write, Written
from muniment.storage.sqlite.store import SqliteStorage, create_storage
from muniment.storage.sqlite.transaction import Transaction
from tests.clock import Clock
from tests.sampled import count, torture
from tests.storage.raw import at_once
from tests.storage.reference import Key, Row, State, fingerprint_of, key_of, live, lowered, row_of, state_of, tallies
from tests.waiting import PATIENCE

WRONG = 987_654_321
CONTENTS = {
    "object": b"{}",
    "number": b'{"n":1.10}',
    "other number": b'{"n":1.1}',
    "words": b'{"n":["red car","blue"]}',
    "nothing": b"",
    "pages": b"x" * 40_000,
    "parts": b"y" * ((1 << 20) + 1),
}
REFUSED = "refused"  # SQLite does not store this id
N = Field(("n",))
QUERIES = [Query("Orders", Equal(N, 1.1)), Query("Orders", Search(N, "red"))]
PENDING = -1  # the etag of a row that the commit under way is to write


class Step(NamedTuple):
    """One write of a commit, without what only the moment can say."""

    deletes: bool
    kind: int
    id: str
    content: str
    metadata: bytes
    collection: str | None
    expected: str


class Job(NamedTuple):
    """Some writes that come to the writer together with others, and how."""

    how: str
    steps: list[Step]


class Foreseen(NamedTuple):
    """What becomes of a job: for each of its writes what is answered and what is there then; None if it fails."""

    writes: list[Write]
    outcome: list[tuple[Written, Key, Row | None]] | None
    replaced: dict[int, int]


@dataclass
class Held:
    """A pin, and what was there when it was taken. `keeps` is the etag from which it keeps all history."""

    pin: AbstractContextManager[Snapshot]
    snapshot: Snapshot
    state: State
    keeps: int


ids = st.sampled_from(["a", "A", "b", "B/1", "straße", "STRASSE", "photo", "\0", "\U0010ffff"])
contents = st.sampled_from(sorted(CONTENTS))
steps = st.builds(
    Step,
    deletes=st.sampled_from([False, False, True]),
    kind=st.sampled_from([DOCUMENT, DOCUMENT, ATTACHMENT]),
    id=ids,
    content=contents,
    metadata=st.sampled_from([b"{}", b'{"m":1}']),
    collection=st.sampled_from([None, "Orders", "orders", "Photos"]),
    expected=st.sampled_from(["anything", "anything", "anything", "what is there", "nothing", "what never was"]),
)
jobs = st.builds(
    Job,
    how=st.sampled_from(["writes", "writes", "writes", "a job", "a job that fails", "writes that are refused"]),
    steps=st.lists(steps, max_size=4),
)


class Store(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(mkdtemp())
        create_storage(self.folder)
        self.clock = Clock()
        self.store = SqliteStorage(self.folder, clock=self.clock)
        self.log: list[tuple[Key, Row]] = []
        self.state: State = {}
        self.etag = 0
        self.modified = 0
        self.kept = False
        self.not_kept = 0  # through here history was not kept, so no backup is waited for
        self.window: str | None = None
        self.expired: set[int] = set()
        self.backed_up = 0
        self.ever_backed_up = False
        self.begins = 0
        self.held: list[Held] = []
        self.indexed = False

    @initialize(kept=st.booleans(), window=st.sampled_from([None, None, "0s"]), indexed=st.booleans())
    def begin(self, kept: bool, window: str | None, indexed: bool) -> None:
        if kept or window:
            self.configure(kept, window)
        self.indexed = indexed
        if indexed:
            self.store.index_from = 0
            for query in QUERIES:
                with self.store.find(query) as found:
                    assert not found.plan.scanned

    # Writing

    @rule(step=steps)
    def write(self, step: Step) -> None:
        self._commit([step])

    @rule(steps=st.lists(steps, max_size=6))
    def write_several(self, steps: list[Step]) -> None:
        self._commit(steps)

    def _commit(self, steps: list[Step]) -> None:
        with self.store.pin() as snapshot:  # so that no tombstone expires between what is foreseen and the commit
            self._forget(snapshot)
            self._commit_pinned(steps)

    def _forget(self, snapshot: Snapshot) -> None:
        """Take out of the dict the tombstones that have expired, which only those may that are old enough."""
        self.store.commit([])  # one that had begun to expire before the pin is gone after this
        found = state_of(self.store, snapshot.etag)
        gone = {key: row for key, row in self.state.items() if key not in found}
        for key, row in gone.items():
            assert row.content is None
            assert row.etag <= snapshot.tombstones_from < self.etag
            assert self.window is not None
            assert not self.ever_backed_up or row.etag <= self.backed_up
            assert not self.kept or row.etag <= max(self.backed_up, self.not_kept)
            del self.state[key]
            self.expired.add(row.etag)

    def _commit_pinned(self, steps: list[Step]) -> None:
        after, conflict = self._foreseen(steps)
        writes = [self._write(step, self._expected(step)) for step in steps]
        try:
            written = self.store.commit(writes)
        except ConcurrencyConflict:
            for write in writes:
                if write.upload:
                    self.store.discard(write.upload)
            assert conflict
            return
        assert not conflict
        self.modified, previous = self.store.snapshot().modified, self.modified
        etag = self.etag
        for row, result in zip(after, written, strict=True):
            if row is None:
                assert (result.etag, result.existed) == (0, False)
                continue
            key, foreseen, existed = row
            assert result.etag > etag
            assert (result.id, result.existed) == (foreseen.id, existed)
            etag = result.etag
            self.state[key] = foreseen._replace(etag=etag, modified=self.modified)
            self.log.append((key, self.state[key]))
        if etag > self.etag:
            assert self.modified > previous
        else:
            assert self.modified == previous
        self.etag = etag

    def _foreseen(self, steps: list[Step]) -> tuple[list[tuple[Key, Row, bool] | None], bool]:
        """What each step will write, None for nothing, and whether one of them conflicts."""
        tentative, rows, conflict = dict(self.state), list[tuple[Key, Row, bool] | None](), False
        for step in steps:
            key = key_of(step.kind, step.id)
            old = tentative.get(key)
            actual = old.etag if old and old.content is not None else 0
            expected = self._expected(step)
            conflict = conflict or (expected is not None and expected != actual)
            if step.deletes and not actual:
                rows.append(None)
                continue
            collection = old.collection if step.deletes and old else step.collection
            content, metadata = (None, b"{}") if step.deletes else (CONTENTS[step.content], step.metadata)
            tentative[key] = Row(PENDING, old.id if old else step.id, collection, PENDING, metadata, content)
            rows.append((key, tentative[key], bool(actual)))
        return rows, conflict

    def _expected(self, step: Step) -> int | None:
        row = self.state.get(key_of(step.kind, step.id))
        there = row.etag if row and row.content is not None else 0
        return {"anything": None, "what is there": there, "nothing": 0, "what never was": WRONG}[step.expected]

    def _write(self, step: Step, expected: int | None) -> Write:
        if step.deletes:
            return Write(step.id, None, expected=expected, kind=step.kind)
        content = CONTENTS[step.content]
        if step.kind == DOCUMENT:
            return Write(step.id, content, step.metadata, step.collection, expected)
        upload = self.store.upload([content[:7], content[7:]])
        return Write(step.id, upload.sha256, step.metadata, step.collection, expected, ATTACHMENT, upload)

    # Writing together

    @rule(jobs=st.lists(jobs, min_size=2, max_size=6))
    def write_together(self, jobs: list[Job]) -> None:
        with self.store.pin() as snapshot:
            self._forget(snapshot)
            self.store.writer.submit(_refuse).result(PATIENCE)
            self._write_together(jobs)
            self.store.writer.submit(_refuse_no_more).result(PATIENCE)
        assert list(self.store.check()) == []
        assert [index.ready for index in self.store.writer.indexes.all] == [True] * 2 * self.indexed

    def _write_together(self, jobs: list[Job]) -> None:
        state, etag, foreseen = dict(self.state), self.etag, list[Foreseen]()
        for job in jobs:
            foreseen.append(found := self._after(state, etag, job))
            for written, key, row in found.outcome or ():
                etag = max(etag, written.etag)
                if row:
                    state[key] = row
        replaced = [dict[int, int]() for _ in jobs]
        futures = at_once(
            self.store,
            *(
                self._submitted(job.how, each.writes, told)
                for job, each, told in zip(jobs, foreseen, replaced, strict=True)
            ),
        )
        raised = set[int]()
        for job, each, told, future in zip(jobs, foreseen, replaced, futures, strict=True):
            error = future.exception(PATIENCE)
            if each.outcome is None:
                assert isinstance(error, ZeroDivisionError | MunimentError)
                assert id(error) not in raised  # whoever is told of it may add something
                raised.add(id(error))
                assert told == {}
                for write in each.writes:
                    if write.upload:
                        self.store.discard(write.upload)
                continue
            assert error is None
            assert future.result() == [written for written, _, _ in each.outcome]
            assert told == (each.replaced if job.how == "writes" else {})
            rows = [(key, row) for _, key, row in each.outcome if row]
            times = {logged[0] for _, row in rows if (logged := self.store.logged(row.etag))}
            assert len(times) == bool(rows)
            for modified in times:
                assert modified > self.modified
                self.modified = modified
            for key, row in rows:
                self.state[key] = row._replace(modified=self.modified)
                self.log.append((key, self.state[key]))
        self.etag = etag

    def _after(self, state: State, etag: int, job: Job) -> Foreseen:
        """What a job does to this state, which ends at this etag; what it expects to be there may be of others."""
        mine, writes, fails = dict(state), list[Write](), job.how in ("a job that fails", "writes that are refused")
        outcome, replaced = list[tuple[Written, Key, Row | None]](), dict[int, int]()
        for step in job.steps:
            key = key_of(step.kind, step.id)
            old = mine.get(key)
            actual = old.etag if old and old.content is not None else 0
            expected = {"anything": None, "what is there": actual, "nothing": 0, "what never was": WRONG}[step.expected]
            writes.append(self._write(step, expected))
            fails = fails or expected not in (None, actual)
            if step.deletes and not actual:
                outcome.append((Written(step.id, 0, False), key, None))
                continue
            etag += 1
            if old:
                replaced[etag] = old.etag
            collection = old.collection if step.deletes and old else step.collection
            content, metadata = (None, b"{}") if step.deletes else (CONTENTS[step.content], step.metadata)
            row = mine[key] = Row(etag, old.id if old else step.id, collection, PENDING, metadata, content)
            outcome.append((Written(row.id, etag, bool(actual)), key, row))
        if job.how == "writes that are refused":
            writes.append(Write(REFUSED, b"{}"))
        return Foreseen(writes, None if fails else outcome, replaced)

    def _submitted(
        self, how: str, writes: Sequence[Write], replaced: dict[int, int]
    ) -> Callable[[], Future[list[Written]]]:
        def job(transaction: Transaction) -> list[Written]:
            written = transaction.write(writes)
            if how == "a job that fails":
                raise ZeroDivisionError("a bug")
            return written

        if how.startswith("writes"):
            return lambda: self.store.submit(writes, replaced)
        return lambda: self.store.writer.submit(job)

    # Everything else that happens to a store

    @rule(content=contents)
    def upload_and_forget(self, content: str) -> None:
        self.store.upload([CONTENTS[content]])

    @rule(content=contents)
    def upload_and_discard(self, content: str) -> None:
        self.store.discard(self.store.upload([CONTENTS[content]]))

    @rule(seconds=st.sampled_from([-1_000_000_000, -1, 0, 1, 3600]))
    def set_the_clock(self, seconds: int) -> None:
        self.clock.now += seconds * 1_000_000

    @rule(kept=st.booleans(), window=st.sampled_from([None, "0s", "20s", "1h"]))
    def configure(self, kept: bool, window: str | None) -> None:
        with self.store.pin() as snapshot:
            self._forget(snapshot)  # by the settings that there were
            expiry = {} if window is None else {"Muniment/TombstoneWindow": window}
            self.store.configure({"Muniment/History": str(kept).lower(), **expiry})
            self.window = window
        self.store.purge()
        if not self.kept:
            self.not_kept = self.etag
        self.kept, self.begins = kept, self.store.snapshot().history_from
        assert self.store.history.kept == kept

    @rule(backed_up=st.booleans(), deleted=st.sets(ids, max_size=3))
    def let_tombstones_expire(self, backed_up: bool, deleted: set[str]) -> None:
        while self.held:
            self.unpin(0)
        for deletes in (False, True):
            self._commit([Step(deletes, DOCUMENT, id, "object", b"{}", None, "anything") for id in sorted(deleted)])
        if backed_up:
            self.back_up()
        self.configure(self.kept, "0s")
        with self.store.pin() as snapshot:
            self._forget(snapshot)
            held = self.backed_up if self.ever_backed_up or self.kept else self.etag
            left = [row.etag for row in self.state.values() if row.content is None]
            assert not [etag for etag in left if etag <= min(held, self.etag - 1)]

    @rule()
    def back_up(self) -> None:
        with self.store.pin() as snapshot:
            self._forget(snapshot)
            self.store.remember_backup("ab" * 32)
            self.store.backed_up(self.etag)
            self.backed_up, self.ever_backed_up = self.etag, True

    @precondition(lambda self: len(self.held) < 4)
    @rule(share=st.sampled_from([None, None, 0.0, 0.5, 1.0]))
    def pin(self, share: float | None) -> None:
        keep = None if share is None else int(self.etag * share)
        pin = self.store.pin(keep)
        snapshot = pin.__enter__()
        self._forget(snapshot)
        keeps = max(snapshot.history_from, self.etag if keep is None else keep)
        self.held.append(Held(pin, snapshot, dict(self.state), keeps))

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 3))
    def unpin(self, which: int) -> None:
        self.held.pop(which % len(self.held)).pin.__exit__(None, None, None)

    @rule()
    def purge(self) -> None:
        self.store.purge()
        assert self.store.purge() == 0

    @rule()
    def reopen(self) -> None:
        while self.held:
            self.unpin(0)
        left = self.store.snapshot()
        self.store.close()
        self.store = SqliteStorage(self.folder, clock=self.clock)
        found = self.store.snapshot()
        assert found == left
        assert found.history_from >= left.history_from
        assert self.store.history.kept == self.kept

    @rule(kind=st.sampled_from([DOCUMENT, ATTACHMENT]), id=ids, limit=st.sampled_from([1, 100]))
    def read(self, kind: int, id: str, limit: int) -> None:
        expected = sorted(row for (of, _), row in live(self.state).items() if of == kind)
        found = [row_of(self.store, revision) for revision in self.store.by_etag(kind, 0, limit)]
        assert found == expected[:limit]
        revision = self.store.get(kind, id)
        assert (revision and row_of(self.store, revision)) == live(self.state).get(key_of(kind, id))
        named = {key: row for (of, key), row in live(self.state).items() if of == kind and key.startswith(lowered(id))}
        found = [row_of(self.store, revision) for revision in self.store.by_prefix(kind, id, 0, limit)]
        assert found == [named[key] for key in sorted(named)][:limit]
        if kind == DOCUMENT:
            orders = [row for row in expected if row.collection and row.collection.lower() == "orders"]
            found = [row_of(self.store, revision) for revision in self.store.by_collection("Orders", 0, limit)]
            assert found == orders[:limit]

    # What always holds

    @invariant()
    def the_store_holds_what_the_dict_holds(self) -> None:
        with self.store.pin() as snapshot:
            assert (snapshot.etag, snapshot.modified) == (self.etag, self.modified)
            self._forget(snapshot)
            assert state_of(self.store, snapshot.etag) == self.state
            assert tallies(snapshot.fingerprint) == fingerprint_of(self.state)

    @invariant()
    def every_pin_holds_what_it_held(self) -> None:
        for held in self.held:
            upto = held.snapshot.etag
            assert state_of(self.store, upto) == held.state
            assert tallies(held.snapshot.fingerprint) == fingerprint_of(held.state)
            assert self._history(held.keeps, upto) == {r.etag: r for _, r in self.log if held.keeps < r.etag <= upto}

    @invariant()
    def history_is_whole_from_where_it_is_said_to_begin(self) -> None:
        with self.store.pin(0) as snapshot:
            self._forget(snapshot)
            begins = snapshot.history_from
            assert begins <= self.etag
            if self.kept:
                assert begins <= max(self.begins, self.backed_up)
            self.begins = begins
            found = self._history(0, self.etag)
            everything = {row.etag: row for _, row in self.log}
            assert found.items() <= everything.items()
            newest: dict[Key, int] = {}
            for key, row in self.log:
                if row.etag <= begins:
                    newest[key] = row.etag
            needed = {*newest.values(), *(etag for etag in everything if etag > begins)}
            assert found.keys() >= needed - self.expired

    def _history(self, after: int, upto: int) -> dict[int, Row]:
        documents = [r for batch in self.store.changes(after, upto, history=True) for r in batch]
        revisions = [*documents, *self.store.attachment_changes(after, upto, history=True)]
        return {revision.etag: row_of(self.store, revision) for revision in revisions}

    def teardown(self) -> None:
        try:
            while self.held:
                self.held.pop().pin.__exit__(None, None, None)
            self.store.purge()
            assert list(self.store.check()) == []
            self.the_store_holds_what_the_dict_holds()
        finally:
            self.store.close()
            shutil.rmtree(self.folder)


def _refuse(transaction: Transaction) -> None:
    transaction.connection.execute(
        "CREATE TEMP TRIGGER refuse BEFORE INSERT ON log"
        f" WHEN NEW.id = '{REFUSED}' BEGIN SELECT RAISE(ABORT, 'no'); END"
    )


def _refuse_no_more(transaction: Transaction) -> None:
    transaction.connection.execute("DROP TRIGGER refuse")


TestStore = torture(Store.TestCase)
TestStore.settings = settings(max_examples=count(15, whole=400), stateful_step_count=25)
