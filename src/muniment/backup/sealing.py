"""For whom a new backup is encrypted: the named recipients, or those of a backup that is proven to be the database's.

Whoever may write to a folder of backups can change their recipients there. So these are believed only for a backup
that the database remembers and that a given secret opens: then somebody with its data key wrote them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from muniment.backup.repository import Backup, Seal, keys_in, read, unusable_in
from muniment.backup.wrapped_keys import WrappedKeys, check_passphrases
from muniment.errors import StorageFailure, WrongKey
from muniment.security.data_key import DataKey
from muniment.security.keyring import Keyring, Protection
from muniment.security.recipients import (
    AnyIdentity,
    AnyRecipient,
    ForKey,
    ForPassphrase,
    ForRecipient,
    Key,
    Passphrase,
    Recipient,
    Wrapped,
    read_recipient,
)
from muniment.security.signature import SigningKey
from muniment.storage.base import BackupFacts

_SAY: Final = "name the recipients (--recipient), or say that it is not to be encrypted (--in-clear)"

_UNKNOWN: Final = "the database does not remember that backup"
_ROTATED: Final = "the key of the database does not open that backup"


def _is_there(keys: Path) -> bool:
    try:
        keys.stat()  # `exists` says no of what may not be looked at, in newer Pythons
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StorageFailure(
            f"it cannot be seen whether the backup in {keys.parent} is encrypted: {error.strerror}",
            "let this user read it, or move it away, or say that the new backup is not to be encrypted (--in-clear)",
        ) from error
    return True


class Sealing:
    """How new backups beside `existing` are to be encrypted and signed.

    Recipients that are named count alone. Passphrases and keys, also that of an encrypted database, stand for all
    recipients of the backup that is continued, or else of the newest, if they open it and it is one of `remembered`
    by the database; else they count alone, and a note says so. So does the key of an encrypted database that was given
    another one since: the chain there is not continued then. Where any of the backups there is encrypted, or one that
    the database remembers, none is in clear unless `in_clear` says so. Raises `WrongKey` when nobody can tell for whom
    it should be.
    """

    def __init__(
        self,
        protection: Protection,
        existing: Sequence[Backup],
        database_id: str,
        facts: BackupFacts,
    ) -> None:
        self._protection = protection
        self._remembered = facts.known
        own = [backup for backup in existing if backup.manifest.database.id == database_id]
        encrypted = [backup for backup in own if backup.manifest.encryption]
        # Who may write there can add one that is newer than those that the database has written.
        self._newest = max(
            encrypted, key=lambda backup: (self._remembers(backup), backup.manifest.completed), default=None
        )
        self.encrypts = not protection.in_clear and bool(
            protection.recipients or self._newest or protection.database_key
        )
        if not self.encrypts and not protection.in_clear:
            for bad in unusable_in(existing):
                if any(map(_is_there, keys_in(bad.folder))):
                    raise WrongKey(
                        f"{bad}, and is encrypted, so nothing shows for whom to encrypt a backup beside it", _SAY
                    )
            for place in facts.places:
                if place.encrypted:
                    raise WrongKey(
                        f"the database's last backup in {place.folder} is encrypted, so this one must be too, but no"
                        " recipient was named",
                        _SAY,
                    )

    def continues(self, parent: Backup) -> bool:
        """Whether a backup may be added to this chain. Not where the database was given another key since."""
        if not self.encrypts or self._protection.recipients or not self._own:
            return True
        return not self._rotated(parent.wrapped_keys())

    def seal(self, parent: Backup | None) -> Seal:
        """For one new backup, with a data key of its own. `parent` is the one that it continues.

        Raises `WrongKey` where a passphrase or a key is wanted, and another one or none was given, and `DamagedBackup`
        where what opens it shows that somebody else changed whom it is for.
        """
        signing_key = self._protection.signing_key
        if not self.encrypts:
            return Seal(signing_key=signing_key)
        beside = parent or self._newest
        if beside is None:
            return _sealed_for(self._given, signing_key)
        there = beside.wrapped_keys()
        opens = self._protection.keyring.unwrap(there.recipients, there.key) is not None
        if parent and self._protection.keyring.identities and not opens:
            raise WrongKey(
                f"the key given does not open {parent.name}, which is for {there.names}: the chain would need two keys",
                "give the key of that backup, or take a full backup, which begins another chain",
            )
        if any(isinstance(each, Recipient) for each in self._protection.recipients):
            recipients = [_with_salt(each, there) if opens else each for each in self._protection.recipients]
            return _sealed_for(recipients, signing_key)
        named = self._protection.keyring.identities
        opened = read(beside.folder, Keyring(named or self._own))
        if opened.key is None and not self._protection.recipients and not self._rotated(there):
            raise WrongKey(
                f"{beside.name} is encrypted, and no key was given that proves its list of recipients, which anybody"
                " who may write to its folder could have changed",
                _SAY,
            )
        if opened.key is None:
            seal = _sealed_for(self._given, signing_key)
            return seal if self._protection.recipients else replace(seal, notes=_notes(seal, there, beside, _ROTATED))
        there = opened.wrapped_keys()
        if self._remembers(opened):
            secrets = *named, *self._own
            return _sealed_for([_again(each, there, beside, secrets) for each in there.recipients], signing_key)
        seal = _sealed_for([_with_salt(each, there) for each in self._given], signing_key)
        return replace(seal, notes=_notes(seal, there, beside, _UNKNOWN))

    def _remembers(self, backup: Backup) -> bool:
        """Whether it has a manifest that the database has written, or was merged out of such a one."""
        return bool(self._remembered & {backup.sha256, backup.manifest.same_state_as})

    def _rotated(self, there: WrappedKeys) -> bool:
        """Whether these were for a key of the database, which has another one now."""
        was = any(isinstance(each, ForKey) for each in there.recipients)
        return bool(was and self._own and Keyring(self._own).unwrap(there.recipients, there.key) is None)

    @property
    def _own(self) -> tuple[Key, ...]:
        return (self._protection.database_key,) if self._protection.database_key else ()

    @property
    def _given(self) -> Sequence[AnyRecipient]:
        """Whom it is for where nothing is inherited."""
        return self._protection.recipients or self._own


def seal_like(chain: Sequence[Backup], keyring: Keyring, signing_key: SigningKey | None) -> Seal:
    """For what is made of the backups of this chain, which are open: it is for those who may open all of them.

    So nobody reads in it what he could not read before. Raises `WrongKey` when that is nobody, or where a passphrase or
    a key is wanted that the keyring has not.
    """
    last = chain[-1]
    if last.manifest.encryption is None:
        return Seal(signing_key=signing_key)
    for backup in chain:
        backup.check_open()
    lists = [backup.wrapped_keys() for backup in chain]
    again = [_again(each, lists[-1], last, keyring.identities) for each in lists[-1].recipients]
    recipients = [each for each in again if all(holds(each, there) for there in lists)]
    if not recipients:
        raise WrongKey(f"no recipient could open all of the backups through {last.name}", _SAY)
    return _sealed_for(recipients, signing_key)


def holds(recipient: AnyRecipient, there: WrappedKeys) -> bool:
    """Whether this is one of those for whom a data key was wrapped."""
    if isinstance(recipient, Recipient):
        return any(isinstance(each, ForRecipient) and each.recipient == str(recipient) for each in there.recipients)
    return Keyring((recipient,)).unwrap(there.recipients, there.key) is not None


def _sealed_for(recipients: Sequence[AnyRecipient], signing_key: SigningKey | None) -> Seal:
    check_passphrases(recipients)
    key = DataKey()
    return Seal(key, WrappedKeys.of(key, tuple(each.wrap(key) for each in recipients)), signing_key)


def _notes(seal: Seal, there: WrappedKeys, beside: Backup, why: str) -> tuple[str, ...]:
    """That others may open the backup beside it, which is not proven to be the database's own."""
    assert seal.wrapped is not None
    here = {each.name for each in seal.wrapped.recipients}
    others = [each.name for each in there.recipients if each.name not in here]
    told = (
        f"it is not encrypted for {', '.join(others)}, as {beside.name} is, for {why}; name them with --recipient or"
        " --passphrase-file if they are to open it"
    )
    return (told,) if others else ()


def _again(wrapped: Wrapped, there: WrappedKeys, beside: Backup, secrets: Iterable[AnyIdentity]) -> AnyRecipient:
    """What this data key was wrapped for."""
    if isinstance(wrapped, ForRecipient):
        return read_recipient(wrapped.recipient)
    for each in secrets:
        if isinstance(each, Passphrase | Key) and Keyring((each,)).unwrap([wrapped], there.key):
            return _with_salt(each, there)
    raise WrongKey(
        f"{beside.name} is encrypted for {wrapped.name} too, so a backup beside it must be, but that was not given",
        f"give --passphrase-file or --key-file, or {_SAY}",
    )


def _with_salt(recipient: AnyRecipient, there: WrappedKeys) -> AnyRecipient:
    """A passphrase with the salt that the backups there have for it: to open all of them costs Argon2id once."""
    if isinstance(recipient, Passphrase):
        for each in there.recipients:
            if isinstance(each, ForPassphrase) and recipient.unwrap(each, there.key):
                return msgspec.structs.replace(recipient, stretched=each.argon2id)
    return recipient
