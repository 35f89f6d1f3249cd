"""Options that say what opens backups and whom to trust, and whom new ones are encrypted for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from muniment.cli.groups import Typed
from muniment.cli.options import KeyOptions, check_stays_here, path_of

if TYPE_CHECKING:  # cryptography loads long; whoever needs it imports it then
    from muniment.security.keyring import Keyring, Protection

PANEL: Final = "Encrypted and signed backups"
_SIGNATURE: Final = "--require-signature"
_CLEAR: Final = "--allow-clear"
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
    allow_clear: Annotated[
        bool,
        typer.Option(
            _CLEAR,
            metavar="",
            help="Take backups in clear too, though something is given that opens encrypted ones.",
            rich_help_panel=PANEL,
        ),
    ] = False

    typed: Typed = field(default_factory=Typed)

    def for_server(self) -> Keyring:
        """Whose signature is required, and whether backups may be in clear.

        Raises `InvalidInput` for a file with a secret: a server has its own.
        """
        check_stays_here((option for option in self.given if option not in (_SIGNATURE, _CLEAR)), _ITS_OWN)
        from muniment.security.keyring import Keyring

        return Keyring.of(require_signature=self.require_signature, allow_clear=self.allow_clear)

    @property
    def given(self) -> list[str]:
        """The options that say something, unless the environment alone gave it, which is for all commands."""
        return [option for option in ("--passphrase-file", "--identity", _SIGNATURE, _CLEAR) if option in self.typed]

    def keyring(self, key: KeyOptions | None = None) -> Keyring:
        """What these files have; raises `NotFound` and `InvalidInput` for those that have none."""
        from muniment.security.keyring import Keyring

        return Keyring.of(
            passphrase_file=self.passphrase_file,
            key_file=key.key_file if key else None,
            identities=self.identity,
            require_signature=self.require_signature,
            allow_clear=self.allow_clear,
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
        from muniment.security.keyring import Protection

        return Protection.of(
            passphrase_file=passphrase_file, key_file=key_file, recipients=self.recipient, sign_with=self.sign_with
        )
