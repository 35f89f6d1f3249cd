"""Whom a data key is wrapped for, and who can unwrap it: passphrases, keys, and X25519 recipients with identities.

Recipient and identity are age's words (https://age-encryption.org/v1): for a recipient one can only encrypt. A
passphrase and a key are both at once.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from msgspec import Meta

from muniment.errors import InvalidInput
from muniment.security.armor import armored, dearmored
from muniment.security.data_key import KEY_BYTES, DataKey, derived, sealed, unsealed
from muniment.security.secret_files import read_key_file, read_passphrase, read_secret, write_secret

RECIPIENT: Final = "muniment-recipient"
IDENTITY: Final = "muniment-identity"
# RFC 9106, section 4: the set for where memory is scarce, 64 MiB, three passes, four lanes.
MEMORY_KIB: Final = 64 << 10
PASSES: Final = 3
LANES: Final = 4
# What a file may ask for: whoever may write it must not be able to end who reads it by memory, or keep him for long.
MOST_MEMORY_KIB: Final = 256 << 10
MOST_PASSES: Final = 10
MOST_LANES: Final = 16
_SALT_BYTES: Final = 16
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)  # RFC 9180, base mode
_HPKE_INFO: Final = b"muniment backup data key"

Bytes: TypeAlias = Annotated[bytes, Meta(min_length=16, max_length=256)]


class Stretched(msgspec.Struct, frozen=True):
    """How a passphrase becomes a key: the salt and the costs of Argon2id. What asks for too much is refused."""

    salt: Bytes
    memory_kib: Annotated[int, Meta(ge=8, le=MOST_MEMORY_KIB)] = MEMORY_KIB
    passes: Annotated[int, Meta(ge=1, le=MOST_PASSES)] = PASSES
    lanes: Annotated[int, Meta(ge=1, le=MOST_LANES)] = LANES


def new_stretched() -> Stretched:
    """With a salt of its own."""
    return Stretched(os.urandom(_SALT_BYTES))


class ForPassphrase(msgspec.Struct, frozen=True, tag="passphrase", tag_field="kind"):
    """A data key that was wrapped for a passphrase."""

    argon2id: Stretched
    wrapped: Bytes

    @property
    def name(self) -> str:
        """How people name it; backups of one chain have the same salt."""
        return f"passphrase-{self.argon2id.salt[:4].hex()}"


class ForKey(msgspec.Struct, frozen=True, tag="key", tag_field="kind"):
    """A data key that was wrapped for a key, of which an id is known."""

    id: str
    wrapped: Bytes

    @property
    def name(self) -> str:
        """How people name it."""
        return f"key-{self.id}"


class ForRecipient(msgspec.Struct, frozen=True, tag="x25519", tag_field="kind"):
    """A data key that was wrapped for an X25519 recipient (HPKE: the encapsulated key and what it encrypts)."""

    recipient: str
    wrapped: Bytes

    @property
    def name(self) -> str:
        """The recipient."""
        return self.recipient


Wrapped: TypeAlias = ForPassphrase | ForKey | ForRecipient


class Passphrase(msgspec.Struct, frozen=True, tag=True):
    """A passphrase. `stretched` says how others were wrapped for it; without it, a salt of its own is taken."""

    text: str
    stretched: Stretched | None = None

    def __repr__(self) -> str:
        return "Passphrase(…)"

    def wrap(self, key: DataKey) -> Wrapped:
        """The data key, wrapped for it."""
        stretched = self.stretched or new_stretched()
        return ForPassphrase(stretched, sealed(_stretch(self.text, stretched), key.secret, key.id.encode()))

    def unwrap(self, wrapped: Wrapped, id: str) -> DataKey | None:
        """The data key of this id, None if it was wrapped for something else."""
        if not isinstance(wrapped, ForPassphrase):
            return None
        return _checked(unsealed(_stretch(self.text, wrapped.argon2id), wrapped.wrapped, id.encode()), id)


class Key(msgspec.Struct, frozen=True, tag=True):
    """A key of 32 bytes that both sides have."""

    secret: bytes

    def __repr__(self) -> str:
        return f"Key({self.id})"

    @property
    def id(self) -> str:
        """The id that names the key without revealing it."""
        return derived(self.secret, "wrapping key id", 8).hex()

    def wrap(self, key: DataKey) -> Wrapped:
        """The data key, wrapped for it."""
        return ForKey(self.id, sealed(derived(self.secret, "wrapping key"), key.secret, key.id.encode()))

    def unwrap(self, wrapped: Wrapped, id: str) -> DataKey | None:
        """The data key of this id, None if it was wrapped for something else."""
        if not isinstance(wrapped, ForKey) or wrapped.id != self.id:
            return None
        return _checked(unsealed(derived(self.secret, "wrapping key"), wrapped.wrapped, id.encode()), id)


class Recipient(msgspec.Struct, frozen=True, tag=True):
    """The public half of an identity: whoever has it can encrypt, but not decrypt."""

    public: bytes

    def __str__(self) -> str:
        return armored(RECIPIENT, self.public)

    def wrap(self, key: DataKey) -> Wrapped:
        """The data key, wrapped for it."""
        public = X25519PublicKey.from_public_bytes(self.public)
        return ForRecipient(str(self), _SUITE.encrypt(key.secret, public, _HPKE_INFO + key.id.encode()))


class Identity(msgspec.Struct, frozen=True, tag=True):
    """The secret half, which opens what was encrypted for its recipient."""

    secret: bytes

    def __repr__(self) -> str:
        return f"Identity({self.recipient})"

    @property
    def recipient(self) -> Recipient:
        """Its public half."""
        return Recipient(X25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw())

    def unwrap(self, wrapped: Wrapped, id: str) -> DataKey | None:
        """The data key of this id, None if it was wrapped for something else."""
        if not isinstance(wrapped, ForRecipient) or wrapped.recipient != str(self.recipient):
            return None
        private = X25519PrivateKey.from_private_bytes(self.secret)
        try:
            return _checked(_SUITE.decrypt(wrapped.wrapped, private, _HPKE_INFO + id.encode()), id)
        except (InvalidTag, ValueError):
            return None


class Opened(msgspec.Struct, frozen=True, tag=True):
    """A data key that was unwrapped before, for another process."""

    secret: bytes

    def __repr__(self) -> str:
        return "Opened(…)"

    def unwrap(self, wrapped: Wrapped, id: str) -> DataKey | None:
        """The data key, if it is the one of this id."""
        return _checked(self.secret, id)


AnyRecipient: TypeAlias = Passphrase | Key | Recipient
AnyIdentity: TypeAlias = Opened | Passphrase | Key | Identity


def _checked(secret: bytes | None, id: str) -> DataKey | None:
    key = DataKey(secret) if secret is not None and len(secret) == KEY_BYTES else None
    return key if key and key.id == id else None


@lru_cache(maxsize=16)  # it takes a tenth of a second on purpose, and the backups of a chain have one salt
def _stretch(text: str, how: Stretched) -> bytes:
    try:
        return Argon2id(
            salt=how.salt, length=KEY_BYTES, iterations=how.passes, lanes=how.lanes, memory_cost=how.memory_kib
        ).derive(text.encode())
    except ValueError as error:
        raise InvalidInput(f"Argon2id cannot have these costs: {error}", "use another copy of the backup") from error


def new_identity(path: Path) -> Recipient:
    """Make an identity in a new file that only its owner may read; returns its recipient. Raises `TargetExists`."""
    identity = Identity(os.urandom(KEY_BYTES))
    text = f"# Keep this secret, and more than one copy of it.\n# {identity.recipient}\n"
    write_secret(path, text + armored(IDENTITY, identity.secret) + "\n")
    return identity.recipient


def read_recipient(text: str) -> Recipient:
    """A recipient as it was printed; raises `InvalidInput` for anything else."""
    public = dearmored(RECIPIENT, text)
    try:
        Recipient(public).wrap(DataKey())
    except ValueError as error:  # a point for which there is no shared secret
        raise InvalidInput("nothing can be encrypted for this recipient", "make a new identity") from error
    return Recipient(public)


def read_identities(path: Path) -> list[Identity]:
    """The identities in a file, one a line, with comments after #; raises `InvalidInput` when there is none."""
    lines = [line.strip() for line in read_secret(path, "identity").splitlines()]
    found = [Identity(dearmored(IDENTITY, line)) for line in lines if line and not line.startswith("#")]
    if not found:
        raise InvalidInput(f"{path} has no identity", "make one with `muniment identity generate FILE`")
    return found


def passphrase_in(path: Path) -> Passphrase:
    """The passphrase in a file."""
    return Passphrase(read_passphrase(path))


def key_in(path: Path) -> Key:
    """The key in a file."""
    return Key(read_key_file(path))
