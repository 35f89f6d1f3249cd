"""Keys: a name, a secret of which only a hash is kept, and rights.

A key stands in the system database as the document `Raven/ApiKeys/NAME`. Programs send `NAME/SECRET`, cut at the first
slash as in RavenDB.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

import msgspec
from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from muniment.document import encode
from muniment.errors import InvalidInput
from muniment.security.access import EVERY, Access, Right, rights_in

PREFIX: Final = "Raven/ApiKeys/"
SECRET_BYTES: Final = 32
MAX_SECRET: Final = 1024
MIN_PASSWORD: Final = 12  # characters, as OWASP's Application Security Verification Standard 4.0 has it (2.1.1)
MAX_NAME: Final = 100
# OWASP's smallest set for Argon2id (Password Storage Cheat Sheet): 19 MiB, two passes, one lane.
MEMORY_KIB: Final = 19 * 1024
PASSES: Final = 2
_SALT_BYTES: Final = 16
_NOT_IN_NAMES: Final = re.compile(r"[\x00-\x1f\x7f/:\"]")


class Key(msgspec.Struct, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """A key as it is stored. `hash` is of its secret (Argon2id, in the form of the PHC string format).

    With `data_roots` or `backup_roots`, only folders below these may be named with it for databases and for backups,
    of those that the server uses at all. `old_clients` is the secret of a key that was made for RavenDB's old clients,
    as the master key of the server wraps it; empty for all others.
    """

    name: str
    hash: str
    rights: tuple[Right, ...]
    databases: tuple[str, ...] = (EVERY,)
    enabled: bool = True
    created: str = ""
    data_roots: tuple[str, ...] = ()
    backup_roots: tuple[str, ...] = ()
    old_clients: str = ""

    @property
    def access(self) -> Access:
        """What its holder may do."""
        return Access.of(self.rights, self.databases)

    @property
    def id(self) -> str:
        """The id of its document."""
        return PREFIX + self.name

    def encoded(self) -> bytes:
        """Its document."""
        return encode(msgspec.to_builtins(self))

    def has(self, secret: str) -> bool:
        """Whether this is its secret. Takes about 20 ms of processor, and 19 MiB, on purpose."""
        if len(secret) > MAX_SECRET:
            return False
        try:
            Argon2id.verify_phc_encoded(secret.encode("utf-8", "surrogatepass"), self.hash)
        except (InvalidKey, ValueError):
            return False
        return True

    def rotated(self, password: str | None = None) -> tuple[Key, str]:
        """The key with another secret, or with this password, and what its holder sends now.

        Raises `InvalidInput` for a password that is too short.
        """
        if password is not None:
            check_password(password)
        secret = secrets.token_urlsafe(SECRET_BYTES) if password is None else password
        return msgspec.structs.replace(self, hash=hashed(secret), old_clients=""), f"{self.name}/{secret}"


def new_key(
    name: str,
    rights: Iterable[str],
    databases: Iterable[str] = (),
    created: str = "",
    password: str | None = None,
) -> tuple[Key, str]:
    """A key with a secret that nobody has seen, or with this password, and what its holder sends: `NAME/SECRET`, kept
    nowhere.

    With no databases it holds for all and for the server itself. Raises `InvalidInput` for a name, right, database or
    password that cannot be.
    """
    check_key_name(name)
    named = tuple(databases) or (EVERY,)
    if "" in named:
        raise InvalidInput("a database's name is empty", "name the database, or leave it out for all")
    return Key(name, "", rights_in(rights), named, created=created).rotated(password)


def check_key_name(name: str) -> None:
    """Raises `InvalidInput` for what cannot be the name of a key."""
    if not name or len(name) > MAX_NAME or _NOT_IN_NAMES.search(name) or name != name.strip():
        raise InvalidInput(
            f"{name!r} cannot be the name of a key", f"give 1 to {MAX_NAME} characters without / : or quotes"
        )


def check_key_for_old_clients(name: str) -> None:
    """Raises `InvalidInput` for a name that RavenDB's old clients cannot send as it is."""
    if not name.isascii() or "," in name:
        raise InvalidInput(f"old clients cannot send the name {name!r}", "give one of ASCII characters, without commas")


def check_password(password: str) -> None:
    """Raises `InvalidInput`, which does not repeat it, for what is too short, or would not arrive as it is typed."""
    if len(password) < MIN_PASSWORD:
        raise InvalidInput(
            f"the password has {len(password)} characters", f"give {MIN_PASSWORD} or more: a few words that go together"
        )
    if len(password) > MAX_SECRET or not password.isprintable() or password != password.strip():
        raise InvalidInput(
            "this cannot be a password",
            f"give {MIN_PASSWORD} to {MAX_SECRET:,} characters on one line, without blanks at either end",
        )


def decode_key(body: bytes) -> Key:
    """The key in a document; raises `InvalidInput` for anything else."""
    try:
        return msgspec.json.decode(body, type=Key)
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"this is not a key: {error}", "make one with `muniment keys add`") from error


def split_key(text: str) -> tuple[str, str]:
    """Name and secret of `NAME/SECRET`; raises `InvalidInput`, which does not repeat it."""
    name, slash, secret = text.strip().partition("/")
    if not (name and slash and secret):
        raise InvalidInput("this is not a key", "give it as it was printed: NAME/SECRET")
    return name, secret


def hashed(secret: str) -> str:
    """What is stored of a secret."""
    return Argon2id(
        salt=os.urandom(_SALT_BYTES), length=32, iterations=PASSES, lanes=1, memory_cost=MEMORY_KIB
    ).derive_phc_encoded(secret.encode())


class Proven:
    """Secrets that were verified before, so that a program's next request is spared the 20 ms.

    They are kept as keyed hashes, only in memory, and count only for the stored hash that they were verified against.
    """

    def __init__(self, most: int = 1000) -> None:
        self._key = os.urandom(32)
        self._most = most
        self._known: dict[tuple[str, str], bytes] = {}

    def knows(self, key: Key, secret: str) -> bool:
        """Whether this secret was proven for this key as it is now."""
        known = self._known.get((key.name, key.hash))
        return known is not None and hmac.compare_digest(known, self._digest(secret))

    def note(self, key: Key, secret: str) -> None:
        """Note that this secret was verified."""
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[key.name, key.hash] = self._digest(secret)

    def _digest(self, secret: str) -> bytes:
        return hmac.digest(self._key, secret.encode("utf-8", "surrogatepass"), sha256)
