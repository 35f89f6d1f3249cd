"""Any history of writes, purges, backups and restores against a plain dict."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from muniment import Delete, DocumentDatabase, MaintenanceActions, Put
from muniment.backup.repository import Backup
from muniment.command import Command
from muniment.document import collection_of, fold, to_microseconds
from muniment.errors import ConcurrencyConflict
from muniment.revision import ATTACHMENT, DOCUMENT
from tests.backup import awkward
from tests.backup.clock import Clock
from tests.backup.state import Item, State, opened, state_of

MEMORY = Path("/dev/shm")  # where there is no disk to wait for

# Few ids, so that they are often replaced and deleted; some are the same in another case.
ids = st.sampled_from(["a", "A", "b", "orders/1", "Orders/1", "straße", "STRASSE", "nul\0", "İ", "'%_"])
metadata = st.sampled_from(awkward.METADATA)
contents = st.binary(max_size=50) | st.sampled_from([1 << 20, (1 << 20) + 1]).map(bytes)
commands: st.SearchStrategy[Command] = st.builds(Put, ids, awkward.bodies, metadata) | st.builds(Delete, ids)


@dataclass
class Taken:
    """A backup and what it must restore to."""

    backup: Backup
    state: State
    lineage: str


class Rehearsal(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(mkdtemp(prefix="muniment-rehearsal-", dir=MEMORY if MEMORY.is_dir() else None))
        self.clock = Clock()
        self.database = DocumentDatabase(self.folder / "shop", clock=self.clock)
        self.database_id = self.database.storage.identity.database_id
        self.model: State = {}
        self.etag = 0
        self.modified = 0
        self.taken: list[Taken] = []
        self.places = 0

    def place(self) -> Path:
        self.places += 1
        return self.folder / str(self.places)

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
        written = self.database.put_attachment(key, content, metadata)
        assert written.etag == self.apply(ATTACHMENT, key, metadata, content)
        self.read_times()

    @rule(key=ids)
    def detach(self, key: str) -> None:
        assert self.database.delete_attachment(key) == bool(self.apply(ATTACHMENT, key, b"{}", None))
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

    @rule()
    def back_up(self) -> None:
        backup = self.database.maintenance.start_backup(self.place()).wait()
        assert backup.manifest.snapshot.etag == self.etag
        self.taken.append(Taken(backup, dict(self.model), self.database.storage.identity.lineage))

    def restore(self, taken: Taken, defrag: bool = False) -> Path:
        target = self.place()
        restored = MaintenanceActions.restore(taken.backup.folder, target, defrag=defrag)
        assert restored.fingerprint == MaintenanceActions.verify(taken.backup.folder.parent).fingerprint
        with opened(target, self.clock) as database:
            assert self.expected(state_of(database)) == taken.state
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
        self.database.close()
        self.database = DocumentDatabase(target, create=False, clock=self.clock)
        self.model = dict(taken.state)
        self.etag = taken.backup.manifest.snapshot.etag
        self.modified = self.database.snapshot().modified

    @invariant()
    def the_database_is_the_model(self) -> None:
        assert self.expected(state_of(self.database)) == self.model
        assert self.database.snapshot().etag == self.etag

    def teardown(self) -> None:
        try:
            assert self.database.check() == []
            for taken in self.taken[-2:]:
                self.restore(taken)
        finally:
            self.database.close()
            shutil.rmtree(self.folder)


TestRehearsal = Rehearsal.TestCase
TestRehearsal.settings = settings(
    deadline=None,
    max_examples=60,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
