"""Every way in which a command ends, as an exit code and words for people."""

from __future__ import annotations

from collections.abc import Callable

import typer

from muniment.cli.interrupts import Stopped, interrupts
from muniment.cli.output import complain, open_streams
from muniment.errors import Cancelled, InvalidInput, MunimentError


class UsageError(InvalidInput):
    """The command line can not be understood."""


class Unexpected(MunimentError):
    """A bug."""


def outcome(command: Callable[[], int | None], *, as_json: bool = False, debug: bool = False) -> int:
    """Run this and return the exit code: its own, or that of the error it raised, which is told to the user."""
    open_streams()
    interrupts.install()
    try:
        return command() or 0
    except SystemExit as error:  # typer's own answer to a reader of its help who has gone away
        return error.code if isinstance(error.code, int) else 1
    except BaseException as error:
        told = explained(error)
        complain(told, as_json=as_json, debug=debug)
        return interrupts.exit_code if isinstance(told, Cancelled) else told.exit_code


def explained(error: BaseException) -> MunimentError:
    """The error of ours that says what happened and what to do next; its cause is the error itself."""
    told: MunimentError
    match error:
        case MunimentError():
            return error
        case Stopped() | KeyboardInterrupt():
            told = Cancelled("stopped", "run it again; nothing half done was left")
        case typer.TyperException():
            told = UsageError(_sentence(error.format_message()), _usage_hint(error))
        case _:
            told = Unexpected(
                f"something unexpected happened: {error!r}",
                "please report this, with what it says when it is run with MUNIMENT_DEBUG=1",
            )
    told.__cause__ = error
    return told


def _sentence(text: str) -> str:
    text = text.strip().removesuffix(".")
    return text[:1].lower() + text[1:]


def _usage_hint(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f"see `{context.command_path if context else 'muniment'} --help`"
