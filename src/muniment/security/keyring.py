"""Secrets for reading backups and the signers to trust, and the recipients and signing key for writing them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

import msgspec

from muniment.security.data_key import DataKey
from muniment.security.recipients import (
    AnyIdentity,
    AnyRecipient,
    Key,
    Wrapped,
    key_in,
    passphrase_in,
    read_identities,
    read_recipient,
)
from muniment.security.signature import SigningKey, check_signer, signing_key_in


class Keyring(msgspec.Struct, frozen=True):
    """What opens encrypted backups, and the signers of which one must have signed each; with none, anybody may have.

    Where something opens backups, one in clear is refused, which anybody could have put there, unless `allow_clear`.
    """

    identities: tuple[AnyIdentity, ...] = ()
    signers: tuple[str, ...] = ()
    allow_clear: bool = False

    @classmethod
    def of(
        cls,
        *,
        passphrase_file: Path | None = None,
        key_file: Path | None = None,
        identities: Iterable[Path] = (),
        require_signature: Iterable[str] = (),
        allow_clear: bool = False,
    ) -> Keyring:
        """What these files have; raises `NotFound` and `InvalidInput` for those that are not there, or have none."""
        found: list[AnyIdentity] = [each for path in identities for each in read_identities(path)]
        found += [key_in(key_file)] if key_file else []
        found += [passphrase_in(passphrase_file)] if passphrase_file else []
        return cls(tuple(found), tuple(map(check_signer, require_signature)), allow_clear)

    def unwrap(self, wrapped: Collection[Wrapped], id: str) -> DataKey | None:
        """The data key of this id; None when nothing here opens it."""
        for identity in self.identities:  # passphrases last: they take a while
            for each in wrapped:
                if key := identity.unwrap(each, id):
                    return key
        return None


class Protection(msgspec.Struct, frozen=True):
    """How a new backup is protected: whom it is encrypted for, and what signs its manifest.

    With no recipients it is encrypted for those of the backups that are there, or else with the `database_key`, that of
    an encrypted database; `in_clear` says that it is not.
    """

    recipients: tuple[AnyRecipient, ...] = ()
    signing_key: SigningKey | None = None
    in_clear: bool = False
    database_key: Key | None = None

    @classmethod
    def of(
        cls,
        *,
        passphrase_file: Path | None = None,
        key_file: Path | None = None,
        recipients: Iterable[str] = (),
        sign_with: Path | None = None,
        in_clear: bool = False,
    ) -> Protection:
        """What these files and recipients say; raises `NotFound` and `InvalidInput` for what is none."""
        found: list[AnyRecipient] = [read_recipient(text) for text in recipients]
        found += [key_in(key_file)] if key_file else []
        found += [passphrase_in(passphrase_file)] if passphrase_file else []
        return cls(tuple(found), signing_key_in(sign_with) if sign_with else None, in_clear)

    @property
    def keyring(self) -> Keyring:
        """The passphrases and keys among the recipients, which also open what they encrypt."""
        return Keyring(tuple(each for each in self.recipients if isinstance(each, AnyIdentity)))


NO_KEYS: Final = Keyring()
UNPROTECTED: Final = Protection()
