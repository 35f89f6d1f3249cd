"""Arguments and options that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, ClassVar, Final, TypeAlias

import typer

from muniment.cli import bar
from muniment.cli.report import Row, emit
from muniment.errors import InvalidInput
from muniment.progress import Progress
from muniment.security.encryption import Algorithm, EncryptionKey, algorithm_in, given_key


def path_of(text: str) -> Path:
    """The folder or file that an argument names; raises `InvalidInput` for none, and for the address of a server."""
    if not text.strip():
        raise InvalidInput("the name of a folder or file is empty", "give one; the present folder is .")
    if text.lower().startswith(("http://", "https://")):
        raise InvalidInput(f"{text} is the address of a server, and a folder or file belongs here", "see --help")
    return Path(text)


def named(what: str) -> Callable[[str], str]:
    """What takes the value of an option that names something, and refuses an empty one."""

    def name(text: str) -> str:
        if not text.strip():
            raise InvalidInput(f"{what} is empty", "give one, or leave out the option")
        return text

    return name


Folder: TypeAlias = Annotated[
    Path, typer.Argument(parser=path_of, metavar="FOLDER", help="The folder of the database.")
]
NewFolder: TypeAlias = Annotated[
    Path, typer.Argument(parser=path_of, metavar="FOLDER", help="A new folder, or that of an empty database.")
]
Dest: TypeAlias = Annotated[
    Path, typer.Argument(parser=path_of, metavar="DEST", help="The folder that backups were written to.")
]
Source: TypeAlias = Annotated[
    Path,
    typer.Argument(
        parser=path_of, metavar="SOURCE", help="The folder that backups were written to, or one of them in it."
    ),
]
Url: TypeAlias = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="Have this server do it; it may end in /databases/NAME.")
]
Database: TypeAlias = Annotated[
    str | None,
    typer.Option("--database", metavar="NAME", help="The database on the server, if the URL names none."),
]
ServerDatabase: TypeAlias = Annotated[
    str | None,
    typer.Option("--database", metavar="NAME", help="Which database of the server; its system database if none."),
]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Do not ask before it is done.")]

_NO_KEYS: Final = "Refused unless empty: the server has no authentication yet."


@dataclass(frozen=True, slots=True)
class Output:
    """How a command says what holds now."""

    json: Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object, for programs.")] = False

    def emit(self, headline: str, rows: Iterable[Row]) -> None:
        """Print what holds now, as text or as JSON."""
        emit(headline, rows, as_json=self.json)


@dataclass(frozen=True, slots=True)
class JobOutput(Output):
    """The same of a command that takes its time."""

    quiet: Annotated[bool, typer.Option("--quiet", "-q", metavar="", help="Show no progress.")] = False

    def job(self, progress: Progress) -> AbstractContextManager[None]:
        """Within it, the job is shown if somebody can see it, and Ctrl-C asks it to stop."""
        return bar.job(progress, quiet=self.quiet)

    def showing(self, progress: Progress) -> AbstractContextManager[Callable[[str], None]]:
        """Within it, what can not be stopped half-way is shown; gives what prints a message beside that."""
        return bar.showing(progress, quiet=self.quiet)


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """The key of an encrypted database in a folder."""

    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            parser=path_of,
            envvar="MUNIMENT_KEY_FILE",
            metavar="FILE",
            help="The key of an encrypted database, 32 bytes in base64.",
        ),
    ] = None

    def key(self, algorithm: Algorithm = Algorithm.AEGIS) -> EncryptionKey | None:
        """The key, None if none was given; a database that is made with it is encrypted by this algorithm."""
        return given_key(None, self.key_file, algorithm)


AlgorithmOption: TypeAlias = Annotated[
    Algorithm,
    typer.Option(
        "--algorithm",
        parser=algorithm_in,
        metavar="NAME",
        help=f"How it is encrypted: {', '.join(Algorithm)}. AEGIS is the fastest.",
    ),
]


@dataclass(frozen=True, slots=True)
class Keys:
    """What Raven's tools say who somebody is with."""

    suffix: ClassVar[str] = ""

    username: Annotated[str, typer.Option("--username", metavar="NAME", help=_NO_KEYS)] = ""
    password: Annotated[str, typer.Option("--password", metavar="TEXT", help=_NO_KEYS)] = ""
    domain: Annotated[str, typer.Option("--domain", metavar="NAME", help=_NO_KEYS)] = ""
    api_key: Annotated[str, typer.Option("--api-key", metavar="KEY", help=_NO_KEYS)] = ""

    @property
    def given(self) -> list[str]:
        """The options that say something."""
        names = [field.name for field in fields(self) if getattr(self, field.name)]
        return [f"--{name.replace('_', '-')}{self.suffix}" for name in names]

    def refuse(self) -> None:
        """Raises `InvalidInput` for any of them: nobody would look at it."""
        for option in self.given:
            raise InvalidInput(f"the server has no authentication yet, so it takes no {option}", "leave it out")


@dataclass(frozen=True, slots=True)
class SecondKeys(Keys):
    """The same for the server that is the target of a copy between two."""

    suffix: ClassVar[str] = "2"

    username: Annotated[str, typer.Option("--username2", metavar="NAME", help=_NO_KEYS)] = ""
    password: Annotated[str, typer.Option("--password2", metavar="TEXT", help=_NO_KEYS)] = ""
    domain: Annotated[str, typer.Option("--domain2", metavar="NAME", help=_NO_KEYS)] = ""
    api_key: Annotated[str, typer.Option("--api-key2", metavar="KEY", help=_NO_KEYS)] = ""
