"""`keys.json`: the data key of an encrypted backup, wrapped for each of its recipients.

It stands beside the manifest, which names the key by its id alone: so recipients can be added and removed, and neither
the manifest nor what continues the backup changes. Whoever has the data key can tell that somebody who has it wrote the
whole list: nobody else adds himself, and is taken for a recipient of what comes later.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from muniment.backup.manifest import Hex, digest
from muniment.errors import DamagedBackup, InvalidInput, UnknownFormat
from muniment.security.data_key import DataKey
from muniment.security.recipients import AnyRecipient, ForPassphrase, Passphrase, Wrapped

NAME: Final = "keys.json"
FORMAT: Final = 1
MOST_BYTES: Final = 1 << 20
MOST_PASSPHRASES: Final = 8  # each that is tried takes a while
_BLANK: Final = "0" * 64
_PASSPHRASES: Final = f"it has more than {MOST_PASSPHRASES} passphrases"
_HINT: Final = "use another copy of this file"


class WrappedKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The wrapped forms of a data key, whose id is `key`; the checksum is taken as that of a manifest.

    `mac` is made of all the rest with the data key itself, see `of` and `check_mac`.
    """

    format: int = FORMAT
    key: str
    recipients: Annotated[tuple[Wrapped, ...], Meta(min_length=1)]
    mac: Hex
    checksum: Hex = _BLANK

    @classmethod
    def of(cls, key: DataKey, recipients: tuple[Wrapped, ...]) -> WrappedKeys:
        """This list, as only somebody who has the data key can make it; raises `InvalidInput` for too long a one."""
        blank = cls(key=key.id, recipients=recipients, mac=_BLANK)
        if too_much := blank._too_much():
            raise _too_many(too_much)
        return msgspec.structs.replace(blank, mac=blank._mac(key))

    def _too_much(self) -> str | None:
        """Why nobody would read it."""
        if sum(isinstance(each, ForPassphrase) for each in self.recipients) > MOST_PASSPHRASES:
            return _PASSPHRASES
        return f"it has more than {MOST_BYTES:,} bytes" if len(_text(self)) > MOST_BYTES else None

    def check_mac(self, key: DataKey, where: object) -> None:
        """Raises `DamagedBackup` unless somebody who has this data key wrote the list as it is."""
        if not hmac.compare_digest(self.mac, self._mac(key)):
            raise DamagedBackup(
                f"{where} cannot be trusted: it was changed by somebody who has not got the data key", _HINT
            )

    def _mac(self, key: DataKey) -> str:
        return key.mac("recipients", _text(msgspec.structs.replace(self, mac=_BLANK, checksum=_BLANK))).hex()

    @property
    def names(self) -> str:
        """Whom it is for, for people."""
        return ", ".join(each.name for each in self.recipients)

    def encoded(self) -> bytes:
        """As it is written."""
        blank = msgspec.structs.replace(self, checksum=_BLANK)
        whole = msgspec.structs.replace(self, checksum=digest(_text(blank)))
        return _text(whole)


def check_passphrases(recipients: Iterable[AnyRecipient], there: WrappedKeys | None = None) -> None:
    """Raises `InvalidInput` for too many, with those that are there, before each of them takes its while."""
    new = {each.text for each in recipients if isinstance(each, Passphrase)}
    old = [each for each in there.recipients if isinstance(each, ForPassphrase)] if there else []
    if len(new) + len(old) > MOST_PASSPHRASES:
        raise _too_many(_PASSPHRASES)


def _too_many(why: str) -> InvalidInput:
    return InvalidInput(f"the backup cannot have as many recipients: {why}", "give fewer, or remove some")


class _Version(msgspec.Struct):
    format: int


_decode_version: Final = msgspec.json.Decoder(_Version).decode  # as in `manifest`
_decode_keys: Final = msgspec.json.Decoder(WrappedKeys).decode


def _text(keys: WrappedKeys) -> bytes:
    return msgspec.json.format(msgspec.json.encode(keys), indent=2) + b"\n"


def decode(text: bytes, key: str, where: object) -> WrappedKeys:
    """Read the wrapped forms of the key with this id; raises `DamagedBackup` for anything else, and `UnknownFormat`."""
    try:
        if len(text) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
        if (version := _decode_version(text).format) > FORMAT:
            raise UnknownFormat(
                f"{where} has format {version}; this software reads up to {FORMAT}", "use a newer version"
            )
        keys = _decode_keys(text)
        if too_much := keys._too_much():
            raise ValueError(too_much)
        if keys.encoded() != text:
            raise ValueError("its checksum does not agree")
        if keys.key != key:
            raise ValueError("it has the data key of another backup")
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise DamagedBackup(f"{where} cannot be trusted: {error}", _HINT) from error
    return keys
