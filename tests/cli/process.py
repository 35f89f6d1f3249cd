"""The command as a user runs it: a process of its own, with pipes or with a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.starter import PATIENCE, Forked

COMMAND: Final = (sys.executable, "-m", "muniment")
PROGRAM: Final = "import sys; from muniment.__main__ import main; sys.exit(main())"
_HELD: Final = """
import time
from muniment.progress import Progress
count = Progress.count
def count_and_stand_still(self, **done):
    count(self, **done)
    while self.stage == {stage!r} and self.documents:
        self.check()
        time.sleep(0.01)
Progress.count = count_and_stand_still
"""


@dataclass(frozen=True)
class Ended:
    """What became of a process; `out` and `err` are what it said."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


def muniment(*arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Ended:
    """Run a command to its end, without a terminal."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given, env = list(map(str, arguments)), environment(**(env or {}))
        process = Forked(PROGRAM, given, cwd=cwd, env=env, out=out.fileno(), err=err.fileno())
        code = process.wait(PATIENCE)
        for said in (out, err):
            said.seek(0)
        return Ended(code, out.read(), err.read().decode())


def environment(**more: str) -> dict[str, str]:
    """This process's, without what would colour the output or change its width."""
    unwanted = (
        "NO_COLOR",
        "FORCE_COLOR",
        "GITHUB_ACTIONS",
        "PY_COLORS",
        "COLUMNS",
        "MUNIMENT_DEBUG",
        "MUNIMENT_API_KEY",
    )
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return {**kept, "TERM": "xterm-256color", "COLUMNS": "120", **more}


def on_terminal(
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    seen: Callable[[str], bool] = lambda _: False,
    then: Callable[[Forked], object] = lambda _: None,
    stdout: bool = False,
    typed: str | None = None,
    again: tuple[str, str] | None = None,
    before: str = "",
) -> Ended:
    """Run a command with a pseudo-terminal as stderr (and stdout too, if wanted).

    As soon as what it shows there satisfies `seen`, `then` is done to the process, and what is to be `typed` is; only
    then stdin is the terminal too. `again` is what is shown then, and what is typed to that. The process runs the code
    `before` first.
    """
    ours, theirs = pty.openpty()
    with tempfile.TemporaryFile() as out:
        process = Forked(
            f"{before}\n{PROGRAM}",
            list(map(str, arguments)),
            env=environment(**(env or {})),
            into=None if typed is None else theirs,
            out=theirs if stdout else out.fileno(),
            err=theirs,
        )
        os.close(theirs)
        shown, waiting, deadline = "", True, time.monotonic() + PATIENCE
        while data := _read(ours):
            shown += data.decode(errors="replace")
            if waiting and seen(shown):
                waiting = False
                then(process)
                if typed is not None:
                    os.write(ours, typed.encode())
            elif again and again[0] in shown:
                os.write(ours, again[1].encode())
                again = None
            assert time.monotonic() < deadline, shown
        code = process.wait(PATIENCE)
        os.close(ours)
        out.seek(0)
        return Ended(code, out.read(), shown)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # how Linux says that nobody has the other end open any more
        return b""


def held(stage: str) -> str:
    """What makes a job of the process itself stand still, once it has counted documents in this stage, until it is to
    stop: so it is in the middle of it however fast it is and however late a test looks.
    """
    return _HELD.format(stage=stage)


def interrupted(*arguments: str | Path, stage: str, number: signal.Signals = signal.SIGINT) -> Ended:
    """Run a command on a terminal, and send it this signal when it shows that it is in the middle of this stage."""
    middle = re.compile(rf"{stage} [^\r]*?\b[1-9][\d,]*(/[\d,]+)? documents")
    ended = on_terminal(
        *arguments,
        seen=lambda shown: bool(middle.search(shown)),
        then=lambda process: process.send_signal(number),
        before=held(stage),
    )
    assert middle.search(ended.err)
    return ended
