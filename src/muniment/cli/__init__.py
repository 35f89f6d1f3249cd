"""The command `muniment`: each command parses, makes one call to the library, and prints what holds now."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches
from importlib import import_module
from inspect import cleandoc
from typing import Annotated, Any, Final

import typer

from muniment.cli.groups import with_groups
from muniment.cli.outcome import USAGE, outcome
from muniment.cli.output import wait_for_key
from muniment.cli.profile import PROFILE
from muniment.errors import MunimentError
from muniment.version import VERSION

__all__ = ["app", "main"]

UNKNOWN: Final = 3  # as plug-ins for monitoring say that they could not find out
_RAVENDBS: Final = ("backup", "server", "smuggler")
_OPTION: Final = re.compile(r"^--?([a-z][a-z-]*[a-z])[:=]")
COMPLETE: Final = "_MUNIMENT_COMPLETE"  # is set by shells that want to know what could be typed

TOPICS: Final = ("recover",)  # pages that `help` prints; everything else is a command

_HELP = """Muniment: a document database with backup and restore that can be trusted.

A database is a folder. Commands print what holds now on stdout, progress and errors on stderr.

$ muniment sample shop --documents 20000
$ muniment backup shop --dest backups
$ muniment restore backups --to shop-restored
$ muniment statistics shop-restored

What was lost is brought back as `muniment help recover` says.
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
  9  no server answered, or its certificate is not trusted
  10 it is encrypted, and no key was given that opens it
  11 the server does not know the key, or the key does not have the right to this
  130, 143, 129  stopped by Ctrl-C, SIGTERM, SIGHUP; nothing half done is left, or it is said what is
  141  whoever read a dump from stdout went away before its end

backup --all-databases: the number of those that failed.
status --fail-if-…: as plug-ins for monitoring have them: 0 all is well, 1 warning, 2 critical, 3 unknown.

With --json, stdout is one JSON object, after an error too: error, hint, type.
"""


def _flowing(text: str) -> str:
    """The paragraphs each on one line, so that the terminal's width decides where they break; examples as they are."""
    paragraphs = cleandoc(text).split("\n\n")
    return "\n\n".join(text if text.startswith("$") else text.replace("\n", " ") for text in paragraphs)


_CONTEXT = {"help_option_names": ["--help", "-h"]}

