"""The keys of a server, as whoever may do everything sees and changes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from muniment.client.documents import JSON
from muniment.client.retry import call
from muniment.client.transport import AsyncRemote, Remote
from muniment.client.wire import Flow, Request, parsed, target
from muniment.document import encode
from muniment.faces import both
from muniment.raven3.messages import KeyAction, KeyListed, KeyMade, KeyWanted


class BothKeys:
    """Who may ask a server, and for what. It needs the right `admin` for the whole server."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    @both
    def all(self) -> Flow[list[KeyListed]]:
        """All keys, without their secrets."""
        request = Request("GET", target("admin", "keys"), repeatable=True)
        return parsed((yield from call(request, 200)), list[KeyListed])

    @both
    def add(
        self,
        name: str,
        rights: Sequence[str],
        databases: Sequence[str] = (),
        *,
        data_roots: Sequence[str] = (),
        backup_roots: Sequence[str] = (),
        old_clients: bool = False,
    ) -> Flow[KeyMade]:
        """Make a key with these rights, for these databases or all; `api_key` is what its holder sends.

        The server makes the secret and keeps only a hash. Raises `Conflict` when there is one of this name.
        """
        wanted = KeyWanted(
            name, list(rights), list(databases), list(data_roots), list(backup_roots), old_clients=old_clients
        )
        request = Request("POST", target("admin", "keys"), encode(msgspec.to_builtins(wanted)), JSON)
        return parsed((yield from call(request, 200)), KeyMade)

    @both
    def disable(self, name: str) -> Flow[KeyMade]:
        """Have a key open nothing, from the next request on."""
        return (yield from self._act(name, "disable"))

    @both
    def enable(self, name: str) -> Flow[KeyMade]:
        """Have a key that was disabled open again what it did."""
        return (yield from self._act(name, "enable"))

    @both
    def rotate(self, name: str) -> Flow[KeyMade]:
        """Give a key another secret, which is in `api_key`; the old one opens nothing any more."""
        return (yield from self._act(name, "rotate"))

    def _act(self, name: str, action: Literal["enable", "disable", "rotate"]) -> Flow[KeyMade]:
        body = encode(msgspec.to_builtins(KeyAction(action)))
        return parsed((yield from call(Request("POST", target("admin", "keys", name), body, JSON), 200)), KeyMade)


class Keys(BothKeys, Remote):
    __doc__ = BothKeys.__doc__


class AsyncKeys(BothKeys, AsyncRemote):
    """`Keys` in asyncio."""
