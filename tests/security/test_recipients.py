"""Data keys: wrapped for passphrases, keys and recipients, and opened by these alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest

from muniment.errors import InvalidInput, NotFound, TargetExists
from muniment.security.data_key import DataKey
from muniment.security.keyring import Keyring, Protection
from muniment.security.recipients import (
    AnyIdentity,
    AnyRecipient,
    ForPassphrase,
    Identity,
    Key,
    Passphrase,
    Recipient,
    Stretched,
    Wrapped,
    key_in,
    new_identity,
    passphrase_in,
    read_identities,
    read_recipient,
)

CHEAP = Stretched(b"s" * 16, memory_kib=64, passes=1, lanes=1)
IDENTITY = Identity(bytes(range(32)))
PAIRS: list[tuple[AnyRecipient, AnyIdentity, AnyIdentity]] = [
    (Passphrase("correct horse", CHEAP), Passphrase("correct horse"), Passphrase("correct horsf")),
    (Key(b"k" * 32), Key(b"k" * 32), Key(b"l" * 32)),
    (IDENTITY.recipient, IDENTITY, Identity(b"i" * 32)),
]


def _stored(wrapped: Wrapped) -> Wrapped:
    """As it is after it was written and read."""
    read: Wrapped = msgspec.json.decode(msgspec.json.encode(wrapped), type=Wrapped)
    return read


@pytest.mark.parametrize(("recipient", "identity", "other"), PAIRS)
def test_a_data_key_is_opened_by_what_it_was_wrapped_for_and_by_nothing_else(
    recipient: AnyRecipient, identity: AnyIdentity, other: AnyIdentity
) -> None:
    key = DataKey()
    wrapped = _stored(recipient.wrap(key))
    assert key.secret not in wrapped.wrapped
    opened = identity.unwrap(wrapped, key.id)
    assert opened is not None
    assert opened.secret == key.secret
    assert other.unwrap(wrapped, key.id) is None
    assert identity.unwrap(wrapped, DataKey().id) is None  # it is bound to the key that its backup names


@pytest.mark.parametrize(("recipient", "identity", "_other"), PAIRS)
def test_no_flipped_bit_of_a_wrapped_key_is_taken_for_another_key(
    recipient: AnyRecipient, identity: AnyIdentity, _other: AnyIdentity
) -> None:
    key = DataKey()
    wrapped = recipient.wrap(key)
    for position in range(len(wrapped.wrapped)):
        changed = bytearray(wrapped.wrapped)
        changed[position] ^= 1
        assert identity.unwrap(msgspec.structs.replace(wrapped, wrapped=bytes(changed)), key.id) is None


def test_each_use_of_a_data_key_has_a_key_of_its_own() -> None:
    key = DataKey()
    text = key.seal("manifest", b"secret", b"bound")
    assert key.unseal("manifest", text, b"bound") == b"secret"
    assert key.unseal("settings", text, b"bound") is None
    assert key.unseal("manifest", text, b"other") is None
    assert DataKey().unseal("manifest", text, b"bound") is None
    assert key.unseal("manifest", b"", b"bound") is None
    assert key.parquet != key.secret
    assert key.secret.hex() not in repr(key)
    assert DataKey(key.secret) == key != DataKey()


def test_two_passphrases_have_two_salts_and_what_asks_for_too_much_memory_is_refused() -> None:
    key = DataKey()
    one, two = Passphrase("same").wrap(key), Passphrase("same").wrap(key)
    assert isinstance(one, ForPassphrase)
    assert isinstance(two, ForPassphrase)
    assert one.argon2id.salt != two.argon2id.salt
    assert one.argon2id.memory_kib == 64 * 1024
    greedy = msgspec.json.encode(one).replace(b'"memory_kib":65536', b'"memory_kib":99999999')
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(greedy, type=Wrapped)


def test_an_identity_is_made_in_a_file_for_its_owner_alone_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    recipient = new_identity(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (identity,) = read_identities(path)
    assert (
        identity.recipient == recipient == read_recipient(str(recipient)) == read_recipient(f" {recipient}\n".upper())
    )
    assert identity.secret.hex() not in repr(identity)
    with pytest.raises(TargetExists):
        new_identity(path)
    assert read_identities(path) == [identity]


def test_a_recipient_that_was_mistyped_is_refused_and_no_secret_is_repeated(tmp_path: Path) -> None:
    text = str(IDENTITY.recipient)
    for position in range(len("muniment-recipient-"), len(text)):
        other = "b" if text[position] == "a" else "a"
        with pytest.raises(InvalidInput):
            read_recipient(text[:position] + other + text[position + 1 :])
    for bad in ("", text[:-1], text + "a", text.replace("recipient", "signer"), "é" * 80):
        with pytest.raises(InvalidInput):
            read_recipient(bad)
    secret = tmp_path / "identity"
    new_identity(secret)
    line = secret.read_text().splitlines()[-1]
    secret.write_text(line[:-2] + ("aa" if not line.endswith("aa") else "bb"))
    with pytest.raises(InvalidInput) as caught:
        read_identities(secret)
    assert line[20:40] not in f"{caught.value} {caught.value.hint}"


def test_a_point_for_which_nobody_can_encrypt_is_no_recipient() -> None:
    with pytest.raises(InvalidInput):
        read_recipient(str(Recipient(bytes(32))))


def test_secrets_come_from_files(tmp_path: Path) -> None:
    passphrase, key = tmp_path / "passphrase", tmp_path / "key"
    passphrase.write_text("correct horse battery staple\r\n")
    assert passphrase_in(passphrase).text == "correct horse battery staple"
    key.write_text("AAECAwQFBgcICQoLDA0ODxAREhMU\nFRYXGBkaGxwdHh8=\n")
    assert key_in(key).secret == bytes(range(32))
    with pytest.raises(NotFound):
        passphrase_in(tmp_path / "none")
    for bad in (b"", b"\n", b"two\nlines\n", b"\xff", b"x" * 100_000):
        passphrase.write_bytes(bad)
        with pytest.raises(InvalidInput):
            passphrase_in(passphrase)
    for bad in (b"", b"AAEC", b"not base64!", b"\xff"):
        key.write_bytes(bad)
        with pytest.raises(InvalidInput):
            key_in(key)
        with pytest.raises(InvalidInput):
            read_identities(key)


def test_a_keyring_opens_with_whatever_fits_and_both_may_be_sent_to_another_process(tmp_path: Path) -> None:
    recipient = new_identity(tmp_path / "identity")
    (tmp_path / "passphrase").write_text("correct horse")
    protection = Protection.of(passphrase_file=tmp_path / "passphrase", recipients=[str(recipient)])
    key = DataKey()
    wrapped = [each.wrap(key) for each in protection.recipients]
    assert Keyring.of(passphrase_file=tmp_path / "passphrase").unwrap(wrapped, key.id) == key
    keyring = Keyring.of(identities=[tmp_path / "identity"])
    assert keyring.unwrap(wrapped, key.id) == key
    assert keyring.unwrap(wrapped[1:], key.id) is None
    assert Keyring().unwrap(wrapped, key.id) is None
    assert protection.keyring.unwrap(wrapped[1:], key.id) == key
    assert "correct" not in repr(protection)
    for value in (protection, keyring):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=type(value)) == value


def test_random_keys_are_as_long_as_they_have_to_be() -> None:
    assert len(DataKey().secret) == 32
    with pytest.raises(ValueError, match="32 bytes"):
        DataKey(os.urandom(16))
