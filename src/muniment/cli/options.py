"""Arguments and options that several commands have."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, TypeAlias
from urllib.parse import urlsplit

import typer

from muniment.cli import bar
from muniment.cli.complete import database_names
from muniment.cli.groups import Typed
from muniment.cli.output import ask_secret, note
from muniment.cli.profile import Profile, address_or_none, profile
from muniment.cli.report import Row, emit
from muniment.errors import InvalidInput, unreadable
from muniment.limits import NO_LIMITS, Limits
from muniment.progress import Progress
from muniment.security.encryption import Algorithm, EncryptionKey, algorithm_in, given_key
from muniment.settings import is_confidential
from muniment.storage.location import is_address, location_of
from muniment.workers import renice

if TYPE_CHECKING:
    from muniment.client import DocumentStore


def path_of(text: str) -> Path:
    """The folder or file that an argument names; raises `InvalidInput` for none, and for the address of a server."""
    if not text.strip():
        raise InvalidInput("the name of a folder or file is empty", "give one; the current folder is .")
    if is_url(text):
        raise InvalidInput(f"{text} is the address of a server, and a folder or file belongs here", "see --help")
    return location_of(text)


def is_url(text: str) -> bool:
    """Whether an argument is the address of a server or of its database, and not a folder."""
    return text.lower().startswith(("http://", "https://"))


def folder_or_url(place: str | None, url: str | None) -> tuple[Path | None, str | None]:
    """The folder, or the URL of a server, that an argument or --url names; else that of the environment or the file."""
    if place is None:
        return None, url or address_or_none()
    if url is not None:
        raise InvalidInput(f"{place} and --url each say which database is meant", "give one of them")
    return (None, place) if is_url(place) else (path_of(place), None)


def place_of(text: str) -> Path:
    """The folder of backups, or the prefix of a store with them, that an argument names; raises `InvalidInput`."""
    from muniment.backup import destination  # here: most commands need nothing of it

    return destination.place_of(path_of(text) if "://" not in text else text)


path_of.__name__ = place_of.__name__ = "path"  # what help shows as the type of an argument


def database_or_backups(text: str) -> Path:
    """Where the database is, or the backups are, that an argument names; raises `InvalidInput`."""
    return location_of(text) if is_address(text) else place_of(text)


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
FolderOrUrl: TypeAlias = Annotated[
    str, typer.Argument(metavar="FOLDER|URL", help="The folder of the database, or URL/databases/NAME of a server.")
]
NewFolder: TypeAlias = Annotated[
    Path, typer.Argument(parser=path_of, metavar="FOLDER", help="A new folder, or that of an empty database.")
]
Dest: TypeAlias = Annotated[
    Path,
    typer.Argument(
        parser=place_of, metavar="DEST", help="Where backups were written to: a folder, or s3://BUCKET/PREFIX."
    ),
]
Source: TypeAlias = Annotated[
    Path,
    typer.Argument(
        parser=place_of,
        metavar="SOURCE",
        help="Where backups were written to, a folder or s3://BUCKET/PREFIX, or one of them in it.",
    ),
]
Url: TypeAlias = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="Have this server do it; it may end in /databases/NAME.")
]
Database: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="NAME",
        autocompletion=database_names,
        help="The database on the server, if the URL names none.",
    ),
]
ServerDatabase: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="NAME",
        autocompletion=database_names,
        help="Which database of the server; its system database if none.",
    ),
]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Do not ask before it is done.")]


def store_of(
    place: str, encryption: KeyOptions, keys: Keys, database: str | None = None, *, keys_stay: bool = True
) -> DocumentStore | None:
    """The database of a server that an argument names, None for a folder; neither takes the options of the other."""
    if is_url(place):
        if keys_stay:
            encryption.check_for_server()
        return keys.store(place, database)
    path_of(place)
    keys.check_unused()
    if database is not None:
        raise InvalidInput(
            "--database is for the databases of a server", "give the URL of a server instead of a folder"
        )
    return None


def check_stays_here(options: Iterable[str], hint: str) -> None:
    """Raises `InvalidInput` for an option that names a file with a secret: none is sent to a server."""
    for option in options:
        raise InvalidInput(f"no secret is sent to a server, and so not what is in {option}", hint)


ITS_KEYS: Final = "leave it out: a server has the keys of its databases, since `muniment databases create --key-file`"
API_KEY: Final = "MUNIMENT_API_KEY"
ASK: Final = "-"
_PACE: Final = "How fast, and when"
_PANEL: Final = "Who asks a server, and which one it is"


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
        """Within it, what cannot be stopped half-way is shown; gives what prints a message beside that."""
        return bar.showing(progress, quiet=self.quiet)


@dataclass(frozen=True, slots=True)
class LimitOptions:
    """How fast a job may be, and when."""

    read_rate: Annotated[
        str | None,
        typer.Option("--read-rate", metavar="RATE", rich_help_panel=_PACE, help="Bytes to read in a second: 20MB."),
    ] = None
    write_rate: Annotated[
        str | None,
        typer.Option(
            "--write-rate", metavar="RATE", rich_help_panel=_PACE, help="Bytes to write or upload in a second: 5MB."
        ),
    ] = None
    niceness: Annotated[
        int | None,
        typer.Option("--niceness", metavar="NUMBER", rich_help_panel=_PACE, help="Stand back for others: 0 to 19."),
    ] = None
    hours: Annotated[
        str | None,
        typer.Option("--hours", metavar="HOURS", rich_help_panel=_PACE, help="Go on in these hours: 22:00-06:00."),
    ] = None

    @property
    def limits(self) -> Limits:
        """The limits that they say; raises `InvalidInput`."""
        return NO_LIMITS.changed(self.read_rate, self.write_rate, self.niceness, self.hours)

    @property
    def here(self) -> Limits:
        """The limits of what this process does itself: it stands back as they say from now on, so that is left out."""
        limits = self.limits
        if limits.niceness is None:
            return limits
        renice(limits.niceness)
        return NO_LIMITS.changed(self.read_rate, self.write_rate, hours=self.hours)


_SERVER: Final = "Have a server do it"


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The server that is to do it, with backups that it keeps."""

    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            rich_help_panel=_SERVER,
            help="Have this server do it; places are then paths on its machine, or stores.",
        ),
    ] = None
    nowait: Annotated[
        bool,
        typer.Option("--nowait", metavar="", rich_help_panel=_SERVER, help="Return as soon as the server has begun."),
    ] = False

    def wanted(self, keys: Keys) -> str | None:
        """The server, None for none; raises `InvalidInput` for what only a server takes."""
        if self.url is None:
            if self.nowait:
                raise InvalidInput("--nowait is for the jobs of a server", "give --url URL")
            keys.check_unused()
        return self.url


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
    typed: Typed = field(default_factory=Typed)

    @property
    def given(self) -> list[str]:
        """The option, unless the environment alone gave it, which is for all commands."""
        return [option for option in ("--key-file",) if option in self.typed]

    def check_for_server(self) -> None:
        """Raises `InvalidInput` for a key on the command line, where a server does the work with those that it has."""
        check_stays_here(self.given, ITS_KEYS)

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


