"""Callers are known by their keys, and slowed when they guess."""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from muniment import DocumentDatabase
from muniment.security.access import Right
from muniment.security.keys import Key, decode_key, new_key, split_key
from muniment.server.callers import ONCE_SECONDS, TOKEN_SECONDS, Caller, Callers
from muniment.server.guesses import FREE_FAILURES, MAX_SOURCES, Guesses
from muniment.server.wire import Refused
from tests.sampled import some


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def system(tmp_path: Path) -> Iterator[DocumentDatabase]:
    with DocumentDatabase(tmp_path / "System") as database:
        yield database


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def callers(system: DocumentDatabase, clock: _Clock) -> Iterator[Callers]:
    found = Callers("local", system, clock)
    yield found
    found.close()


def _add(system: DocumentDatabase, name: str, *rights: str, databases: tuple[str, ...] = ()) -> str:
    key, text = new_key(name, rights, databases)
    system.put(key.id, key.encoded())
    return text


def _asked(callers: Callers, authorization: str, source: str = "10.0.0.1") -> Caller:
    return asyncio.run(callers.caller(authorization, source))


def _refused(callers: Callers, authorization: str, source: str = "10.0.0.1") -> Refused:
    with pytest.raises(Refused) as raised:
        _asked(callers, authorization, source)
    return raised.value


def test_a_key_is_known_with_its_rights(system: DocumentDatabase, callers: Callers) -> None:
    text = _add(system, "Nightly", "backup", databases=("shop",))
    for _ in range(2):  # proven, and known again
        caller = _asked(callers, f"Bearer {text}")
        assert (caller.name, caller.access.allows("shop", [Right.BACKUP])) == ("Nightly", True)
        assert not caller.access.allows("shop", [Right.READ])
    assert _asked(callers, f"bearer {text.replace('Nightly', 'NIGHTLY')}").name == "Nightly"


def test_a_user_sends_name_and_password(system: DocumentDatabase, callers: Callers) -> None:
    text = _add(system, "OFFICE\\anna", "read")
    basic = base64.b64encode(":".join(split_key(text)).encode()).decode()
    assert _asked(callers, f"Basic {basic}").name == "OFFICE\\anna"
    assert _refused(callers, f"Basic {base64.b64encode(b'anna:x').decode()}").status == 401


@some(4)
@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer x", "Bearer a/", "Basic", "Basic ???", "Basic YQ==", "Digest a/b", "\x00", "Bearer é/ü"],
)
def test_what_is_no_key_is_refused_and_not_repeated(system: DocumentDatabase, callers: Callers, header: str) -> None:
    _add(system, "app", "read")
    refused = _refused(callers, header)
    assert refused.status == 401
    assert refused.headers[0][0] == "www-authenticate"
    assert len(header) < 8 or header.partition(" ")[2] not in refused.message + refused.hint


def test_a_key_that_was_disabled_rotated_or_deleted_opens_nothing(system: DocumentDatabase, callers: Callers) -> None:
    text = _add(system, "app", "read")
    assert _asked(callers, f"Bearer {text}").name == "app"
    key = msgspec.json.decode(system_body(system, "app"), type=Key)
    system.put(key.id, msgspec.structs.replace(key, enabled=False).encoded())
    assert _refused(callers, f"Bearer {text}", "a").status == 401
    system.put(key.id, key.encoded())
    assert _asked(callers, f"Bearer {text}", "b").name == "app"
    rotated, new = key.rotated()
    system.put(key.id, rotated.encoded())
    assert _refused(callers, f"Bearer {text}", "c").status == 401
    assert _asked(callers, f"Bearer {new}", "d").name == "app"
    system.delete(key.id)
    assert _refused(callers, f"Bearer {new}", "e").status == 401


def system_body(system: DocumentDatabase, name: str) -> bytes:
    document = system.get(f"Raven/ApiKeys/{name}")
    assert document
    return document.body


