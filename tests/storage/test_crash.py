"""A process that writes is killed at a moment nobody chose; what it had acknowledged is there, and nothing is half.

Three threads of the child work through endless lists of writes, each on ids of its own, and tell through a pipe which
of them they have finished. So after the kill each thread's documents must be as its list leaves them after the last
write it told of, or after the one it was at. The child of the next round goes on from there, in the same database.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import struct
import threading
import time
from collections.abc import Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import pytest

from muniment import Delete, DocumentDatabase, Put
from muniment.errors import DatabaseLocked
from muniment.revision import ATTACHMENT, DOCUMENT
from tests.sampled import count, torture
from tests.storage.raw import number
from tests.storage.reference import live, state_now

THREADS = 3
ROUNDS = count(5, whole=40)
TOLD = struct.Struct("<BI")

Contents = dict[tuple[int, str], bytes]


class Step(NamedTuple):
    """What one thread does next: puts and deletes in one commit, or one attachment (None: deleted)."""

    commands: tuple[Put | Delete, ...] = ()
    attachment: tuple[str, bytes | None] | None = None
    pause: float = 0.0


def step(thread: int, n: int) -> Step:
    """The nth thing a thread does, the same in every process."""
    choose = random.Random(thread << 32 | n)
    kind = choose.choice(["put", "put", "put", "batch", "batch", "delete", "attachment", "pause"])
    if kind == "attachment":
        content = choose.randbytes(choose.choice([0, 10, 100_000, 1_500_000]))
        return Step(attachment=(f"{thread}/photo/{choose.randrange(4)}", choose.choice([content, content, None])))
    if kind == "pause":  # long enough for a purge to begin
        return Step((Put(f"{thread}/pause", {"n": n}),), pause=0.06)
    if kind == "put":
        return Step((_put(thread, choose.randrange(30), n, choose),))
    if kind == "delete":
        return Step((Delete(f"{thread}/{choose.randrange(30)}"),))
    return Step(tuple(_command(thread, m, n, choose) for m in choose.sample(range(200), choose.choice([2, 20, 150]))))


def _put(thread: int, m: int, n: int, choose: random.Random) -> Put:
    body = b'{"n":%d,"text":"%s"}' % (n, choose.randbytes(choose.choice([0, 100, 5_000])).hex().encode())
    return Put(f"{thread}/{m}", body, {"Raven-Entity-Name": f"C{m % 3}", "n": n})


def _command(thread: int, m: int, n: int, choose: random.Random) -> Put | Delete:
    return Delete(f"{thread}/{m}") if choose.random() < 0.2 else _put(thread, m, n, choose)


def after(contents: Contents, step: Step) -> Contents:
    """What a thread's documents and attachments are when it has taken this step."""
    new = dict(contents)
    for command in step.commands:
        if isinstance(command, Delete):
            new.pop((DOCUMENT, command.id), None)
        else:
            new[DOCUMENT, command.id] = (
                command.body if isinstance(command.body, bytes) else b'{"n":%d}' % command.body["n"]
            )
    if step.attachment:
        key, content = step.attachment
        if content is None:
            new.pop((ATTACHMENT, key), None)
        else:
            new[ATTACHMENT, key] = content
    return new


def write_forever(folder: Path, begins: list[int], pipe: Connection) -> None:
    """The child: each thread tells of each step when the database has acknowledged it."""
    database = DocumentDatabase(folder)
    database.configure({"Muniment/TombstoneWindow": "0s"})  # so that it dies while tombstones expire too
    os.write(pipe.fileno(), TOLD.pack(255, 0))
    for thread, begin in enumerate(begins):
        threading.Thread(target=_work, args=(database, thread, begin, pipe.fileno())).start()


def _work(database: DocumentDatabase, thread: int, begin: int, pipe: int) -> None:
    n = begin
    while True:
        now = step(thread, n)
        if now.attachment:
            key, content = now.attachment
            if content is None:
                database.delete_attachment(key)
            else:
                database.put_attachment(key, iter([content[:70_000], content[70_000:]]))
        else:
            database.batch(now.commands)
        n += 1
        os.write(pipe, TOLD.pack(thread, n))  # in one piece, as it is shorter than PIPE_BUF
        time.sleep(now.pause)


