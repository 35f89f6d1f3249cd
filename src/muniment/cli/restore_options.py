"""What a restore may be asked: where to, what, how carefully, and what opens it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from muniment.cli.complete import policies
from muniment.cli.keyring import OpeningOptions
from muniment.cli.options import KeyOptions, PlainHttp, Yes, named, path_of, place_of
from muniment.cli.point import PartOptions, PointOptions
from muniment.errors import InvalidInput

if TYPE_CHECKING:
    from muniment.security.encryption import EncryptionKey
    from muniment.security.keyring import Keyring


@dataclass(frozen=True, slots=True)
class Place:
    """Where it is restored to: a folder, or a server and how that names what it makes."""

    target: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="FOLDER|URL",
            help="The new database: a new folder or URL/databases/NAME; an existing one with --on-conflict.",
        ),
    ] = None
    url: Annotated[
        str | None, typer.Option("--server", metavar="URL", help="Have this server restore it, as a new database.")
    ] = None
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            parser=named("the name in --name"),
            metavar="NAME",
            help="With --server: its name, if not the backup's.",
        ),
    ] = None
    location: Annotated[
        str | None, typer.Option("--location", metavar="FOLDER", help="With --server: where its files go.")
    ] = None
    plain_http: PlainHttp = False


@dataclass(frozen=True, slots=True)
class Part:
    """Which moment of the backups, and what of it."""

    moment: PointOptions
    selected: PartOptions
    copies: Annotated[
        list[Path],
        typer.Option(
            "--copy",
            parser=place_of,
            metavar="PLACE",
            help="Another place with these backups, for what is damaged or missing in SOURCE; may be repeated.",
        ),
    ] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Opening:
    """What opens the backups, and the database."""

    encryption: KeyOptions
    backups: OpeningOptions

    def keyring(self) -> Keyring:
        """What opens the backups here."""
        return self.backups.keyring(self.encryption)


@dataclass(frozen=True, slots=True)
class ExistingOptions:
    """How to restore into a database that exists already."""

    on_conflict: Annotated[
        str | None,
        typer.Option(
            "--on-conflict",
            metavar="POLICY",
            autocompletion=policies,
            help="Restore into an existing database: skip, overwrite or fail where something differs.",
        ),
    ] = None
    other_database: Annotated[
        bool,
        typer.Option(
            "--other-database", metavar="", help="With --on-conflict: the backups may be of another database."
        ),
    ] = False


@dataclass(frozen=True, slots=True)
class NewOptions:
    """How to make a new database."""

    defrag: Annotated[
        bool, typer.Option("--defrag", metavar="", help="Rewrite the new database file without gaps.")
    ] = False
    new_id: Annotated[
        bool,
        typer.Option(
            "--new-id", metavar="", help="Make another database of it, with an id and a folder of backups of its own."
        ),
    ] = False
    new_key_file: Annotated[
        Path | None,
        typer.Option(
            "--new-key-file",
            parser=path_of,
            metavar="FILE",
            help="Encrypt the new database with this key instead.",
        ),
    ] = None
    in_clear: Annotated[
        bool,
        typer.Option("--in-clear", metavar="", help="Do not encrypt the new database."),
    ] = False

    @property
    def given(self) -> bool:
        """Whether any of them says something."""
        return self.defrag or self.new_id or self.in_clear or self.new_key_file is not None

    def key(self, encryption: KeyOptions) -> EncryptionKey | None:
        """The key of the new database, None for none; raises `InvalidInput` for two answers."""
        if self.in_clear and self.new_key_file:
            raise InvalidInput("--in-clear and --new-key-file exclude each other", "give one of them")
        if self.in_clear:
            return None
        from muniment.security.encryption import given_key  # here: for most it is not needed

        return given_key(None, self.new_key_file) if self.new_key_file else encryption.key()

    def key_for_server(self, encryption: KeyOptions) -> EncryptionKey | None:
        """The same where a server makes it, which opens the backups with the key of the new database alone."""
        if (self.in_clear or self.new_key_file) and encryption.given:
            other = "--in-clear" if self.in_clear else "--new-key-file"
            raise InvalidInput(
                f"a server opens backups with the key of the new database, so {other} does not go with --key-file",
                "restore with --key-file, and give it another key afterwards: muniment encryption rotate --url",
            )
        return self.key(encryption)


@dataclass(frozen=True, slots=True)
class Caution:
    """What is done before anything is written."""

    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Print what would be done, and write nothing.")
    ] = False
    yes: Yes = False
