"""Running a program of somebody else's: it has so long, and what it began ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

MOST_SAID: Final = 500


def run_program(words: Sequence[str], *, seconds: float, given: bytes = b"") -> tuple[int, str]:
    """Its exit code, and the last of what it said. `given` is on its input.

    Raises `TimeoutError` when it has not ended in that time, and then it and all that it began are killed; and
    `OSError` when there is no such program.
    """
    # What it says goes into a file: a pipe would be held open by whatever it has left behind.
    with tempfile.TemporaryFile() as said:
        started = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            started.communicate(given, seconds)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"{words[0]} did not end within {seconds:g} s") from error
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(started.pid, signal.SIGKILL)
            started.wait()
        said.seek(0)
        return started.returncode, said.read().decode(errors="replace").strip()[-MOST_SAID:]