def test_while_there_is_no_key_this_machine_may_do_all(system: DocumentDatabase, callers: Callers) -> None:
    assert callers.anonymous.access.allows(None, [Right.ADMIN])
    text = _add(system, "app", "read")
    assert not callers.anonymous.access.allows("shop", [Right.READ])
    system.delete(f"Raven/ApiKeys/{split_key(text)[0]}")
    assert callers.anonymous.access.allows(None, [Right.ADMIN])


def test_a_key_that_cannot_be_read_does_not_open_the_server(system: DocumentDatabase, callers: Callers) -> None:
    system.put("Raven/ApiKeys/app", {"Name": "app", "Secret": "in the clear", "Enabled": True})
    assert not callers.anonymous.access.allows("shop", [Right.READ])
    assert _refused(callers, "Bearer app/in the clear").status == 401


@pytest.mark.parametrize(
    ("setting", "allowed"), [("none", ""), ("get", "read"), ("all", "read write"), ("admin", " ".join(Right))]
)
def test_what_nobody_in_particular_may_do_is_a_setting(system: DocumentDatabase, setting: str, allowed: str) -> None:
    callers = Callers(setting, system)
    _add(system, "app", "read")
    access = callers.anonymous.access
    assert [right for right in Right if access.allows("shop", [right])] == allowed.split()
    assert access.allows(None, [Right.ADMIN]) is (setting == "admin")
    callers.close()


def test_a_source_that_guesses_is_slowed_and_others_are_not(
    system: DocumentDatabase, callers: Callers, clock: _Clock
) -> None:
    text = _add(system, "app", "read")
    other = _add(system, "other", "read")
    assert _asked(callers, f"Bearer {text}", "evil").name == "app"
    for _ in range(FREE_FAILURES):
        assert _refused(callers, "Bearer app/guess", "evil").status == 401
    refused = _refused(callers, f"Bearer {other}", "evil")  # right, but not looked at
    assert refused.status == 429
    assert dict(refused.headers)["retry-after"] == "1"
    assert _asked(callers, f"Bearer {text}", "evil").name == "app"  # proven before: it goes on working
    assert _asked(callers, f"Bearer {other}", "good").name == "other"
    clock.now += 1.1
    assert _refused(callers, "Bearer app/guess", "evil").status == 401
    clock.now += 1.1
    assert _refused(callers, "Bearer app/guess", "evil").status == 429  # two seconds now
    clock.now += 1.1
    third = _add(system, "third", "read")
    assert _asked(callers, f"Bearer {third}", "evil").name == "third"


@pytest.mark.parametrize(
    "sources", [["10.0.0.1"], [f"2001:db8::{n:x}:1" for n in range(45)], ["::ffff:10.0.0.1", "10.0.0.1"]]
)
def test_guesses_at_once_are_counted_as_those_one_after_the_other(
    system: DocumentDatabase, callers: Callers, sources: list[str]
) -> None:
    _add(system, "app", "read")

    async def together() -> list[Any]:
        asked = (callers.caller(f"Bearer app/guess-{n}", sources[n % len(sources)]) for n in range(45))
        return await asyncio.gather(*asked, return_exceptions=True)

    statuses = [error.status for error in asyncio.run(together())]
    assert (statuses.count(401), statuses.count(429)) == (FREE_FAILURES, 45 - FREE_FAILURES)


def test_many_sources_that_guess_keep_nobody_out(system: DocumentDatabase, callers: Callers) -> None:
    text = _add(system, "app", "read")
    for n in range(10):
        _refused(callers, "Bearer app/guess", f"2001:db8:0:{n:x}::1")
    order: list[str] = []

    async def asked(text: str, source: str) -> None:
        try:
            await callers.caller(f"Bearer {text}", source)
        finally:
            order.append(source)

    async def together() -> list[Any]:
        guesses = [asked("app/guess", f"2001:db8:0:{n:x}::{n}") for n in range(10)]
        return await asyncio.gather(*guesses, *(asked(text, "10.0.0.1") for _ in range(10)), return_exceptions=True)

    found = asyncio.run(together())
    assert [error.status for error in found[:10]] == [401] * 10
    assert found[10:] == [None] * 10  # all at once, with a key that was not proven before
    assert order.index("10.0.0.1") <= 1  # one guess was being looked at


