"""Keys of encrypted databases: read in every form that is one, and never shown."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest

from muniment.errors import InvalidInput, NotFound, TargetExists
from muniment.security.encryption import (
    Algorithm,
    EncryptionKey,
    algorithm_in,
    given_key,
    key_in,
    new_key,
    read_key,
    write_key,
)

SECRET = bytes(range(32))
TEXT = b64encode(SECRET).decode()


def test_a_key_is_its_base64() -> None:
    assert key_in(f" {TEXT}\n") == EncryptionKey(SECRET)
    assert EncryptionKey(SECRET).text == TEXT


@pytest.mark.parametrize(
    "text", ["", "x", TEXT[:-4], f"{TEXT}AAAA", f"{TEXT[:20]} {TEXT[20:]}", "é" * 44, SECRET.hex()]
)
def test_what_is_no_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        key_in(text)
    assert not text or text == "x" or text not in f"{refused.value} {refused.value.hint}"


def test_a_key_is_not_shown() -> None:
    for shown in (repr(EncryptionKey(SECRET)), str(EncryptionKey(SECRET)), f"{[EncryptionKey(SECRET)]}"):
        assert TEXT not in shown
        assert SECRET.hex() not in shown
        assert repr(SECRET)[2:-1] not in shown


def test_two_keys_are_never_the_same() -> None:
    assert len({new_key().secret for _ in range(100)}) == 100


def test_a_key_is_written_for_its_owner_alone_and_never_over_another(tmp_path: Path) -> None:
    file = tmp_path / "shop.key"
    write_key(file, EncryptionKey(SECRET))
    assert file.stat().st_mode & 0o777 == 0o600
    assert read_key(file, Algorithm.CHACHA20) == EncryptionKey(SECRET, Algorithm.CHACHA20)
    with pytest.raises(TargetExists):
        write_key(file, new_key())
    assert read_key(file) == EncryptionKey(SECRET)
    assert [path.name for path in tmp_path.iterdir()] == ["shop.key"]


def test_a_file_that_is_missing_or_holds_no_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_key(tmp_path / "missing")
    (tmp_path / "other").write_bytes(SECRET)
    with pytest.raises(InvalidInput):
        read_key(tmp_path / "other")


@pytest.mark.parametrize("key", [3, SECRET[:31], ["x"], Path("key")])
def test_a_key_of_another_kind_is_refused(key: object) -> None:
    with pytest.raises(InvalidInput):
        given_key(key, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "algorithm"),
    [
        ("aegis", Algorithm.AEGIS),
        ("ChaCha20", Algorithm.CHACHA20),
        ("AES-256", Algorithm.AES_256),
        ("System.Security.Cryptography.AesManaged, System.Core", Algorithm.AES_256),
        ("System.Security.Cryptography.RijndaelManaged", Algorithm.AES_256),
    ],
)
def test_algorithms_have_their_names_and_those_of_dotnet(text: str, algorithm: Algorithm) -> None:
    assert algorithm_in(text) is algorithm


@pytest.mark.parametrize("text", ["", "none", "System.Security.Cryptography.DESCryptoServiceProvider", "RC2"])
def test_a_weak_or_unknown_algorithm_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        algorithm_in(text)
