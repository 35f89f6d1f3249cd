"""What a server's settings and a request say of encrypted and signed backups.

Secrets come from files that the settings name, and are read anew for each: another passphrase counts from the next
backup on. A request brings none but the key of a new database, which opens the backups of one that had it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from muniment.errors import InvalidInput, MunimentError
from muniment.raven3.messages import BackupWanted, MomentWanted
from muniment.security.encryption import EncryptionKey
from muniment.security.keyring import Keyring, Protection
from muniment.security.recipients import Key, passphrase_in, read_identities, read_recipient
from muniment.security.signature import check_signer, signing_key_in
from muniment.settings import InvalidSetting, Settings


def check_backup_settings(settings: Settings) -> None:
    """Raises `InvalidSetting` for one that no backup could be taken or restored with, before one is asked for."""
    files: dict[str, tuple[str, Callable[[Path], object]]] = {
        "backup-passphrase-file": (settings.backup_passphrase_file, passphrase_in),
        "backup-identity-file": (settings.backup_identity_file, read_identities),
        "backup-signing-key-file": (settings.backup_signing_key_file, signing_key_in),
    }
    for name, (file, read) in files.items():
        if file:
            _check(name, partial(read, Path(file)))
    for text in settings.backup_recipients:
        _check("backup-recipients", partial(read_recipient, text))
    for text in settings.backup_signers:
        _check("backup-signers", partial(check_signer, text))


def _check(name: str, read: Callable[[], object]) -> None:
    try:
        read()
    except MunimentError as error:
        raise InvalidSetting(f"the setting {name} cannot be used: {error.message}", error.hint) from error


def protection_of(settings: Settings, wanted: BackupWanted) -> Protection:
    """How a backup is protected: for the recipients of the request, or else for those of the settings."""
    if wanted.in_clear:
        return Protection.of(sign_with=_file(settings.backup_signing_key_file), in_clear=True)
    return Protection.of(
        passphrase_file=_file(settings.backup_passphrase_file),
        recipients=settings.backup_recipients if wanted.recipients is None else wanted.recipients,
        sign_with=_file(settings.backup_signing_key_file),
    )


def keyring_of(settings: Settings, wanted: MomentWanted, key: EncryptionKey | None = None) -> Keyring:
    """What opens backups, and whose signature they must have: a request may narrow the signers of the settings.

    `key` is that of the database to restore into, which opens its own backups too. Raises `InvalidInput` for a request
    that names none of those signers.
    """
    identity = _file(settings.backup_identity_file)
    found = Keyring.of(
        passphrase_file=_file(settings.backup_passphrase_file),
        identities=[identity] if identity else (),
        require_signature=_signers(settings.backup_signers, wanted.require_signature),
        allow_clear=bool(wanted.allow_clear),
    )
    return found if key is None else msgspec.structs.replace(found, identities=(Key(key.secret), *found.identities))


def _signers(trusted: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    trusted, named = [check_signer(each) for each in trusted], [check_signer(each) for each in wanted or ()]
    if not trusted or not named:
        return named or trusted
    if both := [each for each in named if each in trusted]:
        return both
    raise InvalidInput(
        "RequireSignature names nobody whose signature this server trusts",
        "name some of the server's backup-signers, or leave it out for all of them",
    )


def _file(name: str) -> Path | None:
    return Path(name) if name else None
