"""Keys: made, stored, proven; what they let their holders do."""

from __future__ import annotations

import pytest

from muniment.errors import InvalidInput
from muniment.security.access import ALL, NONE, Access, Right
from muniment.security.keys import MIN_PASSWORD, Key, Proven, decode_key, new_key, split_key

_KEY = new_key("anna", ["read"])[0]


def test_a_key_is_its_secret_s_alone() -> None:
    key, text = new_key("nightly", ["backup"], ["shop"])
    name, secret = split_key(text)
    assert (name, key.rights, key.databases, key.enabled) == ("nightly", (Right.BACKUP,), ("shop",), True)
    assert key.has(secret)
    assert not key.has(secret + "x")
    assert not key.has("")
    assert not key.has("\ud800")
    assert not key.has("x" * 1_000_000)
    _, other = new_key("nightly", ["backup"], ["shop"])
    assert not key.has(split_key(other)[1])


def test_a_key_is_stored_without_its_secret_and_read_again() -> None:
    key, text = new_key("nightly", ["backup", "READ"])
    assert split_key(text)[1].encode() not in key.encoded()
    assert decode_key(key.encoded()) == key
    assert key.rights == (Right.READ, Right.BACKUP)


def test_rotating_a_key_ends_the_old_secret() -> None:
    key, old = new_key("app", ["write"])
    rotated, new = key.rotated()
    assert rotated.has(split_key(new)[1])
    assert not rotated.has(split_key(old)[1])
    assert (rotated.name, rotated.rights) == (key.name, key.rights)


def test_a_user_s_password_is_its_own_choice_and_not_a_short_one() -> None:
    password = "correct horse/battery: ü"
    key, text = new_key("OFFICE\\anna", ["read"], password=password)
    assert key.has(password)
    assert split_key(text) == ("OFFICE\\anna", password)
    other = "twelve chars"
    assert len(other) == MIN_PASSWORD
    rotated, _ = key.rotated(other)
    assert rotated.has(other)
    assert not rotated.has(password)


@pytest.mark.parametrize(
    "password", ["", "eleven char", " twelve chars", "twelve chars\n", "twelve\0chars", "x" * 1025]
)
def test_some_passwords_cannot_be_and_are_not_repeated(password: str) -> None:
    with pytest.raises(InvalidInput, match="password") as raised:
        _KEY.rotated(password)
    assert not password or password not in str(raised.value)
    with pytest.raises(InvalidInput, match="password"):
        new_key("anna", ["read"], password=password)


@pytest.mark.parametrize("name", ["", "a/b", " a", "a\n", "a:b", 'a"', "x" * 101])
def test_some_names_cannot_be(name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be the name of a key"):
        new_key(name, ["read"])


@pytest.mark.parametrize("rights", [[], ["reed"], ["read", ""]])
def test_a_right_is_one_of_five(rights: list[str]) -> None:
    with pytest.raises(InvalidInput, match="right"):
        new_key("app", rights)


def test_a_database_s_name_is_not_empty() -> None:
    with pytest.raises(InvalidInput, match="name is empty"):
        new_key("app", ["read"], [""])


@pytest.mark.parametrize("text", ["", "nightly", "/secret", "nightly/", "  "])
def test_what_is_no_key_is_not_repeated(text: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        split_key(text)
    assert not text.strip() or text.strip() not in str(raised.value)


@pytest.mark.parametrize("body", [b"{}", b'{"Name":"a","Secret":"b"}', b"[]", b"{", b'{"Name":1}'])
def test_a_document_that_is_no_key_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="not a key"):
        decode_key(body)


def test_a_hash_that_is_damaged_matches_nothing() -> None:
    assert not Key("app", "$argon2id$nonsense", (Right.READ,)).has("x")


def test_a_proven_secret_counts_for_the_hash_that_it_was_proven_against() -> None:
    key, text = new_key("app", ["read"])
    secret = split_key(text)[1]
    proven = Proven(most=2)
    assert not proven.knows(key, secret)
    proven.note(key, secret)
    assert proven.knows(key, secret)
    assert not proven.knows(key, secret + "x")
    assert not proven.knows(key.rotated()[0], secret)
    for _ in range(3):  # bounded
        proven.note(key.rotated()[0], "s")
    assert len(proven._known) <= 2


_TABLE = {
    # held: what is allowed, for the database that it holds for
    "read": "read",
    "write": "read write",
    "backup": "backup",
    "restore": "restore",
    "admin": "read write backup restore admin",
}


@pytest.mark.parametrize("held", Right)
@pytest.mark.parametrize("asked", Right)
def test_rights_by_pairs(held: Right, asked: Right) -> None:
    expected = asked in _TABLE[held].split()
    access = Access.of([held], ["Shop"])
    assert access.allows("shop", [asked]) is expected
    assert access.allows("SHOP", [asked]) is expected
    assert not access.allows("other", [asked])
    assert not access.allows(None, [asked])
    assert not access.allows("<system>", [asked])
    every = Access.of([held])
    assert every.allows("shop", [asked]) is expected
    assert every.allows("<System>", [asked]) is (held is Right.ADMIN)
    assert every.allows(None, [asked]) is (held is Right.ADMIN)


def test_all_and_none() -> None:
    assert all(ALL.allows(database, [right]) for database in (None, "<system>", "shop") for right in Right)
    assert not any(NONE.allows(database, [right]) for database in (None, "<system>", "shop") for right in Right)
