"""RavenDB's old clients get a token at `OAuth/API-Key`: an exchange as they have it, written down here once more."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.padding import PKCS7

from muniment import DocumentDatabase
from muniment.api_keys import ApiKeys
from muniment.client import DocumentStore
from muniment.errors import InvalidInput, WrongKey
from muniment.security.keys import Key, decode_key, new_key, split_key
from muniment.server.admission import Admission
from muniment.server.callers import TOKEN_SECONDS, Callers
from muniment.server.guesses import FREE_FAILURES
from muniment.server.old_clients import CHALLENGE_SECONDS, OldClients
from muniment.server.secured import MasterKey
from muniment.server.wire import Refused, Response
from tests.sampled import some
from tests.server.running import Server, running
from tests.waiting import PATIENCE

PATH = "/OAuth/API-Key"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}  # which the clients of some languages send


def asked(header: str) -> dict[str, str]:
    """What a client reads in a challenge: seven characters are cut off, and the first = of each part splits it."""
    assert header.startswith("Raven  ")
    return dict(part.strip().split("=", 1) for part in header[7:].split(","))


def answered(
    challenge: dict[str, str],
    name: str,
    secret: str,
    *,
    message: str = "api key name={name},challenge={challenge},response={response}",
    aes: int = 48,
    spoil: Callable[[bytes], bytes] = lambda data: data,
) -> bytes:
    """What a client answers to it."""
    key = os.urandom(aes)
    numbers = [int.from_bytes(base64.b64decode(challenge[each]), "big") for each in ("exponent", "modulus")]
    sealed = RSAPublicNumbers(*numbers).public_key().encrypt(key, OAEP(MGF1(SHA1()), SHA1(), None))
    response = base64.b64encode(sha1(f"{challenge['challenge']};{secret}".encode()).digest()).decode()
    text = message.format(name=name, challenge=challenge["challenge"], response=response).encode()
    padder, encryptor = PKCS7(128).padder(), Cipher(AES256(key[:32]), CBC(key[-16:])).encryptor()
    data = encryptor.update(padder.update(text) + padder.finalize()) + encryptor.finalize()
    encoded = base64.encodebytes(spoil(sealed + data)).decode()  # in lines, as a client in Ruby has it
    return f"exponent={challenge['exponent']},modulus={challenge['modulus']},data={encoded}".encode()


@dataclass
class Site:
    """A server where old clients get tokens, and a key of its administrator."""

    server: Server
    boss: str

    def post(self, body: bytes = b"") -> httpx.Response:
        headers = {**FORM, "grant_type": "client_credentials"}
        return httpx.post(f"{self.server.url}{PATH}", content=body, headers=headers, timeout=PATIENCE, verify=False)

    def challenge(self) -> dict[str, str]:
        told = self.post()
        assert (told.status_code, told.reason_phrase, told.content) == (412, "Precondition Failed", b"")
        return asked(told.headers["www-authenticate"])

    def exchange(self, api_key: str) -> httpx.Response:
        return self.post(answered(self.challenge(), *split_key(api_key)))

    def get(self, authorization: str) -> httpx.Response:
        return httpx.get(
            f"{self.server.url}/databases/shop/docs/a",
            headers={"Authorization": authorization},
            timeout=PATIENCE,
            verify=False,
        )

    def keys(self, change: Callable[[ApiKeys], Any]) -> Any:
        with DocumentStore(self.server.url, "<system>", api_key=self.boss) as store:
            return change(ApiKeys(store, confidential=True))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "server").mkdir()
    with running(tmp_path / "server" / "data", oauth_api_key="true") as server:
        server.create("shop").put("a", b'{"n": 1}')
        key, boss = new_key("boss", ["admin"])
        assert server.client.put(f"/docs/{key.id}", content=key.encoded()).status_code == 201
        yield Site(server, boss)
        assert "unexpected error" not in server.log()
        assert "OAuth/API-Key is on, which rests on SHA-1" in server.log()


def test_an_old_client_gets_a_token_and_works_with_it(site: Site, tmp_path: Path) -> None:
    key, legacy = site.keys(lambda keys: keys.add("legacy", ["write"], ["shop"], old_clients=True))
    nobody = httpx.get(
        f"{site.server.url}/databases/shop/docs/a", headers={"Has-Api-Key": "true"}, timeout=PATIENCE, verify=False
    )
    assert nobody.status_code == 412
    assert nobody.headers["oauth-source"] == f"{site.server.url}{PATH}"

    given = site.exchange(legacy)
    assert given.status_code == 200, given.text
    assert "\n" not in given.text  # it is sent as a header
    told = json.loads(given.json()["Body"])
    assert told["UserId"] == "legacy"
    assert told["AuthorizedDatabases"] == [{"TenantId": "shop", "Admin": False, "ReadOnly": False}]
    assert 63_000_000_000_000 < told["Issued"] < 66_000_000_000_000
    for sent in (given.text, repr(given.json()), json.dumps(given.json(), indent=None), given.json()["Signature"]):
        assert site.get(f"Bearer {sent}").status_code == 200
    assert site.get(f"Bearer {legacy}").status_code == 200  # as any other key
    assert site.get(f"Bearer {given.text.replace(told['UserId'], 'boss')}").status_code == 200  # says nothing
    put = f"{site.server.url}/databases/none/docs/a"
    assert (
        httpx.put(
            put, json={}, headers={"Authorization": f"Bearer {given.text}"}, timeout=PATIENCE, verify=False
        ).status_code
        == 403
    )
    for wrong in ("{}", '{"Signature":"x"}', "{'Signature': ''}", '{"Signature":"legacy/x"}', "{"):
        refused = site.get(f"Bearer {wrong}")
        assert (refused.status_code, refused.headers["oauth-source"]) == (401, f"{site.server.url}{PATH}")

    site.keys(lambda keys: keys.disable("legacy"))
    assert site.get(f"Bearer {given.text}").status_code == 401
    assert site.exchange(legacy).status_code == 401
    site.keys(lambda keys: keys.enable("legacy"))
    given = site.exchange(legacy)
    assert given.status_code == 200
    rotated, other = site.keys(lambda keys: keys.rotate("legacy"))
    assert site.get(f"Bearer {given.text}").status_code == 401
    assert site.exchange(legacy).status_code == 401
    assert site.exchange(other).status_code == 200

    secrets = [split_key(each)[1] for each in (legacy, other)]
    assert all(key.old_clients.startswith("wrapped by muniment:") for key in (key, rotated))
    assert not any(each in path.read_text("latin-1") for each in secrets for path in tmp_path.rglob("*.*"))


def test_what_is_not_for_old_clients_gets_no_token(site: Site) -> None:
    _, plain = site.keys(lambda keys: keys.add("plain", ["read"]))
    answers = [site.exchange(each) for each in (plain, "nobody/secret")]
    site.keys(lambda keys: keys.add("legacy", ["read"], old_clients=True))
    answers.append(site.exchange("legacy/guess"))
    assert {each.status_code for each in answers} == {401}
    assert len({each.text for each in answers}) == 1
    assert answers[0].json()["error"] == "unauthorized_client"
    waiting = site.exchange("legacy/guess")  # three were wrong
    assert (waiting.status_code, waiting.headers["retry-after"]) == (429, "1")


def test_a_challenge_is_answered_once_and_here(site: Site) -> None:
    _, legacy = site.keys(lambda keys: keys.add("legacy", ["read"], old_clients=True))
    challenge = site.challenge()
    assert challenge["challenge"] != site.challenge()["challenge"]
    assert site.post(answered(challenge, *split_key(legacy))).status_code == 200
    again = site.post(answered(challenge, *split_key(legacy)))
    assert again.status_code == 412
    assert asked(again.headers["www-authenticate"])["challenge"] != challenge["challenge"]
    made_up = challenge | {"challenge": base64.urlsafe_b64encode(os.urandom(52)).decode()}
    assert site.post(answered(made_up, *split_key(legacy))).status_code == 412
    body = answered(challenge, *split_key(legacy))
    other = body.replace(f"exponent={challenge['exponent']}".encode(), b"exponent=AQAD")
    assert site.post(other).status_code == 412


def test_a_secret_is_not_given_to_a_server_that_does_not_keep_it(site: Site, tmp_path: Path) -> None:
    with running(tmp_path / "other") as server, DocumentStore(server.url, "<system>") as store:
        with pytest.raises(InvalidInput, match="keeps no secrets for old clients"):
            ApiKeys(store, confidential=True).add("legacy", ["read"], old_clients=True)
        with pytest.raises(InvalidInput, match="has to get it"):
            ApiKeys(store).add("legacy", ["read"], old_clients=True)
        assert list(ApiKeys(store)) == []
        answer = server.client.post(PATH)
        assert answer.status_code == 404
        assert "oauth-api-key = true" in answer.json()["Error"]
        assert "oauth-source" not in server.client.get("/nothing").headers
    with pytest.raises(InvalidInput, match="old clients cannot send the name"):
        site.keys(lambda keys: keys.add("with,comma", ["read"], old_clients=True))
    with pytest.raises(InvalidInput, match="old clients cannot send the name"):
        site.keys(lambda keys: keys.add("ünïcode", ["read"], old_clients=True))
    with pytest.raises(InvalidInput, match="SHA-1"):
        site.keys(lambda keys: keys.add("a", ["read"], old_clients=True, password="correct horse battery"))


def test_a_key_for_old_clients_outlives_its_server(tmp_path: Path) -> None:
    data = tmp_path / "server" / "data"
    data.parent.mkdir()
    boss, boss_text = new_key("boss", ["admin"])
    with running(data, oauth_api_key="true") as server:
        server.client.put(f"/docs/{boss.id}", content=boss.encoded())
        _, legacy = Site(server, boss_text).keys(lambda keys: keys.add("legacy", ["read"], old_clients=True))
    with running(data, oauth_api_key="true") as server:
        assert Site(server, boss_text).exchange(legacy).status_code == 200
    master = data.with_name("data.master-key")
    master.rename(tmp_path / "kept")
    with running(data, oauth_api_key="true") as server:  # and no other is made in its place
        assert Site(server, boss_text).exchange(legacy).status_code == 401
        assert "the key legacy is of no use to old clients" in server.log()
        site = Site(server, boss_text)
        site.keys(lambda keys: keys.disable("legacy"))
        with pytest.raises(WrongKey, match="master key"):
            site.keys(lambda keys: keys.add("other", ["read"], old_clients=True))
    assert not master.exists()
    with DocumentDatabase(data / "System") as system, pytest.raises(InvalidInput, match="has to get it"):
        ApiKeys(system).rotate("legacy")


@dataclass
class Exchange:
    """The same without HTTP, where the time is set."""

    old: OldClients
    callers: Callers
    key: Key
    secret: str
    times: list[float] = field(default_factory=lambda: [1000.0])

    def challenge(self) -> dict[str, str]:
        return asked(dict(asyncio.run(self.old.challenge()).headers)["www-authenticate"])

    def answer(self, body: bytes, source: str = "10.0.0.1") -> Response:
        return asyncio.run(self.old.answer(body, source))


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Exchange]:
    times = [1000.0]
    with DocumentDatabase(tmp_path / "System") as system:
        callers = Callers("local", system, lambda: times[0])
        master = MasterKey(tmp_path / "master", lambda: False)
        key, text = new_key("legacy", ["read"])
        secret = split_key(text)[1]
        system.storage.admit = Admission(system, master, old_clients=True)
        system.put(key.id, msgspec.structs.replace(key, old_clients=secret).encoded())
        stored = system.get(key.id)
        assert stored
        kept = decode_key(stored.body)
        assert secret not in kept.old_clients
        system.storage.admit = Admission(system, master)  # what is wrapped is kept even where nothing new is
        system.put(key.id, kept.encoded())
        yield Exchange(OldClients(callers, master, lambda: times[0]), callers, kept, secret, times)
        callers.close()


def test_a_challenge_and_a_token_end(exchange: Exchange) -> None:
    challenge = exchange.challenge()
    exchange.times[0] += CHALLENGE_SECONDS - 1
    given = exchange.answer(answered(challenge, "LEGACY", exchange.secret))
    assert given.status == 200
    caller = asyncio.run(exchange.callers.caller(f"Bearer {given.body.decode()}", "x"))
    assert (caller.name, caller.token) == ("legacy", True)
    exchange.times[0] += TOKEN_SECONDS + 1
    with pytest.raises(Refused):
        asyncio.run(exchange.callers.caller(f"Bearer {given.body.decode()}", "x"))
    challenge = exchange.challenge()
    exchange.times[0] += CHALLENGE_SECONDS + 1
    assert exchange.answer(answered(challenge, "legacy", exchange.secret)).status == 412


@some(3)
@pytest.mark.parametrize(
    "options",
    [
        {"message": "api key name={name},challenge={challenge}"},
        {"message": "api key name=,challenge={challenge},response={response}"},
        {"message": "api key name={name},challenge=\u00fc,response={response}"},
        {"aes": 47},
        {"spoil": lambda data: data[:-1]},
        {"spoil": lambda data: data[:100]},
        {"spoil": lambda data: data[:256]},
        {"spoil": lambda data: b""},
        {"spoil": lambda data: bytes([data[0] ^ 1]) + data[1:]},
    ],
)
def test_what_cannot_be_read_is_refused_and_counts(exchange: Exchange, options: dict[str, Any]) -> None:
    for _ in range(FREE_FAILURES):
        with pytest.raises(Refused) as raised:
            exchange.answer(answered(exchange.challenge(), "legacy", exchange.secret, **options))
        assert raised.value.status == 400
    with pytest.raises(Refused) as raised:
        exchange.answer(answered(exchange.challenge(), "legacy", exchange.secret))
    assert raised.value.status == 429
    other = exchange.answer(answered(exchange.challenge(), "legacy", exchange.secret), "10.0.0.2")
    assert other.status == 200


@some(2)
@pytest.mark.parametrize("body", [b"{}", b"\xff", b"exponent=a,modulus=b", b"data=,exponent", b"x" * 1500])
def test_what_is_no_answer_at_all_is_refused(exchange: Exchange, body: bytes) -> None:
    with pytest.raises(Refused) as raised:
        exchange.answer(body)
    assert raised.value.status == 400


def test_an_answer_that_is_too_large_is_refused(site: Site) -> None:
    assert site.post(b"x" * 1501).status_code == 400
    legacy = site.keys(lambda keys: keys.add("n" * 100, ["read"], old_clients=True))[1]
    assert site.exchange(legacy).status_code == 200  # the longest that can be


def test_unknown_names_cost_what_known_ones_do(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    proven: list[str] = []
    has = Key.has

    def counting(key: Key, secret: str) -> bool:
        proven.append(key.hash)
        return has(key, secret)

    monkeypatch.setattr(Key, "has", counting)
    for number, (name, secret) in enumerate([("legacy", "guess"), ("nobody", "guess"), ("legacy", exchange.secret)]):
        status = exchange.answer(answered(exchange.challenge(), name, secret), str(number)).status
        assert status == (200 if secret == exchange.secret else 401)
        assert len(proven) == number + 1
    assert proven[0] == proven[2] == exchange.key.hash
