"""The keys of a server, in a system database that is open here, and in one that is asked over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from muniment.api_keys import ApiKeys
from muniment.errors import Conflict, InvalidInput, NotFound
from muniment.security.access import Right
from muniment.security.keys import PREFIX, decode_key, split_key
from tests.client.conftest import store, url

__all__ = ["store", "url"]


@pytest.fixture(params=["embedded", "store"])
def system(request: pytest.FixtureRequest) -> Any:
    """A database for keys, here or on a server."""
    return request.getfixturevalue("database" if request.param == "embedded" else "store")


def test_a_key_is_made_found_and_ended(system: Any) -> None:
    keys = ApiKeys(system)
    assert list(keys) == []
    key, api_key = keys.add("Nightly", ["backup"], ["shop"])
    name, secret = split_key(api_key)
    assert (name, key.rights, key.databases) == ("Nightly", (Right.BACKUP,), ("shop",))
    assert list(keys) == [("Nightly", key)]
    stored = system.get(PREFIX + "nightly")
    assert secret.encode() not in stored.body
    assert decode_key(stored.body) == key
    assert key.has(secret)

    rotated, other = keys.rotate("NIGHTLY")
    assert decode_key(system.get(PREFIX + "Nightly").body) == rotated
    assert rotated.has(split_key(other)[1])
    assert not rotated.has(secret)

    assert not keys.disable("nightly").enabled
    assert not keys.rotate("nightly")[0].enabled
    assert [key and key.enabled for _, key in keys] == [False]
    assert keys.enable("nightly").enabled
    etag = system.get(PREFIX + "nightly").etag
    assert keys.enable("nightly").enabled
    assert system.get(PREFIX + "nightly").etag == etag


def test_what_cannot_be_done_leaves_the_keys_as_they_are(system: Any) -> None:
    keys = ApiKeys(system)
    keys.add("boss", ["admin"])
    before = list(keys)
    with pytest.raises(Conflict, match="there is a key BOSS already"):
        keys.add("BOSS", ["read"])
    with pytest.raises(InvalidInput, match="no right 'fly'"):
        keys.add("pilot", ["fly"])
    for name in ("", "a/b", 'a"b'):
        with pytest.raises(InvalidInput, match="cannot be the name"):
            keys.add(name, ["read"])
        with pytest.raises(InvalidInput, match="cannot be the name"):
            keys.rotate(name)
    for change in (keys.rotate, keys.disable, keys.enable):
        with pytest.raises(NotFound, match="there is no key nobody"):
            change("nobody")
    assert list(keys) == before


def test_more_keys_than_a_page_and_what_is_none(system: Any) -> None:
    keys = ApiKeys(system)
    system.put(f"{PREFIX}damaged", {"Name": "damaged"})
    keys.add("odd", ["read"])
    body = system.get(f"{PREFIX}odd").body
    for number in range(1030):
        system.put(f"{PREFIX}k{number:04}", body)
    found = dict(keys)
    assert len(found) == 1032
    assert [name for name, key in found.items() if key is None] == ["damaged"]
    for change in (keys.rotate, keys.disable):
        with pytest.raises(InvalidInput, match="not a key"):
            change("damaged")
