"""What the child processes of `test_workers.py` do."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from muniment.errors import Cancelled, ConcurrencyConflict
from muniment.workers import Parent


class Text(msgspec.Struct, tag=True):
    text: str


class Content(msgspec.Struct, tag=True):
    content: bytes


def echo(parent: Parent) -> None:
    while True:
        parent.say(parent.hear(Text | Content))  # type: ignore[arg-type]


def say_again(parent: Parent) -> None:
    parent.say(parent.hear(Content))


def tell_of_itself(parent: Parent) -> None:
    descriptors = sorted(int(file.name) for file in Path("/proc/self/fd").iterdir())[:-1]  # the last is of the listing
    parent.say(Text(f"{','.join(map(str, descriptors))} {os.nice(0)} {os.getsid(0) == os.getpid()}"))


def tell_the_rate(parent: Parent) -> None:
    parent.hear(Text)
    parent.say(Text(str(parent.progress.limits.read_rate)))


def conflict(parent: Parent) -> None:
    parent.say(Text("so far"))
    raise ConcurrencyConflict("a/1", 3, 4)


def break_down(parent: Parent) -> None:
    raise RuntimeError("boom")


def die(parent: Parent) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_a_frame(parent: Parent) -> None:
    sys.stdout.buffer.write(b"\0\0\1\0half")
    sys.stdout.buffer.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def hang_in_a_frame(parent: Parent) -> None:
    sys.stdout.buffer.write(b"\0\0\1\0half")
    sys.stdout.buffer.flush()
    os.kill(os.getpid(), signal.SIGSTOP)


def count(parent: Parent) -> None:
    with parent.reporting() as progress:
        progress.stage = "counting"
        progress.total_documents = 7
        progress.advance(documents=3, bytes=5)
        parent.hear(Text)
        progress.advance(documents=4)
    parent.say(Text("done"))


def clean_up(parent: Parent) -> None:
    """Makes a file while it works, and removes it when it is to stop."""
    made = Path(parent.hear(Text).text)
    made.touch()
    parent.say(Text("made"))
    try:
        while True:
            parent.progress.check()
            time.sleep(0.01)
    except Cancelled:
        made.unlink()
        raise
