"""Signatures: of a text, by a signer that is trusted."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from muniment.errors import InvalidInput
from muniment.security.recipients import new_identity
from muniment.security.signature import Signature, SigningKey, check_signer, new_signing_key, signing_key_in


def test_a_signature_holds_for_its_text_and_its_signer_alone(tmp_path: Path) -> None:
    path = tmp_path / "signing-key"
    signer = new_signing_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key, other = signing_key_in(path), SigningKey(b"o" * 32)
    assert key.signer == signer == check_signer(f"{signer.upper()}\n")
    assert key.secret.hex() not in repr(key)
    signed = msgspec.json.decode(msgspec.json.encode(key.sign(b"manifest")), type=Signature)
    assert signed.holds(b"manifest", [other.signer, signer])
    assert not signed.holds(b"manifesu", [signer])
    assert not signed.holds(b"manifest", [other.signer])
    assert not signed.holds(b"manifest", [])
    assert not msgspec.structs.replace(other.sign(b"manifest"), signer=signer).holds(b"manifest", [signer])


def test_a_signature_says_nothing_of_texts_that_are_no_manifests() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = SigningKey(b"k" * 32)
    elsewhere = Ed25519PrivateKey.from_private_bytes(key.secret).sign(b"manifest")
    assert not Signature(key.signer, elsewhere).holds(b"manifest", [key.signer])


def test_what_is_no_signing_key_is_refused(tmp_path: Path) -> None:
    new_identity(tmp_path / "identity")
    (tmp_path / "empty").write_text("# nothing\n")
    for name in ("identity", "empty"):
        with pytest.raises(InvalidInput):
            signing_key_in(tmp_path / name)
    with pytest.raises(InvalidInput):
        check_signer("muniment-recipient-aaaa")