def test_a_key_that_is_disabled_while_it_waits_opens_nothing(system: DocumentDatabase, callers: Callers) -> None:
    key, text = new_key("app", ["read"])
    system.put(key.id, key.encoded())

    async def both() -> Any:
        guess = asyncio.create_task(callers.caller("Bearer other/guess", "10.0.0.1"))
        asked = asyncio.create_task(callers.caller(f"Bearer {text}", "10.0.0.2"))
        await asyncio.sleep(0)
        system.put(key.id, msgspec.structs.replace(key, enabled=False).encoded())
        return await asyncio.gather(guess, asked, return_exceptions=True)

    assert [error.status for error in asyncio.run(both())] == [401, 401]


def test_a_source_that_goes_away_has_guessed_and_keeps_nobody_waiting(
    system: DocumentDatabase, callers: Callers
) -> None:
    text = _add(system, "app", "read")

    async def gone() -> None:
        tasks = [asyncio.create_task(callers.caller(f"Bearer app/guess-{n}", "10.0.0.1")) for n in range(5)]
        for task in tasks:
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    for _ in range(FREE_FAILURES):
        asyncio.run(gone())
    assert _refused(callers, "Bearer app/guess", "10.0.0.1").status == 429
    assert _asked(callers, f"Bearer {text}", "10.0.0.2").name == "app"


def test_sources_are_kept_within_bounds(clock: _Clock) -> None:
    guesses = Guesses(clock)
    for n in range(MAX_SOURCES + 10):
        for _ in range(FREE_FAILURES):
            guesses.fail(f"source {n}")
    assert len(guesses._failures) == MAX_SOURCES
    guesses.check("source 0")  # the oldest were forgotten
    with pytest.raises(Refused):
        guesses.check(f"source {MAX_SOURCES}")


def test_a_token_has_its_key_s_rights_for_a_while(system: DocumentDatabase, callers: Callers, clock: _Clock) -> None:
    text = _add(system, "app", "read", databases=("shop",))
    token, seconds = callers.token(_asked(callers, f"Bearer {text}"))
    assert seconds == TOKEN_SECONDS
    caller = _asked(callers, f"Bearer {token}")
    assert (caller.name, caller.access.allows("shop", [Right.READ])) == ("app", True)
    clock.now += TOKEN_SECONDS + 1
    assert _refused(callers, f"Bearer {token}").status == 401


def test_a_token_ends_with_its_key(system: DocumentDatabase, callers: Callers) -> None:
    text = _add(system, "app", "read")
    token, _ = callers.token(_asked(callers, f"Bearer {text}"))
    system.delete("Raven/ApiKeys/app")
    assert _refused(callers, f"Bearer {token}").status == 401


@pytest.mark.parametrize("asked", [True, False])
def test_a_token_has_ended_for_good_when_its_key_was_disabled(
    system: DocumentDatabase, callers: Callers, asked: bool
) -> None:
    text = _add(system, "app", "read")
    token, _ = callers.token(_asked(callers, f"Bearer {text}"))
    body = system_body(system, "app")
    system.put("Raven/ApiKeys/app", msgspec.structs.replace(decode_key(body), enabled=False).encoded())
    if asked:
        assert _refused(callers, f"Bearer {token}").status == 401
    system.put("Raven/ApiKeys/app", body)
    assert _refused(callers, f"Bearer {token}").status == 401
    assert _asked(callers, f"Bearer {text}").name == "app"
    assert _asked(callers, f"Bearer {callers.token(_asked(callers, f'Bearer {text}'))[0]}").name == "app"


