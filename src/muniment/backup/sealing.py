"""Whom a new backup is encrypted for: those who were named, or those of the backups that are there already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from muniment.backup import wrapped_keys
from muniment.backup.repository import Backup, Seal, unusable_in
from muniment.backup.wrapped_keys import WrappedKeys
from muniment.errors import WrongKey
from muniment.security.data_key import DataKey
from muniment.security.keyring import Keyring, Protection
from muniment.security.recipients import (
    AnyRecipient,
    ForPassphrase,
    ForRecipient,
    Key,
    Passphrase,
    Recipient,
    Wrapped,
    read_recipient,
)

_SAY: Final = "name the recipients (--recipient), or say that it is not to be encrypted (--in-clear)"


class Sealing:
    """How new backups beside `newest` are to be encrypted and signed.

    Recipients that are named count alone. Passphrases and keys that open the newest backup there stand for all of its
    recipients. With neither, a backup beside one that is encrypted is encrypted for the same, and else that of an
    encrypted database with the database's key, unless `in_clear` says
    otherwise. Raises `WrongKey` when nobody can tell for whom that was.
    """

    def __init__(self, protection: Protection, existing: Sequence[Backup], database_id: str) -> None:
        self._protection = protection
        own = [backup for backup in existing if backup.manifest.database.id == database_id]
        newest = max(own, key=lambda backup: backup.manifest.completed, default=None)
        self._newest = newest if newest and newest.manifest.encryption else None
        self.encrypts = not protection.in_clear and bool(
            protection.recipients or self._newest or protection.database_key
        )
        if not self.encrypts and not protection.in_clear:
            for bad in unusable_in(existing):
                if (bad.folder / wrapped_keys.NAME).exists():
                    raise WrongKey(
                        f"{bad} and is encrypted, so nobody can tell for whom a backup beside it is to be", _SAY
                    )

    def seal(self, parent: Backup | None) -> Seal:
        """For one new backup, with a data key of its own. `parent` is the one that it continues.

        Raises `WrongKey` where a passphrase or a key is wanted, and another one or none was given.
        """
        signing_key = self._protection.signing_key
        if not self.encrypts:
            return Seal(signing_key=signing_key)
        key = DataKey()
        wrapped = tuple(each.wrap(key) for each in self._recipients(parent))
        return Seal(key, WrappedKeys(key=key.id, recipients=wrapped), signing_key)

    def _recipients(self, parent: Backup | None) -> list[AnyRecipient]:
        given = self._protection.recipients
        own = self._protection.database_key
        beside = parent or self._newest
        if beside is None:
            return list(given or (own,) if own else given)
        there, secrets = beside.wrapped_keys(), self._protection.keyring
        opens = bool(secrets.identities) and secrets.unwrap(there.recipients, there.key) is not None
        if parent and secrets.identities and not opens:
            raise WrongKey(
                f"what was given does not open {parent.name}, which is for {there.names}: one chain would need two",
                "give the same, or take a full backup, which begins another chain",
            )
        if opens and not any(isinstance(each, Recipient) for each in given):
            return [self._again(each, there, beside) for each in there.recipients]
        if given:
            return [_with_salt(each, there) if opens else each for each in given]
        return [self._again(each, there, beside) for each in there.recipients]

    def _again(self, wrapped: Wrapped, there: WrappedKeys, beside: Backup) -> AnyRecipient:
        """What this data key was wrapped for."""
        if isinstance(wrapped, ForRecipient):
            return read_recipient(wrapped.recipient)
        for each in (*self._protection.recipients, self._protection.database_key):
            if isinstance(each, Passphrase | Key) and Keyring((each,)).unwrap([wrapped], there.key):
                return _with_salt(each, there)
        raise WrongKey(
            f"{beside.name} is encrypted for {wrapped.name} too, so a backup beside it is to be; that was not given",
            f"give --passphrase-file or --key-file, or {_SAY}",
        )


def _with_salt(recipient: AnyRecipient, there: WrappedKeys) -> AnyRecipient:
    """A passphrase with the salt that the backups there have for it: to open all of them costs Argon2id once."""
    if isinstance(recipient, Passphrase):
        for each in there.recipients:
            if isinstance(each, ForPassphrase) and recipient.unwrap(each, there.key):
                return msgspec.structs.replace(recipient, stretched=each.argon2id)
    return recipient
