"""What a command says: on stdout facts, as text for people or as one JSON object; on stderr what went wrong."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from getpass import getpass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import msgspec
import typer

from muniment.amounts import count_text as count_text
from muniment.amounts import seconds_text as seconds_text
from muniment.amounts import size_text as size_text
from muniment.amounts import speed_text as speed_text
from muniment.amounts import took_text as took_text
from muniment.cli.interrupts import Stopped, interrupts
from muniment.durable import write_all
from muniment.errors import Cancelled, InvalidInput, MunimentError, StorageFailure
from muniment.later import Later

if TYPE_CHECKING:
    from rich import console as rich_console
    from rich import text as rich_text
else:  # most commands say nothing there
    rich_console, rich_text = Later("rich.console"), Later("rich.text")


class Aside:
    """stderr for what is told beside the work, which goes on and ends as it would: what cannot be written is left out.

    Neither Python nor rich leaves that out by itself: the one ends with code 120, the other with code 1.
    """

    def __init__(self) -> None:
        # As it is now: while a line is drawn on it, rich puts something in its place that prints through this.
        self._stderr = sys.stderr

    def write(self, text: str) -> int:
        """Write what can be written."""
        with self._leaving_out():
            self._stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """Write now what can be written."""
        with self._leaving_out():
            self._stderr.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stderr.isatty()

    def fileno(self) -> int:
        """The descriptor of stderr."""
        return self._stderr.fileno()

    @property
    def encoding(self) -> str:
        """How stderr spells its text."""
        return self._stderr.encoding

    @contextmanager
    def _leaving_out(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())


def aside() -> rich_console.Console:
    """What prints on stderr, and leaves out what cannot be printed."""
    return rich_console.Console(file=cast(IO[str], Aside()), highlight=False, soft_wrap=True, emoji=False)


def open_streams() -> None:
    """Have somewhere to write to when the process was started with stdout or stderr closed (`>&-`).

    Otherwise the next file to be opened, a database say, would take the place of stdout.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - for the rest of the process


def emit_json(facts: Mapping[str, Any]) -> None:
    """Print one JSON object on one line, in UTF-8 whatever the terminal speaks."""
    # A path that is not Unicode has lone surrogates in Python; a backslash makes valid JSON escapes of them.
    text = json.dumps(msgspec.to_builtins(facts), ensure_ascii=False)
    write(text.encode(errors="backslashreplace") + b"\n")


def write(data: bytes) -> None:
    """Put these bytes on stdout now; a reader who has gone away is no error, a disk that is full is one."""
    try:
        sys.stdout.flush()
        write_all(sys.stdout.buffer, data)
        sys.stdout.buffer.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would try once more at its end
        if not isinstance(error, BrokenPipeError):
            raise StorageFailure(
                f"the output could not be written: {error.strerror}",
                "what the command did is done; see where its output goes",
            ) from error


@dataclass(frozen=True, slots=True)
class Failure:
    """What failed, in words for people: the name of its class, a message, and what to do next."""

    type: str
    message: str
    hint: str
    exit_code: int

    @classmethod
    def of(cls, error: MunimentError) -> Failure:
        """What an error of the library says."""
        return cls(type(error).__name__, error.message, error.hint, error.exit_code)


def complain(
    failure: Failure,
    *,
    facts: Mapping[str, Any] | None = None,
    as_json: bool = False,
    traceback_of: BaseException | None = None,
) -> None:
    """Say on stderr in two lines what failed and what to do next, and if wanted on stdout as one JSON object too."""
    if as_json:
        with suppress(StorageFailure):  # stdout may be what failed
            emit_json({**(facts or {}), "error": failure.message, "hint": failure.hint, "type": failure.type})
    console = aside()
    if traceback_of:
        console.file.write("".join(traceback.format_exception(traceback_of)))
    console.print(rich_text.Text.assemble(("error: ", "bold red"), failure.message))
    if failure.hint:
        console.print(rich_text.Text.assemble(("hint: ", "bold"), failure.hint))


def may_ask() -> bool:
    """Whether somebody is there who can be asked."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def check_meant(what: str, *, yes: bool) -> None:
    """Raises `InvalidInput` for what cannot be taken back, unless `--yes` says so or somebody can be asked."""
    if not (yes or may_ask()):
        raise InvalidInput(f"{what}, and nobody is at a terminal to confirm it", "give --yes if that is meant")


def confirm(question: str) -> None:
    """Ask on the terminal; raises `Cancelled` unless the answer is yes."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Cancelled("it was not confirmed, so nothing was changed", "answer y, or give --yes")


@cache
def ask_secret(what: str) -> str:
    """Ask on the terminal for what nobody else should see; it is asked for once, however often it is needed.

    Raises `InvalidInput` if nobody is there to ask.
    """
    if not may_ask():
        raise InvalidInput(
            f"{what} is to be asked for, and nobody is at a terminal", "give it in a file, or in the environment"
        )
    given = getpass(f"{what}: ", sys.stderr).strip()
    if not given:
        raise InvalidInput(f"{what} was not given", "type it, and press Enter")
    return given


def ask_new_secret(what: str) -> str:
    """Ask on the terminal, twice, for a secret that is new; raises `InvalidInput` if it is not the same both times."""
    given = ask_secret(what)
    if getpass(f"{what} again: ", sys.stderr).strip() != given:
        raise InvalidInput(f"{what} was not the same both times, so nothing was changed", "try again")
    return given


def note(text: str) -> None:
    """Say on stderr how something was understood."""
    aside().print(rich_text.Text.assemble(("note: ", "bold"), text))


def wait_for_key() -> None:
    """Wait until somebody presses a key, if anybody can."""
    if may_ask():
        with suppress(OSError, KeyboardInterrupt, EOFError, Stopped):
            interrupts.install()
            print("press any key", end="", file=sys.stderr, flush=True)
            typer.getchar()
            print(file=sys.stderr)
