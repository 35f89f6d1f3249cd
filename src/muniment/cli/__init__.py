"""The command `muniment`: each command parses, makes one call to the library, and prints what holds now."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from inspect import cleandoc
from typing import Annotated

import typer

from muniment.cli import databases as of_server
from muniment.cli.backup import backup
from muniment.cli.database import check, get, statistics
from muniment.cli.inspect import inspect
from muniment.cli.merge import merge
from muniment.cli.outcome import USAGE, outcome
from muniment.cli.output import wait_for_key
from muniment.cli.point import instead
from muniment.cli.rehearse import rehearse
from muniment.cli.restore import restore, verify
from muniment.cli.sample import sample
from muniment.cli.server import server
from muniment.cli.settings import settings
from muniment.cli.smuggler import smuggler_between, smuggler_in, smuggler_out
from muniment.cli.status import status
from muniment.errors import MunimentError
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
  141  whoever read a dump from stdout went away before its end

backup --all-databases: the number of those that failed.

With --json, stdout is one JSON object, after an error too: error, hint, kind.
"""


def _flowing(text: str) -> str:
    """The paragraphs each on one line, so that the terminal's width decides where they break; examples as they are."""
    paragraphs = cleandoc(text).split("\n\n")
    return "\n\n".join(text if text.startswith("$") else text.replace("\n", " ") for text in paragraphs)


_CONTEXT = {"help_option_names": ["--help", "-h"]}

app = typer.Typer(
    help=_HELP,
    epilog=_EPILOG,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    context_settings=_CONTEXT,
)
for command in (
    backup,
    restore,
    verify,
    rehearse,
    inspect,
    merge,
    status,
    statistics,
    check,
    get,
    settings,
    sample,
    server,
):
    app.command(help=_flowing(command.__doc__ or ""), context_settings=_CONTEXT)(command)


def _group(name: str, about: str, commands: dict[str, Callable[..., None]]) -> None:
    group = typer.Typer(help=about, context_settings=_CONTEXT)
    for called, command in commands.items():
        group.command(called, help=_flowing(command.__doc__ or ""), context_settings=_CONTEXT)(command)
    group.callback(invoke_without_command=True)(_help_unless_command)
    app.add_typer(group, name=name)


def _help_unless_command(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        context.get_help()  # which prints it
        raise typer.Exit(USAGE)


_group(
    "smuggler",
    "Bring documents out into dumps, in from them, and from one database into another.",
    {"out": smuggler_out, "in": smuggler_in, "between": smuggler_between},
)
_group(
    "databases",
    "List, make, delete and look at the databases of a server.",
    {
        "list": of_server.list_databases,
        "create": of_server.create,
        "delete": of_server.delete,
        "info": of_server.info,
    },
)


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
        try:
            code: int | None = app(args=given, prog_name="muniment", standalone_mode=False)
        except MunimentError as error:
            error.hint = instead(error, given)
            raise
        return code

    code = outcome(run, as_json="--json" in given, debug=debug)
    if "--readkey" in given:
        wait_for_key()
    return code
