"""Recipients of encrypted backups are added and removed, whatever interrupts that."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase
from muniment.backup import wrapped_keys
from muniment.backup.recipients import Held, add_recipients, recipients_of, remove_recipient
from muniment.backup.repository import backups
from muniment.errors import BackupNotFound, Conflict, InvalidInput, NotFound, WrongKey
from muniment.security import recipients
from muniment.security.keyring import Keyring, Protection
from muniment.security.recipients import Identity, Key, Passphrase, Stretched
from tests.backup.child import KILLED, fork, wait_for

MINE, NEW = Identity(b"m" * 32), Key(b"n" * 32)
RING, NEW_RING = Keyring((MINE,)), Keyring((NEW,))
NAME = str(MINE.recipient)
NEW_NAME = f"key-{NEW.id}"


@pytest.fixture
def place(small: DocumentDatabase, tmp_path: Path) -> Path:
    place = tmp_path / "backups"
    for _ in range(3):
        small.maintenance.start_backup(place, protection=Protection((MINE.recipient,))).wait()
    small.close()
    return place


def _opened(place: Path, keyring: Keyring) -> list[bool]:
    found = backups(place, keyring)
    assert len(found) == 3
    assert not found.unusable
    return [backup.locked is None for backup in found]


def _killed_at(step: int, work: Callable[[], object]) -> int:
    """Do this in a process that is killed when it brings something to disk for the so manyth time."""

    def child() -> None:
        steps, fsync = count(1), os.fsync

        def counted(descriptor: Any) -> None:
            if next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            fsync(descriptor)

        os.fsync = counted  # type: ignore[assignment]
        work()

    return wait_for(fork(child))


def test_who_adds_or_removes_may_be_killed_at_any_step_and_do_it_again(place: Path) -> None:
    for work, wanted in (
        (lambda: add_recipients(place, Protection((NEW,)), RING), [True] * 3),
        (lambda: remove_recipient(place, NEW_NAME, RING), [False] * 3),
    ):
        seen = set()
        for step in count(1):
            code = _killed_at(step, work)
            assert _opened(place, RING) == [True] * 3  # at no moment is one lost
            seen.add(tuple(_opened(place, NEW_RING)))
            if code == 0:
                break
            assert code == KILLED
        assert _opened(place, NEW_RING) == wanted
        assert len(seen) > 2
        assert not list(place.glob("*/*.unfinished"))


def test_nothing_is_changed_where_one_of_the_backups_cannot_be_opened(place: Path, tmp_path: Path) -> None:
    path = backups(place)[1].folder / wrapped_keys.NAME
    add_recipients(place, Protection((NEW,)), RING)
    both = path.read_bytes()
    remove_recipient(place, NEW_NAME, RING)
    before = path.read_bytes()
    path.write_bytes(both)
    with pytest.raises(WrongKey):
        add_recipients(place, Protection((Passphrase("more"),)), NEW_RING)
    assert len(recipients_of(place)) == 2
    path.write_bytes(before)
    with pytest.raises(NotFound):
        remove_recipient(place, "nobody", RING)
    with pytest.raises(Conflict, match="only recipient"):
        remove_recipient(place, NAME, RING)
    assert recipients_of(place) == [Held(NAME, tuple(backup.name for backup in backups(place)))]
    (tmp_path / "empty").mkdir()
    with pytest.raises(BackupNotFound):
        recipients_of(tmp_path / "empty")


def test_a_passphrase_that_is_added_has_one_salt_for_all_and_is_not_added_twice(place: Path) -> None:
    words = Protection((Passphrase("correct horse"),))
    assert len(add_recipients(place, words, RING)) == 3
    assert add_recipients(place, words, RING) == []
    assert len(recipients_of(place)) == 2
    assert _opened(place, words.keyring) == [True] * 3


def test_what_is_added_is_inherited_and_what_is_removed_is_not(small: DocumentDatabase, tmp_path: Path) -> None:
    place, key = tmp_path / "backups", Protection((NEW,))
    small.maintenance.start_backup(place, protection=key).wait()
    changes: list[tuple[Callable[[], object], set[str]]] = [
        (lambda: add_recipients(place, Protection((MINE.recipient,)), NEW_RING), {NEW_NAME, NAME}),
        (lambda: remove_recipient(place, NAME, NEW_RING), {NEW_NAME}),
    ]
    for change, wanted in changes:
        change()
        small.put("more", {})
        for incremental in (True, False):
            taken = small.maintenance.start_backup(place, incremental=incremental, protection=key).wait()
            assert {each.name for each in taken.wrapped_keys().recipients} == wanted


def test_nobody_is_removed_by_who_opens_nothing(place: Path) -> None:
    add_recipients(place, Protection((NEW,)), RING)
    before = {path: path.read_bytes() for path in place.rglob("*.json")}
    with pytest.raises(WrongKey):
        remove_recipient(place, NEW_NAME, Keyring())
    assert {path: path.read_bytes() for path in place.rglob("*.json")} == before


def test_more_passphrases_than_a_reader_takes_are_not_added(place: Path) -> None:
    words = tuple(Passphrase(f"word {n}", Stretched(bytes([n]) * 16, memory_kib=64)) for n in range(9))
    derived = recipients._stretch.cache_info().misses
    for adding in (words, words[5:]):  # the second time, six of the nine are there
        before = {path: path.read_bytes() for path in place.rglob("*.json")}
        with pytest.raises(InvalidInput, match="more than 8 passphrases"):
            add_recipients(place, Protection(adding), RING)
        assert {path: path.read_bytes() for path in place.rglob("*.json")} == before
        if adding == words:
            assert recipients._stretch.cache_info().misses == derived
            add_recipients(place, Protection(words[:6]), RING)
    add_recipients(place, Protection(words[4:8]), RING)
    assert add_recipients(place, Protection(words[:8]), RING) == []