# Where each command is, and the first sentence of its help: all that is loaded of those that were not asked for.
ABOUT: Final = {
    "backup": ("backup.backup", "Write a backup of a database into a folder."),
    "restore": (
        "restore.restore",
        "Make a new database from the backups in a folder, or bring back into one what was lost or changed.",
    ),
    "verify": (
        "verify.verify",
        "Read all backups in a folder and check everything that a restore of any of them would need.",
    ),
    "rehearse": (
        "rehearse.rehearse",
        "Really restore a state into a temporary folder, look at the database there, and delete it again.",
    ),
    "inspect": (
        "inspect.inspect",
        "List the backups in a folder as chains, or look into them without restoring anything.",
    ),
    "expire": ("expire.expire", "Remove the backups in a folder that a policy does not keep, after a time of grace."),
    "copy": (
        "copy.copy",
        "Bring backups to another place as they are, or heal there what is damaged and whole here.",
    ),
    "cron": ("cron.cron", "Print the lines with which cron or systemd back a database up again and again."),
    "merge": ("merge.merge", "Make one full backup out of a chain, without the database."),
    "status": ("status.status", "Show how far a database could be recovered, and what to do next."),
    "limit": ("limit.limit", "Change how fast a job of a server may be, and when, while it runs."),
    "freeze": ("freeze.freeze", "Have the files of a database on a server stand still, for a tool that copies them."),
    "thaw": ("freeze.thaw", "Let a frozen database be written to again."),
    "statistics": (
        "database.statistics",
        "Show what is in a database: counts, sizes, collections, and the fingerprint.",
    ),
    "check": ("database.check", "Read a whole database and check that it is consistent."),
    "compact": ("compact.compact", "Rewrite the file of a database without gaps."),
    "move": (
        "move.move",
        "Move a database from a folder into PostgreSQL, while it is in use, or back while it is not.",
    ),
    "create": ("database.create", "Make an empty database, encrypted if a key is given."),
    "get": ("database.get", "Print a document: exactly the bytes that were stored."),
    "settings": (
        "settings.settings",
        "Show the settings of a database, or change some of them; the others stay.",
    ),
    "sample": ("sample.sample", "Make a shop's database of any size, after RavenDB's sample Northwind."),
    "server": ("server.server", "Serve databases over HTTP, in RavenDB 3.x's words, until Ctrl-C or SIGTERM."),
    "doctor": (
        "doctor.doctor",
        "Look whether everything is as it should be, and say what to do: ok, warning or problem, a line each.",
    ),
    "help": ("help.help", "Print how to bring back what was lost (`recover`), or the help of a command."),
}
_GROUPS: Final = {
    "recipients": (
        "Say who may open encrypted backups, without writing the backups anew.",
        {
            "list": "recipients.list_recipients",
            "add": "recipients.add",
            "remove": "recipients.remove",
        },
    ),
    "identity": (
        "Make what opens encrypted backups, and what signs backups.",
        {"generate": "identity.generate"},
    ),
    "encryption": (
        "Make keys, encrypt databases with them, and give them others.",
        {"generate-key": "encryption.generate_key", "rotate": "encryption.rotate"},
    ),
    "smuggler": (
        "Bring documents out into dumps, in from them, and from one database into another.",
        {"out": "smuggler.smuggler_out", "in": "smuggler.smuggler_in", "between": "smuggler.smuggler_between"},
    ),
    "keys": (
        "Say who may ask a server, and for what.",
        {
            "add": "keys.add",
            "list": "keys.list_keys",
            "disable": "keys.disable",
            "enable": "keys.enable",
            "rotate": "keys.rotate",
        },
    ),
    "schedule": (
        "Have a server back up, verify, rehearse and expire by itself, and see what came of it.",
        {
            "list": "schedule.list_schedules",
            "add": "schedule.add",
            "edit": "schedule.edit",
            "remove": "schedule.remove",
            "run": "schedule.run",
            "pause": "schedule.pause",
            "resume": "schedule.resume",
            "history": "schedule.history",
        },
    ),
    "databases": (
        "List, make, delete and look at the databases of a server.",
        {
            "list": "databases.list_databases",
            "create": "databases.create",
            "delete": "databases.delete",
            "info": "databases.info",
        },
    ),
}


# In which order the commands of a group are used: for the help of the group itself.
_STEPS: Final = {
    "recipients": """A new recipient opens all backups there, and later ones once they are backed up for it too.

$ muniment recipients list /mnt/backups/shop
$ muniment recipients add /mnt/backups/shop --identity mine.identity --recipient muniment-recipient-a6rx…
$ muniment recipients remove /mnt/backups/shop passphrase-5c0f1a2b --identity mine.identity""",
    "identity": """Make it where backups are restored, back up for the recipient it prints, and restore with the file.

$ muniment identity generate shop.identity
$ muniment backup shop --dest backups --recipient muniment-recipient-a6rx…
$ muniment restore backups --to copy --identity shop.identity""",
    "encryption": """Make a key, keep it in two places, and give it to every command that opens the database.

$ muniment encryption generate-key shop.key
$ muniment create shop --key-file shop.key
$ muniment encryption rotate shop --key-file shop.key --new-key-file new.key""",
    "schedule": """Say when what is done, have it done once now, and look at what came of it.

$ muniment schedule add nightly --dest Backups --full '0 1 * * 0' --incremental '*/15 * * * *'
$ muniment schedule run nightly --task full
$ muniment schedule history""",
    "keys": """Make the first one, with admin, before the server runs; it makes the others while the server runs.

$ muniment keys add boss --right admin --data-dir /var/lib/muniment
$ muniment keys add nightly --right backup --database shop --url https://db.example.org:8080 --api-key-file boss.key
$ muniment keys list --url https://db.example.org:8080 --api-key-file boss.key""",
}