PlainHttp: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--plain-http",
        metavar="",
        help="Send the key of a database over http, too: whoever is between can read it.",
    ),
]


@dataclass(frozen=True, slots=True)
class Keys:
    """What says to a server who asks, and to the command that it is this server."""

    suffix: ClassVar[str] = ""

    api_key: Annotated[
        str,
        typer.Option(
            "--api-key",
            metavar="NAME/SECRET",
            rich_help_panel=_PANEL,
            help=f"The key to ask the server with; `-` asks for it. Other users see what is given here, not {API_KEY}.",
        ),
    ] = field(default="", repr=False)
    api_key_file: Annotated[
        str,
        typer.Option("--api-key-file", metavar="FILE", rich_help_panel=_PANEL, help="A file with nothing but the key."),
    ] = ""
    username: Annotated[
        str,
        typer.Option("--username", metavar="NAME", rich_help_panel=_PANEL, help="The user's name, in place of a key."),
    ] = ""
    password: Annotated[
        str, typer.Option("--password", metavar="TEXT", rich_help_panel=_PANEL, help="The password; `-` asks for it.")
    ] = field(default="", repr=False)
    domain: Annotated[
        str, typer.Option("--domain", metavar="NAME", rich_help_panel=_PANEL, help="The domain that the user is of.")
    ] = ""
    ca_file: Annotated[
        str,
        typer.Option(
            "--ca-file",
            metavar="FILE",
            rich_help_panel=_PANEL,
            help="The certificate (PEM) of the authority that signed the server's, if it is your own.",
        ),
    ] = ""
    client_certificate: Annotated[
        str,
        typer.Option(
            "--client-certificate",
            metavar="FILE",
            rich_help_panel=_PANEL,
            help="Your own certificate and its private key (PEM), for a server that asks for one.",
        ),
    ] = ""
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure", metavar="", rich_help_panel=_PANEL, help="Talk to any server, whatever its certificate says."
        ),
    ] = False

    def store(self, url: str, database: str | None = None, *, milliseconds: int | None = None) -> DocumentStore:
        """A database of a server, or its system database, asked with the key that was given or is in the environment.

        One answer may take so many milliseconds, or as long as the client says.
        """
        from muniment.client import DocumentStore  # here: its HTTP client loads longer than most commands run
        from muniment.client.store import TIMEOUT

        usual = self._usual(url)
        auth = self._user()
        api_key = self._key(usual.api_key_file) if auth is None else None
        store = DocumentStore(
            url,
            database,
            api_key=api_key,
            auth=auth,
            verify=not self.insecure and (self.ca_file or usual.ca_file or True),
            certificate=self.client_certificate or usual.client_certificate or None,
            timeout=TIMEOUT if milliseconds is None else milliseconds / 1000,
        )
        if (api_key or auth) and not is_confidential(store.url):
            where = urlsplit(store.url).hostname
            note(f"the {'key' if api_key else 'password'} goes to {where} unencrypted; use https")
        return store

    def check_unused(self) -> None:
        """Raises `InvalidInput` for any of them where no server is asked."""
        for option in self.given:
            raise InvalidInput(f"{option} is for the databases of a server", "give the URL of one, or leave it out")

    @property
    def given(self) -> list[str]:
        """The options that say something."""
        names = [each.name for each in fields(self) if getattr(self, each.name)]
        return [f"--{name.replace('_', '-')}{self.suffix}" for name in names]

    @staticmethod
    def _usual(url: str) -> Profile:
        """What the file of the command line says of this server, which is told to no other."""
        from muniment.client import split_url  # here too

        known = profile()
        return known if known.url and split_url(known.url)[0] == split_url(url)[0] else Profile()

    def _key(self, usual_file: str) -> str | None:
        if self.api_key and self.api_key_file:
            raise InvalidInput(f"the key is given twice: {' and '.join(self.given[:2])}", "leave one of them out")
        if self.api_key == ASK:
            return ask_secret(f"--api-key{self.suffix}")
        if not self.api_key_file and (said := self.api_key or os.environ.get(API_KEY + self.suffix)):
            return said
        file = self.api_key_file or usual_file
        if not file:
            return None
        try:
            return Path(file).expanduser().read_text().strip()
        except (OSError, ValueError, RuntimeError) as error:
            if isinstance(error, RuntimeError):  # a user without a home
                raise InvalidInput(f"{file}: {error}", "name the file from /") from error
            raise unreadable(file, error, "name a file with nothing but NAME/SECRET in it") from error

    def _user(self) -> tuple[str, str] | None:
        if not self.username:
            for option in self.given:
                if option.startswith(("--password", "--domain")):
                    raise InvalidInput(f"{option} goes with a user's name", f"give --username{self.suffix} too")
            return None
        if self.api_key or self.api_key_file:
            raise InvalidInput("both a key and a user's name were given", "give one of them")
        password = ask_secret(f"--password{self.suffix}") if self.password == ASK else self.password
        return f"{self.domain}\\{self.username}" if self.domain else self.username, password


@dataclass(frozen=True, slots=True)
class SecondKeys(Keys):
    """The same for the server that is the target of a copy between two."""

    suffix: ClassVar[str] = "2"
