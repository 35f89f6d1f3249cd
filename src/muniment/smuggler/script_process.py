"""The process in which a transform script runs. It is started by `script.py`, and imports nothing of Muniment.

From stdin it reads the limits, the JavaScript around the script and the script itself, then documents, and answers
each on stdout, all in the frames of `workers.py`. It has no other way out: QuickJS as embedded here has no files, no
network and no timers. QuickJS limits memory and processor time; if a script is where QuickJS does not check the clock,
the kernel ends this process a second later.
"""

from __future__ import annotations

import signal
import struct
import sys
from typing import Any

import quickjs

STACK_BYTES = 2 << 20
KILL_SECONDS = 1.0


def _read(count: int) -> list[str] | None:
    """`count` strings, each after its length; None at the end, when the parent has closed the pipe or died."""
    strings = []
    for _ in range(count):
        head = sys.stdin.buffer.read(4)
        if len(head) < 4:
            return None
        strings.append(sys.stdin.buffer.read(struct.unpack("!I", head)[0]).decode())
    return strings


def _answer(text: str) -> None:
    data = text.encode("utf-8", "replace")
    rest = memoryview(struct.pack("!I", len(data)) + data)
    while rest:  # with PYTHONUNBUFFERED each write takes what the system takes at once
        rest = rest[sys.stdout.buffer.write(rest) :]
    sys.stdout.buffer.flush()


def _timed(seconds: float, function: Any, *arguments: str) -> Any:
    signal.setitimer(signal.ITIMER_PROF, seconds + KILL_SECONDS)
    try:
        return function(*arguments)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _failure(error: Exception, seconds: float) -> str:
    text = str(error).partition("\n")[0]
    return f"!it ran for more than {seconds:g} s" if "interrupted" in text else f"!{text}"


def main() -> None:
    """Run one script on documents until the parent closes the pipe."""
    begin = _read(4)
    assert begin is not None
    seconds, memory = float(begin[0]), int(begin[1])
    context = quickjs.Context()
    context.set_memory_limit(memory)
    context.set_time_limit(seconds)
    context.set_max_stack_size(STACK_BYTES)
    try:
        run = _timed(seconds, context.eval(begin[2]), begin[3])
    except Exception as error:
        _answer(_failure(error, seconds))
        return
    _answer("=")
    while (parts := _read(5)) is not None:
        try:
            answer = _timed(seconds, run, *parts)
        except Exception as error:
            answer = _failure(error, seconds)
        _answer(answer)


if __name__ == "__main__":
    main()