def app_for(asked: Collection[str]) -> typer.Typer:
    """The command line, with these commands and groups; of all others only the names and what they are for.

    All of them together take three times as long to load as the one that is asked for.
    """
    app = typer.Typer(
        help=_HELP,
        epilog=_EPILOG,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        invoke_without_command=True,
        context_settings=_CONTEXT,
    )
    app.callback()(_options)
    for name, (place, about) in ABOUT.items():
        if name in asked:
            command = _loaded(place)
            app.command(name, help=_flowing(command.__doc__ or ""), context_settings=_CONTEXT)(command)
        else:
            app.command(name, help=about)(_not_loaded)
    for name, (about, places) in _GROUPS.items():
        help = _flowing(f"{about}\n\n{_STEPS[name]}") if name in _STEPS and name in asked else about
        group = typer.Typer(help=help, short_help=about, context_settings=_CONTEXT)
        for called, place in places.items() if name in asked else ():
            command = _loaded(place)
            group.command(called, help=_flowing(command.__doc__ or ""), context_settings=_CONTEXT)(command)
        group.callback(invoke_without_command=True)(_help_unless_command)
        app.add_typer(group, name=name)
    return app


def _loaded(place: str) -> Callable[..., None]:
    module, _, name = place.partition(".")
    return with_groups(getattr(import_module(f"muniment.cli.{module}"), name))


def _not_loaded() -> None:
    raise AssertionError("a command that was not asked for was called")


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = app = app_for([*ABOUT, *_GROUPS])  # once, for whoever asks again
    return app


def _help_unless_command(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        context.get_help()  # which prints it
        raise typer.Exit(USAGE)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"muniment {VERSION}")
        raise typer.Exit


def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", metavar="", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", metavar="", help="Anywhere: show a traceback with an error, as MUNIMENT_DEBUG=1 does."),
    ] = False,
    profile: Annotated[
        str | None,
        typer.Option("--profile", metavar="NAME", help="Anywhere: this profile of ~/.config/muniment/client.toml."),
    ] = None,
) -> None:
    _help_unless_command(context)


def _typed_so_far() -> list[str]:
    """The words of a line that a shell wants to complete; each shell tells them in its own way."""
    return f"{os.environ.get('COMP_WORDS', '')} {os.environ.get('_TYPER_COMPLETE_ARGS', '')}".split()


def _understood(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """The command line without what may stand anywhere in it, and whether --debug did.

    The options of commands that are RavenDB's are taken as its parser took them, too: `--url:X` and `-url=X`.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    words, rest = list(arguments[:end]), arguments[end:]
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    kept: list[str] = []
    for word in words:
        if kept and kept[-1] == "--profile":
            kept.pop()
            os.environ[PROFILE] = word
        elif word.startswith("--profile="):
            os.environ[PROFILE] = word.partition("=")[2]
        else:
            kept.append(word)
    if kept[:1] and kept[0] in _RAVENDBS:
        kept = [_OPTION.sub(r"--\1=", word) for word in kept]
    return [*kept, *rest], debug


def _misspelt_topic(words: Sequence[str]) -> bool:
    """Whether it is more like a page of `help` than like any command."""
    near = get_close_matches(" ".join(words), [*TOPICS, *ABOUT, *_GROUPS], n=1, cutoff=0.75)
    return bool(near) and near[0] in TOPICS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (that of the process when none is given) and return its exit code."""
    given, debug = _understood(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["help"] and not (set(given[1:]) & {*TOPICS, "--help", "-h"} or _misspelt_topic(given[1:])):
        given = [*given[1:], "--help"]
    debug = debug or os.environ.get("MUNIMENT_DEBUG", "0") not in ("", "0")

    app = app_for(_typed_so_far() if COMPLETE in os.environ else given)

    def run() -> int | None:
        try:
            code: int | None = app(args=given, prog_name="muniment", standalone_mode=False)
        except MunimentError as error:
            from muniment.cli.point import instead  # here: it loads longer than help takes

            error.hint = instead(error, given)
            raise
        ended.append(code)
        return code

    ended: list[int | None] = []
    code = outcome(run, as_json="--json" in given, debug=debug)
    if not ended and any(word.startswith("--fail-if-") for word in given):
        code = UNKNOWN
    if "--readkey" in given:
        wait_for_key()
    return code