def run_and_kill(folder: Path, begins: list[int], steps: int) -> list[int]:
    """Let a child write until so many steps were told, kill it, and return how far each thread told it had come."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=write_forever, args=(folder, begins, theirs), daemon=True)
    child.start()
    theirs.close()
    told = list(begins)
    reader = _told(ours.fileno())
    assert next(reader) == (255, 0)
    for heard, (thread, n) in enumerate(reader, 1):
        assert n == told[thread] + 1
        told[thread] = n
        if heard == steps:
            child.kill()  # wherever its threads are now
    child.join()
    ours.close()
    assert child.exitcode == -9
    return told


def _told(pipe: int) -> Iterator[tuple[int, int]]:
    """What the child wrote, until its end of the pipe is gone; the last piece may be short."""
    waiting = b""
    for piece in iter(partial(os.read, pipe, 65536), b""):
        waiting += piece
        whole = len(waiting) // TOLD.size * TOLD.size
        yield from TOLD.iter_unpack(waiting[:whole])
        waiting = waiting[whole:]


def found_in(database: DocumentDatabase) -> list[Contents]:
    """What is in the database, thread by thread, by every way of reading it."""
    found: list[Contents] = [{} for _ in range(THREADS)]
    for (kind, id), row in live(state_now(database.storage)).items():
        found[int(id[0])][kind, id] = row.content or b""
    documents = {document.id: document.body for document in database.by_etag(limit=100_000)}
    assert documents == {id: body for part in found for (kind, id), body in part.items() if kind == DOCUMENT}
    for attachment in database.attachments(limit=1000):
        assert attachment.read() == found[int(attachment.key[0])][ATTACHMENT, attachment.key]
    assert database.statistics().attachments == sum(kind == ATTACHMENT for part in found for kind, _ in part)
    return found


@torture
def test_a_killed_process_leaves_what_it_acknowledged_and_nothing_half(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    choose = random.Random(20261122)
    done, expected = [0] * THREADS, [Contents() for _ in range(THREADS)]
    in_flight = 0
    for _ in range(ROUNDS):
        told = run_and_kill(folder, done, choose.randrange(1, 60))
        with DocumentDatabase(folder, create=False) as database:  # the lock is free
            assert database.check() == []
            assert number(folder, "SELECT count(*) FROM content WHERE staged") == 0
            found = found_in(database)
            for thread in range(THREADS):
                for n in range(done[thread], told[thread]):
                    expected[thread] = after(expected[thread], step(thread, n))
                done[thread] = told[thread]
                if found[thread] != expected[thread]:
                    expected[thread] = after(expected[thread], step(thread, told[thread]))
                    done[thread] += 1
                    in_flight += 1
                assert found[thread] == expected[thread]
            database.put(f"0/{folder.name}", {})
            database.delete(f"0/{folder.name}")
    assert in_flight < sum(done)


@torture
def test_a_database_that_is_being_made_is_there_or_not(tmp_path: Path) -> None:
    """Killed in its very first moments, a process leaves no database or a whole one."""
    choose = random.Random(7)
    context = multiprocessing.get_context("spawn")
    whole = 0
    for n in range(count(4, whole=60)):
        folder = tmp_path / f"shop-{n}"
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=make, args=(folder, theirs), daemon=True)
        child.start()
        theirs.close()
        ours.recv_bytes()
        time.sleep(choose.uniform(0, 0.008))
        child.kill()
        child.join()
        ours.close()
        whole += (folder / "muniment.db").exists()
        with DocumentDatabase(folder) as database:
            assert database.check() == []
            database.put("a", {})
    assert whole <= count(4, whole=60)


def make(folder: Path, pipe: Connection) -> None:
    pipe.send_bytes(b"now")
    with DocumentDatabase(folder):
        time.sleep(60)


def test_a_killed_reader_does_not_hold_anything(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with DocumentDatabase(tmp_path) as database:
        for n in range(200):
            database.put(f"orders/{n}", {"n": n})
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=read_forever, args=(tmp_path, theirs), daemon=True)
        child.start()
        theirs.close()
        ours.recv_bytes()
        child.kill()
        child.join()
        ours.close()
        database.put("orders/1", {"n": "again"})
        with pytest.raises(DatabaseLocked):
            DocumentDatabase(tmp_path)
        assert database.check() == []
    with DocumentDatabase(tmp_path) as database:
        assert database.statistics().documents == 200


def read_forever(folder: Path, pipe: Connection) -> None:
    with DocumentDatabase(folder, read_only=True) as database:
        database.by_etag(limit=1000)
        pipe.send_bytes(b"reading")
        while True:
            database.by_etag(limit=1000)
