"""Options that say what opens backups and whom to trust, and whom new ones are encrypted for."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from muniment.cli.options import KeyOptions, path_of
from muniment.errors import InvalidInput
from muniment.security.keyring import Keyring, Protection

PANEL: Final = "Encrypted and signed backups"
_SIGNATURE: Final = "--require-signature"
_ITS_OWN: Final = "name the file in the server's settings: backup-passphrase-file or backup-identity-file"

PassphraseFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        parser=path_of,
        envvar="MUNIMENT_PASSPHRASE_FILE",
        metavar="FILE",
        help="A file whose only line is the passphrase of the backups.",
        rich_help_panel=PANEL,
    ),
]


@dataclass(frozen=True, slots=True)
class OpeningOptions:
    """What opens encrypted backups, beside a key file, and who must have signed them."""

    passphrase_file: PassphraseFile = None
    identity: Annotated[
        list[Path],
        typer.Option(
            "--identity",
            parser=path_of,
            envvar="MUNIMENT_IDENTITY",
            metavar="FILE",
            help="The identity that they are encrypted for; may be repeated.",
            rich_help_panel=PANEL,
        ),
    ] = field(default_factory=list)
    require_signature: Annotated[
        list[str],
        typer.Option(
            _SIGNATURE,
            metavar="SIGNER",
            help="Take only backups that this public key has signed; may be repeated.",
            rich_help_panel=PANEL,
        ),
    ] = field(default_factory=list)

    def check_for_server(self) -> None:
        """Raises `InvalidInput` for a file with a secret: none is sent to a server, whose settings name its own."""
        for option in self.given:
            if option != _SIGNATURE:
                raise InvalidInput(f"what {option} names is not sent to a server", _ITS_OWN)

    @property
    def given(self) -> list[str]:
        """The options that say something, unless the environment gave it, which is for all commands."""
        environment = {*map(Path, os.environ.get("MUNIMENT_IDENTITY", "").split())}
        said = {
            "--passphrase-file": self.passphrase_file and "MUNIMENT_PASSPHRASE_FILE" not in os.environ,
            "--identity": not environment.issuperset(self.identity),
            _SIGNATURE: self.require_signature,
        }
        return [option for option, value in said.items() if value]

    def keyring(self, key: KeyOptions | None = None) -> Keyring:
        """What these files have; raises `NotFound` and `InvalidInput` for those that have none."""
        return Keyring.of(
            passphrase_file=self.passphrase_file,
            key_file=key.key_file if key else None,
            identities=self.identity,
            require_signature=self.require_signature,
        )


@dataclass(frozen=True, slots=True)
class SealingOptions:
    """Whom a backup is encrypted for, beside a passphrase and a key file, and who signs it."""

    recipient: Annotated[
        list[str],
        typer.Option(
            "--recipient",
            metavar="RECIPIENT",
            help="Encrypt for this public key; may be repeated.",
            rich_help_panel=PANEL,
        ),
    ] = field(default_factory=list)
    sign_with: Annotated[
        Path | None,
        typer.Option(
            "--sign-with", parser=path_of, metavar="FILE", help="Sign it with this signing key.", rich_help_panel=PANEL
        ),
    ] = None

    def protection(self, passphrase_file: Path | None = None, key_file: Path | None = None) -> Protection:
        """What these files and recipients say; raises `NotFound` and `InvalidInput` for what is none."""
        return Protection.of(
            passphrase_file=passphrase_file, key_file=key_file, recipients=self.recipient, sign_with=self.sign_with
        )
