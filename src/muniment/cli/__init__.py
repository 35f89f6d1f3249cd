"""The command `muniment`: each command parses, makes one call to the library, and prints what holds now."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from muniment.cli.backup import backup, restore, verify
from muniment.cli.database import check, get, statistics
from muniment.cli.outcome import USAGE, outcome
from muniment.cli.sample import sample
from muniment.cli.smuggler import smuggler_in
from muniment.version import VERSION

__all__ = ["app", "main"]

_HELP = """Muniment: a document database with backup and restore that can be trusted.

A database is a folder. Commands print what holds now on stdout, progress and errors on stderr.

$ muniment sample shop --documents 20000
$ muniment backup shop --dest backups
$ muniment restore backups --to shop-restored
$ muniment statistics shop-restored
"""
_EPILOG = """Exit codes:
  0  done
  1  failed in a way that nobody foresaw
  2  the command line, or what was given with it, is not acceptable
  3  there is no such document, database or backup
  4  something is already there, or has changed
  5  a backup, dump or database is damaged
  6  the format is unknown, or newer than this software
  7  another process has it open
  8  the system refused: disk full, no permission, an I/O error
  9  no server answered
  130, 143, 129  stopped by Ctrl-C, SIGTERM, SIGHUP; nothing half done is left

With --json, stdout is one JSON object, after an error too: error, hint, kind.
"""


def _flowing(text: str) -> str:
    """The paragraphs each on one line, so that the terminal's width decides where they break; examples as they are."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(text if text.startswith("$") else text.replace("\n", " ") for text in paragraphs)


app = typer.Typer(
    help=_HELP, epilog=_EPILOG, rich_markup_mode="rich", pretty_exceptions_enable=False, invoke_without_command=True
)
for command in (backup, restore, verify, statistics, check, get, sample):
    app.command(help=_flowing(command.__doc__ or ""))(command)
smuggler = typer.Typer(help="Bring documents in from a dump of RavenDB.")
smuggler.command("in", help=_flowing(smuggler_in.__doc__ or ""))(smuggler_in)
app.add_typer(smuggler, name="smuggler")


@smuggler.callback(invoke_without_command=True)
def _smuggler(context: typer.Context) -> None:
    _help_unless_command(context)


def _help_unless_command(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        context.get_help()  # which prints it
        raise typer.Exit(USAGE)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"muniment {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", metavar="", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", metavar="", help="Show a traceback with an error, as MUNIMENT_DEBUG=1 does.")
    ] = False,
) -> None:
    _help_unless_command(context)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (that of the process when none is given) and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given or os.environ.get("MUNIMENT_DEBUG", "0") not in ("", "0")

    def run() -> int | None:
        code: int | None = app(args=given, prog_name="muniment", standalone_mode=False)
        return code

    return outcome(run, as_json="--json" in given, debug=debug)