@dataclass
class _Counted:
    """How often secrets were compared, and in which way."""

    derived: int = 0
    compared: int = 0

    @contextmanager
    def becoming(self, *, derived: int = 0, compared: int = 0) -> Iterator[None]:
        expected = (self.derived + derived, self.compared + compared)
        yield
        assert (self.derived, self.compared) == expected


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> _Counted:
    """The counts of Argon2id and of comparisons in constant time, which are done as ever."""
    counted = _Counted()

    class Counting:
        def __call__(self, **options: Any) -> Argon2id:
            return Argon2id(**options)

        def verify_phc_encoded(self, secret: bytes, hash: str) -> None:
            counted.derived += 1
            Argon2id.verify_phc_encoded(secret, hash)

    def compare_digest(one: bytes, other: bytes) -> bool:
        counted.compared += 1
        return hmac.compare_digest(one, other)

    monkeypatch.setattr("muniment.security.keys.Argon2id", Counting())
    for module in ("muniment.security.keys", "muniment.server.callers"):
        monkeypatch.setattr(f"{module}.hmac", SimpleNamespace(compare_digest=compare_digest, digest=hmac.digest))
    return counted


def _basic(name: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


def test_an_unknown_name_costs_as_much_as_a_known_one(
    system: DocumentDatabase, callers: Callers, counted: _Counted
) -> None:
    key, _ = new_key("app", ["read"])
    ended, old = new_key("ended", ["read"])
    for each in (key, msgspec.structs.replace(ended, enabled=False)):
        system.put(each.id, each.encoded())
    secret = split_key(old)[1]
    sources = iter(map(str, range(100)))
    for name, given in (("app", "guess"), ("nobody", "guess"), ("ended", "guess"), ("ended", secret), ("nobody", "")):
        with counted.becoming(derived=1):
            assert _refused(callers, _basic(name, given), next(sources)).status == 401
        if given:
            with counted.becoming(derived=1):
                assert _refused(callers, f"Bearer {name}/{given}", next(sources)).status == 401
    for name in ("app", "nobody"):  # longer than any secret can be, whoever's it is
        with counted.becoming():
            assert _refused(callers, _basic(name, "x" * 1025), next(sources)).status == 401


def test_every_way_in_compares_secrets_in_constant_time(
    system: DocumentDatabase, callers: Callers, counted: _Counted
) -> None:
    text = _add(system, "app", "read")
    user, _ = new_key("anna", ["read"], password="correct horse battery")
    system.put(user.id, user.encoded())
    sources = iter(map(str, range(100)))
    for right, wrong in (
        (f"Bearer {text}", f"Bearer {text}x"),
        (_basic("anna", "correct horse battery"), _basic("anna", "correct horse batterx")),
    ):
        with counted.becoming(derived=1):
            caller = _asked(callers, right)
        with counted.becoming(compared=1):  # proven before
            assert _asked(callers, right) == caller
        with counted.becoming(compared=1, derived=1):
            assert _refused(callers, wrong, next(sources)).status == 401
        token, _ = callers.token(caller)
        with counted.becoming(compared=1):
            assert _asked(callers, f"Bearer {token}") == replace(caller, token=True)
        for other in (token[:-1] + "!", token[:-1], token[:12], token + "x"):
            with counted.becoming(compared=1):
                assert _refused(callers, f"Bearer {other}").status == 401
        with counted.becoming():  # what it is found by is no secret
            assert _refused(callers, f"Bearer x{token[1:]}").status == 401


def test_nobody_in_particular_gets_no_token(callers: Callers) -> None:
    with pytest.raises(Refused, match="only a key"):
        callers.token(callers.anonymous)


def test_a_token_for_one_request_ends_with_what_it_was_asked_with(
    callers: Callers, system: DocumentDatabase, clock: _Clock
) -> None:
    caller = _asked(callers, f"Bearer {_add(system, 'a', 'write')}")
    first, late = callers.once(caller, "Shop"), callers.once(caller, "shop")
    assert callers.spend(first, "other") is None
    clock.now += ONCE_SECONDS - 1
    spent = callers.spend(first, "SHOP")
    assert spent == Caller(caller.name, caller.access, token=True)
    chained = callers.once(spent, "shop")
    clock.now += 2
    assert callers.spend(chained, "shop") is None  # or one that was found would be good for ever
    assert callers.spend(late, "shop") is None
    token, _ = callers.token(caller)
    of_token = _asked(callers, f"Bearer {token}")
    clock.now += TOKEN_SECONDS - 1
    last = callers.once(of_token, None)
    _add(system, "a", "read")  # the key is another one now
    assert callers.spend(last, None) is None
