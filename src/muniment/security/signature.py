"""Signatures of manifests, Ed25519 (RFC 8032): they prove who made a backup, by a key that only its maker has."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta

from muniment.errors import InvalidInput
from muniment.security.armor import armored, dearmored
from muniment.security.secret_files import read_secret, write_secret

PUBLIC: Final = "muniment-signer"
SECRET: Final = "muniment-signing-key"
_WHAT: Final = b"muniment backup manifest\n"  # so that our signatures are valid for no other texts


class Signature(msgspec.Struct, frozen=True):
    """A signature, and the public key that it is to be checked with, as text."""

    signer: str
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]

    def holds(self, text: bytes, trusted: Collection[str]) -> bool:
        """Whether one of these signers has signed this text."""
        if self.signer not in trusted:
            return False
        public = Ed25519PublicKey.from_public_bytes(dearmored(PUBLIC, self.signer))
        try:
            public.verify(self.signature, _WHAT + text)
        except InvalidSignature:
            return False
        return True


class SigningKey(msgspec.Struct, frozen=True):
    """The secret key that signs manifests."""

    secret: bytes

    def __repr__(self) -> str:
        return f"SigningKey({self.signer})"

    @property
    def signer(self) -> str:
        """Its public key."""
        return armored(PUBLIC, Ed25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw())

    def sign(self, text: bytes) -> Signature:
        """The signature of a manifest."""
        return Signature(self.signer, Ed25519PrivateKey.from_private_bytes(self.secret).sign(_WHAT + text))


def new_signing_key(path: Path) -> str:
    """Make a signing key in a new file that only its owner may read; returns its public key. Raises `TargetExists`."""
    key = SigningKey(os.urandom(32))
    write_secret(path, f"# Keep this secret.\n# {key.signer}\n{armored(SECRET, key.secret)}\n")
    return key.signer


def signing_key_in(path: Path) -> SigningKey:
    """The signing key in a file."""
    lines = [line.strip() for line in read_secret(path, "signing key").splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if len(found) != 1:
        raise InvalidInput(
            f"{path} does not have one signing key", "make one with `muniment identity generate --signing FILE`"
        )
    return SigningKey(dearmored(SECRET, found[0]))


def check_signer(text: str) -> str:
    """A public key as it was printed; raises `InvalidInput` for anything else."""
    return armored(PUBLIC, dearmored(PUBLIC, text))
