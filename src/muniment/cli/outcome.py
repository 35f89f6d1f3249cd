"""Every way in which a command ends, as an exit code and words for people."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import typer

from muniment.cli.interrupts import Stopped, interrupts
from muniment.cli.output import Failure, complain, open_streams
from muniment.errors import Cancelled, MunimentError, StorageFailure

UNEXPECTED: Final = 1
USAGE: Final = 2


def outcome(command: Callable[[], int | None], *, as_json: bool = False, debug: bool = False) -> int:
    """Run this and return the exit code: its own, or that of the error it raised, which is told to the user."""
    open_streams()
    interrupts.install()
    try:
        try:
            return command() or 0
        finally:
            interrupts.end()
    except SystemExit as error:
        if error.code == UNEXPECTED and isinstance(error.__context__, BrokenPipeError):
            return 0  # typer's own answer to a reader of its help who has gone away, which is no error
        return error.code if isinstance(error.code, int) else UNEXPECTED
    except BaseException as error:
        failure = explained(error)
        complain(failure, as_json=as_json, traceback_of=error if debug else None)
        return failure.exit_code


def explained(error: BaseException) -> Failure:
    """What happened and what to do next."""
    match error:
        case Cancelled():
            return Failure("Cancelled", error.message, error.hint, interrupts.exit_code)
        case MunimentError():
            return Failure.of(error)
        case Stopped() | KeyboardInterrupt():
            hint = "nothing half done was left; see whether it was done already, and else run it again"
            return Failure("Cancelled", "stopped", hint, interrupts.exit_code)
        case typer.TyperException():
            return Failure("UsageError", _usage_text(error), _usage_hint(error), USAGE)
        case OSError() if error.filename is not None and error.strerror:
            said = f"{error.filename} cannot be used: {error.strerror}"
            return Failure("StorageFailure", said, "check the name, and that you may use it", StorageFailure.exit_code)
        case _:
            hint = "please report this, with what it says when it is run with MUNIMENT_DEBUG=1"
            return Failure("Unexpected", f"unexpected error: {error!r}", hint, UNEXPECTED)


def _usage_text(error: typer.TyperException) -> str:
    """What is wrong with a command line, as one of our own errors would say it."""
    text = error.format_message().strip().removesuffix(".")
    text = re.sub(r"is not a valid int(eger| range)", "is not a whole number", text)
    text = re.sub(r"is not in the range x>=(\d+)", r"is less than \1", text)
    return text[:1].lower() + text[1:]


def _usage_hint(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f"see `{context.command_path if context else 'muniment'} --help`"
