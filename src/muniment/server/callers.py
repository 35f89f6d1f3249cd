"""Who asks: the key that a request was sent with, and what it may do.

`Authorization: Bearer NAME/SECRET` is a key, `Basic` the same as name and password, and `Bearer TOKEN` what a key got
for itself for a while. Who sends none is nobody in particular, and may do what `anonymous-access` says.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import Final, Self

from muniment.database import DocumentDatabase
from muniment.document import fold
from muniment.errors import InvalidInput, MunimentError
from muniment.security.access import ALL, NONE, Access, Right
from muniment.security.keys import PREFIX, Key, Proven, decode_key, hashed, split_key
from muniment.server.guesses import Guesses
from muniment.server.wire import Refused
from muniment.telling import log

TOKEN_SECONDS: Final = 1800
FOLLOW_SECONDS: Final = 1.0  # how often to look what other servers have written
ONCE_SECONDS: Final = 150  # what RavenDB gives one that is good once
_TOKEN_NAME: Final = 12  # characters that a token is found by; all others are its secret
MAX_TOKENS: Final = 10_000
_SIGNATURE: Final = re.compile(r"""["']Signature["']\s*:\s*["']([\w-]+)["']""", re.ASCII)
_ANONYMOUS: Final = {
    "admin": ALL,
    "all": Access.of([Right.WRITE]),
    "get": Access.of([Right.READ]),
    "none": NONE,
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who asks: the name of his key, None when he sent none, and what he may do; `token` if he sent one."""

    name: str | None
    access: Access
    token: bool = False
    until: float = field(default=inf, compare=False)  # when what he was given ends
    data_roots: tuple[str, ...] = ()
    backup_roots: tuple[str, ...] = ()

    @classmethod
    def of(cls, key: Key, *, token: bool = False, until: float = inf) -> Self:
        """The holder of a key, or of a token for it that ends then."""
        return cls(key.name, key.access, token, until, key.data_roots, key.backup_roots)


OWNER: Final = Caller(None, ALL)  # the user whose files the server's are


@dataclass(frozen=True, slots=True)
class _Token:
    """What stands for a key until a time; it is the holder of the secret who has it. `stored` is the key's etag.

    With `once`, it is good for one request, of this database.
    """

    secret: bytes
    key: Key
    stored: int
    until: float
    once: str | None = None


class Callers:
    """Knows callers by what they send.

    What is in the system database counts from the commit on: a key that was disabled opens nothing any more. What
    another server has written there counts a second later at most.
    """

    def __init__(self, anonymous: str, system: DocumentDatabase, clock: Callable[[], float] = monotonic) -> None:
        self._setting = anonymous
        self._system = system
        self._clock = clock
        self._seen = -1
        self._keys: dict[str, Key] = {}
        self._stored: dict[str, int] = {}
        self._anonymous = Caller(None, NONE)
        self._proven = Proven()
        self._tokens: dict[str, _Token] = {}
        self.guesses = Guesses(clock)
        self._proving = ThreadPoolExecutor(1, "muniment keys")
        self._nobody = hashed(secrets.token_urlsafe())

    def close(self) -> None:
        """End the thread that compares secrets; nobody can be told by a key from then on."""
        self._proving.shutdown()

    @property
    def has_keys(self) -> bool:
        """Whether any key could be right."""
        self._look()
        return bool(self._keys)

    @property
    def anonymous(self) -> Caller:
        """Who sends no key.

        With `local`, whoever reaches the server's loopback address may do all until there is a key, and nothing then.
        """
        self._look()
        return self._anonymous

    async def caller(self, authorization: str, source: str) -> Caller:
        """Who has sent this header; raises `Refused` (401) for nobody, and (429) for a source that tries too often."""
        self._look()
        if caller := self.proven(authorization):
            return caller
        name, secret = _named(*_parts(authorization))
        return await self.prove(self._keys.get(fold(name)), secret, source)

    @property
    def are_current(self) -> bool:
        """Whether the keys are known as they are now. Any thread may ask."""
        return self._system.storage.known_etag == self._seen

    async def refresh(self) -> None:
        """Have the keys known as they are now, while other requests go on where that takes a while."""
        if self._system.storage.shared and not self.are_current:
            await asyncio.to_thread(self._look)

    async def follow(self) -> None:
        """Find out what other servers write to the system database, again and again, if there can be others."""
        while self._system.storage.shared:
            await asyncio.sleep(FOLLOW_SECONDS)
            with suppress(MunimentError):
                await asyncio.to_thread(lambda: self._system.last_etag)

    @property
    def last_anonymous(self) -> Caller:
        """`anonymous` as the keys were last read."""
        return self._anonymous

    def proven(self, authorization: str) -> Caller | None:
        """Who has sent this header, as the keys were last read, if he has shown it before; None if he has to show it.

        Raises `Refused` (401) for a header that names nobody. Any thread may call it.
        """
        scheme, given = _parts(authorization)
        if scheme == "bearer" and "/" not in given and (token := self._of_token(given)) and token.once is None:
            return Caller.of(token.key, token=True, until=token.until)
        name, secret = _named(scheme, given)
        key = self._keys.get(fold(name))
        return Caller.of(key) if key and key.enabled and self._proven.knows(key, secret) else None

    def key(self, name: str) -> Key | None:
        """The key of this name, in any case; None if there is none, or it was disabled."""
        self._look()
        key = self._keys.get(fold(name))
        return key if key is not None and key.enabled else None

    def token(self, caller: Caller) -> tuple[str, int]:
        """A token with the rights of this caller's key, and for how many seconds it is good.

        It ends with the server too, and when the key is changed or disabled. Raises `Refused` (400) without a key.
        """
        key = self._keys.get(fold(caller.name)) if caller.name is not None and not caller.token else None
        if key is None:
            raise Refused(400, "only a key gets a token", "send the key: Authorization: Bearer NAME/SECRET")
        return self._new_token(key, self._clock() + TOKEN_SECONDS), TOKEN_SECONDS

    def once(self, caller: Caller, database: str | None) -> str:
        """A token with the rights of this caller's key, good for one request of this database, and not for long.

        It does not outlast what the caller was given. Without a key it opens nothing, for nothing is closed to him.
        """
        self._look()
        key = self._keys.get(fold(caller.name)) if caller.name is not None else None
        if key is None:
            return secrets.token_urlsafe(9 + 32)
        return self._new_token(key, min(self._clock() + ONCE_SECONDS, caller.until), fold(database or ""))

    def spend(self, text: str, database: str | None) -> Caller | None:
        """Who has sent this token, which is good no more; None for what is none, or is of another database."""
        self._look()
        token = self._of_token(text)
        if token is None or token.once != fold(database or ""):
            return None
        if self._tokens.pop(text[:_TOKEN_NAME], None) is None:  # it has ended meanwhile
            return None
        return Caller.of(token.key, token=True, until=token.until)

    def _new_token(self, key: Key, until: float, once: str | None = None) -> str:
        now = self._clock()
        if len(self._tokens) >= MAX_TOKENS:
            self._tokens = {name: token for name, token in list(self._tokens.items()) if token.until > now}
        if len(self._tokens) >= MAX_TOKENS:
            raise Refused(503, f"all {MAX_TOKENS:,} tokens are in use", "use one for many requests, until it ends")
        text = secrets.token_urlsafe(9 + 32)  # nine bytes are the twelve characters of its name
        self._tokens[text[:_TOKEN_NAME]] = _Token(
            text[_TOKEN_NAME:].encode(), key, self._stored[fold(key.name)], until, once
        )
        return text

    def _of_token(self, text: str) -> _Token | None:
        """The token that this is; None for what is none, or has ended."""
        name, secret = text[:_TOKEN_NAME], text[_TOKEN_NAME:]
        token = self._tokens.get(name)
        if token is None or not hmac.compare_digest(token.secret, secret.encode("utf-8", "surrogatepass")):
            return None
        if self._clock() < token.until and self._stored.get(fold(token.key.name)) == token.stored and token.key.enabled:
            return token
        self._tokens.pop(name, None)
        return None

    async def prove(self, key: Key | None, secret: str, source: str) -> Caller:
        """The holder of this key if the secret is right; raises as `caller` does. None costs as much as a key."""
        async with self.guesses.turn(source) as waited:
            if waited and key and self._is_present(key) and self._proven.knows(key, secret):
                return Caller.of(key)
            self.guesses.fail(source)  # also if the client does not wait for the answer
            # A name that nobody has takes as long as a secret that is wrong.
            proof = key or Key("", self._nobody, (), enabled=False)
            right = await asyncio.get_running_loop().run_in_executor(self._proving, proof.has, secret)
            if right and key and self._is_present(key):
                self._proven.note(key, secret)
                self.guesses.forgive(source)
                return Caller.of(key)
        raise unauthorized("the key is wrong, or was disabled", "invalid_token")

    def _is_present(self, key: Key) -> bool:
        """Whether it was neither changed nor disabled since it was looked up."""
        self._look()
        return key.enabled and self._keys.get(fold(key.name)) == key

    def _look(self) -> None:
        """Read the keys again if anything was written since."""
        if self.are_current:
            return
        etag = self._system.last_etag
        keys: dict[str, Key] = {}
        stored: dict[str, int] = {}
        found = 0
        while page := self._system.by_prefix(PREFIX, start=found, limit=1024):
            for document in page:
                try:
                    key = decode_key(document.body)
                except InvalidInput as error:
                    log(f"{document.id} opens nothing: {error.message}")
                else:
                    if fold(key.id) == fold(document.id):
                        keys[fold(key.name)] = key
                        stored[fold(key.name)] = document.etag
            found += len(page)
        self._keys, self._stored = keys, stored
        setting = self._setting
        if setting == "local":
            setting = "none" if found else "admin"  # also if all are unreadable
        self._anonymous = Caller(None, _ANONYMOUS[setting])
        self._seen = etag  # at last: other threads take what they find from then on


def unauthorized(message: str, error: str) -> Refused:
    """401, in the words of RFC 6750 for programs."""
    return Refused(
        401,
        message,
        "send a key that has the right: Authorization: Bearer NAME/SECRET (muniment --api-key, MUNIMENT_API_KEY)",
        headers=[challenge(error)],
    )


def challenge(error: str) -> tuple[str, str]:
    """The header that says what kind of key is expected, and why the one that was sent, if any, did not do."""
    return "www-authenticate", f'Bearer realm="Muniment", error="{error}"'


def _parts(authorization: str) -> tuple[str, str]:
    """The scheme of a header Authorization, in lower case, and what is given by it."""
    scheme, _, given = authorization.partition(" ")
    scheme, given = scheme.lower(), given.strip()
    if scheme == "bearer" and given.startswith("{"):  # as RavenDB's clients send what they were given
        given = (_SIGNATURE.findall(given) or [""])[-1]
    return scheme, given


def _named(scheme: str, given: str) -> tuple[str, str]:
    """Name and secret in a header Authorization."""
    try:
        if scheme == "bearer":
            return split_key(given)
        if scheme == "basic":
            name, colon, password = base64.b64decode(given, validate=True).decode().partition(":")
            if colon:
                return name, password
    except (InvalidInput, binascii.Error, UnicodeDecodeError):
        pass
    raise unauthorized("the header Authorization has no key that this server knows", "invalid_token")
