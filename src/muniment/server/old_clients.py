"""`OAuth/API-Key`: how RavenDB's old clients get a token for a key, by proving that they have its secret.

A client is given a challenge and a public key, and answers, encrypted, with its name and the SHA-1 of
"challenge;secret". To compare that, the server needs the secret itself: it is kept, as the master key wraps it, of
those keys alone that were made for such clients.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import re
import secrets
import struct
import threading
import time
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha1
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.padding import PKCS7

from muniment.errors import WrongKey
from muniment.raven3.messages import OldToken, OldTokenRefusal
from muniment.raven3.names import SYSTEM
from muniment.security.access import Right
from muniment.security.data_key import sealed, unsealed
from muniment.security.keys import Key
from muniment.server.callers import Callers
from muniment.server.secured import MasterKey
from muniment.server.wire import Refused, Response, empty_response, json_response
from muniment.telling import log

PATH: Final = "OAuth/API-Key"
MAX_ANSWER: Final = 1500  # bytes, as of RavenDB's server
CHALLENGE_SECONDS: Final = 60.0
MAX_ANSWERED: Final = 10_000
_RSA_BITS: Final = 2048
_AES_KEY: Final = 32
_AES_BLOCK: Final = 16
_OAEP: Final = OAEP(MGF1(SHA1()), SHA1(), None)  # which these clients have, and no other  # noqa: S303 (what those clients speak)
_BOUND: Final = b"OAuth/API-Key"
_SALT: Final = 16
_YEAR_1: Final = 62_135_596_800_000  # from year 1 to 1970, in milliseconds
_MESSAGE: Final = re.compile(r"api key name=(.+),challenge=([^,]+),response=([^,]+)")


class _Stale(Exception):
    """What was answered is not what this server asks now."""


class OldClients:
    """The exchange, of one run of a server. Its RSA key is made when the first client asks, and is kept nowhere."""

    def __init__(self, callers: Callers, master: MasterKey, clock: Callable[[], float] = time.monotonic) -> None:
        self._callers = callers
        self._master = master
        self._clock = clock
        self._sealing = os.urandom(32)
        self._answered: dict[bytes, float] = {}
        self._lock = threading.Lock()
        self._rsa: RSAPrivateKey | None = None

    async def challenge(self) -> Response:
        """412 with something new to answer. It is not kept: what comes back proves that it was given out here."""
        numbers = (await asyncio.to_thread(self._private)).public_key().public_numbers()
        content = struct.pack(">d", self._clock()) + os.urandom(_SALT)
        challenge = urlsafe_b64encode(sealed(self._sealing, content, _BOUND)).decode()
        asked = f"exponent={_text(numbers.e)},modulus={_text(numbers.n)},challenge={challenge}"
        # Clients cut off the first seven characters: the scheme and two blanks.
        return empty_response(412, [("www-authenticate", f"Raven  {asked}"), ("cache-control", "no-store")])

    async def answer(self, body: bytes, source: str) -> Response:
        """A token for whoever has answered right, 401 if not, and another challenge for what is too old.

        Raises `Refused` (400) for what cannot be read, and (429) for a source that tries too often.
        """
        self._callers.guesses.check(source)
        try:
            name, challenge, response = await asyncio.to_thread(self._read, body)
            self._use(challenge)
        except _Stale:
            return await self.challenge()
        except ValueError as error:
            self._callers.guesses.fail(source)
            raise Refused(400, "this is no answer to a challenge of this server", "ask for another one") from error
        key, secret = await asyncio.to_thread(self._secret, name)
        expected = b64encode(sha1(f"{challenge};{secret}".encode(), usedforsecurity=False).digest())
        right = hmac.compare_digest(expected, response.encode())
        try:  # the hash has the last word, and whoever has no such key waits as long
            caller = await self._callers.prove(key, secret if right else "", source)
        except Refused as refused:
            if refused.status != 401:
                raise
            return json_response(OldTokenRefusal("unauthorized_client", refused.message), 401, refused.headers)
        token, _ = self._callers.token(caller)
        assert key is not None
        return json_response(OldToken(_body(key), token), headers=[("cache-control", "no-store")])

    def _secret(self, name: str) -> tuple[Key | None, str]:
        """The key of this name and its secret; none, and a secret that nobody has, if it is not for old clients."""
        key = self._callers.key(name)
        if key is not None and key.old_clients:
            try:
                return key, self._master.unwrap(SYSTEM, key.id, key.old_clients)
            except WrongKey as error:
                log(f"the key {key.name} is of no use to old clients: {error.message}")
        return None, secrets.token_urlsafe()

    def _read(self, body: bytes) -> tuple[str, str, str]:
        """Name, challenge and response; raises `_Stale` for another server's, and ValueError for what is none."""
        parts = dict(part.strip().split("=", 1) for part in body.decode().split(",") if "=" in part)
        private = self._private()
        numbers = private.public_key().public_numbers()
        if not {"exponent", "modulus", "data"} <= parts.keys():
            raise ValueError("a part is missing")
        if (parts["exponent"], parts["modulus"]) != (_text(numbers.e), _text(numbers.n)):
            raise _Stale
        data = b64decode("".join(parts["data"].split()), validate=True)
        size = _RSA_BITS // 8
        secret = private.decrypt(data[:size], _OAEP)
        if len(secret) != _AES_KEY + _AES_BLOCK:
            raise ValueError("this is no key with its initialisation vector")
        decryptor = Cipher(AES256(secret[:_AES_KEY]), CBC(secret[_AES_KEY:])).decryptor()
        unpadder = PKCS7(_AES_BLOCK * 8).unpadder()
        padded = decryptor.update(data[size:]) + decryptor.finalize()
        match = _MESSAGE.fullmatch((unpadder.update(padded) + unpadder.finalize()).decode())
        if match is None:
            raise ValueError("a part of the answer is missing")
        return match[1], match[2], match[3]

    def _use(self, challenge: str) -> None:
        """It was answered, and nobody answers it again; raises `_Stale` if that cannot be, and ValueError for none."""
        content = unsealed(self._sealing, urlsafe_b64decode(challenge), _BOUND)
        if content is None:
            raise _Stale
        now, until = self._clock(), struct.unpack(">d", content[:-_SALT])[0] + CHALLENGE_SECONDS
        if len(self._answered) >= MAX_ANSWERED:
            self._answered = {each: end for each, end in self._answered.items() if end > now}
        if now >= until or content in self._answered or len(self._answered) >= MAX_ANSWERED:
            raise _Stale
        self._answered[content] = until

    def _private(self) -> RSAPrivateKey:
        with self._lock:
            if self._rsa is None:
                self._rsa = generate_private_key(65537, _RSA_BITS)
            return self._rsa


def _text(number: int) -> str:
    """A number of a public key as these clients have it: its bytes from the highest on, in base64."""
    return b64encode(number.to_bytes((number.bit_length() + 7) // 8, "big")).decode()


def _body(key: Key) -> str:
    """What a client is told of its token."""
    rights = key.access.rights
    databases: list[dict[str, Any]] = [
        {"TenantId": name, "Admin": Right.ADMIN in rights, "ReadOnly": Right.WRITE not in rights}
        for name in key.databases
        if Right.READ in rights
    ]
    issued = _YEAR_1 + time.time_ns() // 1_000_000
    return msgspec.json.encode({"UserId": key.name, "AuthorizedDatabases": databases, "Issued": issued}).decode()
