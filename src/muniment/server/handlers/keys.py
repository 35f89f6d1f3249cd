"""Keys of callers: made, listed, disabled and given other secrets. A secret is answered once, and kept nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from muniment.api_keys import ApiKeys
from muniment.errors import MunimentError
from muniment.raven3.messages import KeyAction, KeyListed, KeyMade, KeyWanted
from muniment.security.keys import PREFIX, Key
from muniment.server.request import Request
from muniment.server.wire import Response, json_response


async def listing(request: Request) -> Response:
    """All keys, without their secrets. One that cannot be read has no rights, and opens nothing."""
    keys = ApiKeys(request.server.databases.system.database)
    found = await asyncio.to_thread(list, keys)
    return json_response([KeyListed(name=name, enabled=False) if key is None else _listed(key) for name, key in found])


async def make(request: Request) -> Response:
    """Make a key; `ApiKey` is what its holder sends, which no other answer has."""
    wanted = await request.message(KeyWanted)

    def made(keys: ApiKeys) -> KeyMade:
        return _made(
            *keys.add(
                wanted.name,
                wanted.rights,
                wanted.databases,
                data_roots=wanted.data_roots,
                backup_roots=wanted.backup_roots,
                old_clients=wanted.old_clients,
            )
        )

    return await _done(request, wanted.name, made)


async def act(request: Request) -> Response:
    """Disable a key, enable it again, or give it another secret, which is answered; from the next request on."""
    wanted, name = await request.message(KeyAction), request.argument

    def changed(keys: ApiKeys) -> KeyMade:
        if wanted.action == "rotate":
            return _made(*keys.rotate(name))
        return _made(keys.enable(name) if wanted.action == "enable" else keys.disable(name))

    return await _done(request, name, changed)


async def _done(request: Request, name: str, change: Callable[[ApiKeys], KeyMade]) -> Response:
    """What became of this change, which the audit log has whatever that is."""
    audit, outcome, error = request.server.audit, "unknown", None
    try:
        # The secret is made here, so nobody is between who makes it and who keeps it.
        keys = ApiKeys(request.server.databases.system.database, confidential=True)
        told = await asyncio.to_thread(change, keys)
        outcome = "completed"
    except MunimentError as failed:
        outcome, error = "faulted", failed.message
        raise
    finally:
        await asyncio.to_thread(audit.note, "key stored", outcome, request.who, subject=PREFIX + name, error=error)
    return json_response(told, headers=[("cache-control", "no-store")])


def _listed(key: Key) -> KeyListed:
    return KeyListed(
        name=key.name,
        enabled=key.enabled,
        created=key.created,
        rights=list(key.rights),
        databases=list(key.databases),
        data_roots=list(key.data_roots),
        backup_roots=list(key.backup_roots),
        old_clients=bool(key.old_clients),
    )


def _made(key: Key, secret: str | None = None) -> KeyMade:
    return KeyMade(**msgspec.structs.asdict(_listed(key)), api_key=msgspec.UNSET if secret is None else secret)
