"""Whether somebody may do what he asks for: decided in this one place, before any of the body is read."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import msgspec

from muniment.document import fold
from muniment.raven3.headers import ONCE
from muniment.security.access import ALL, Access, Right
from muniment.server.callers import OWNER, Caller, challenge, unauthorized
from muniment.server.operations import Operation
from muniment.server.request import Request
from muniment.server.routing import Permission, Where
from muniment.server.tenants import is_system
from muniment.server.wire import Refused

EXPORT_BACKUP: Final = "export from backups"
_TO_BEGIN: Final = {
    "backup": Right.BACKUP,
    "restore": Right.RESTORE,
    "export": Right.READ,
    EXPORT_BACKUP: Right.RESTORE,
    "import": Right.WRITE,
    "patch by query": Right.WRITE,
    "deletion by query": Right.WRITE,
}


async def admit(request: Request, may: Permission) -> None:
    """Find out who asks, and raise `Refused` when he may not: 401 (412) when he is nobody, 403 when he is known."""
    await request.server.callers.refresh()
    if "authorization" in request.headers:
        given = request.headers.get_all("authorization")
        if len(given) > 1:
            raise Refused(400, "the request has several Authorization headers", "send one key")
        request.caller = await _sender(request, given[0])
    else:
        request.caller = _spending(request) or (OWNER if request.is_local else request.server.callers.anonymous)
    if not allowed(request.caller.access, request.name, request.argument, may):
        raise refusal(request)


def _spending(request: Request) -> Caller | None:
    """Who sends a token that is good once."""
    token = request.headers.get(ONCE)
    return None if token is None else request.server.callers.spend(token, request.name)


async def _sender(request: Request, authorization: str) -> Caller:
    callers = request.server.callers
    anonymous = callers.anonymous
    if anonymous.access != ALL:
        return await callers.caller(authorization, request.source)
    try:  # where nobody needs a key, one that is wrong shuts nobody out
        return await callers.caller(authorization, request.source) if callers.has_keys else anonymous
    except Refused:
        return anonymous


def allowed(access: Access, name: str | None, argument: str, may: Permission) -> bool:
    """Whether somebody may do this with the database of this name (None is the server's own) and this argument."""
    match may.where:
        case Where.DATABASE:
            if _allowed_in(access, name, may):
                return True
            also = may.also.get(fold(argument)) if may.also and not is_system(name) else None
            return also is not None and access.allows(name, (also,))
        case Where.SERVER:
            return access.allows(None, may.any_of)
        case Where.NAMED:
            return access.allows(argument, may.any_of)
        case Where.LATER | Where.JOB:
            return not access.rights.isdisjoint(may.any_of)


@lru_cache(4096)
def _allowed_in(access: Access, name: str | None, may: Permission) -> bool:
    return access.allows(None if is_system(name) else name, may.any_of)


def may_see(caller: Caller, operation: Operation) -> bool:
    """Whether somebody may see and end a job: who might have begun it may."""
    right = _TO_BEGIN.get(operation.job.what, Right.ADMIN)
    names = (operation.database, operation.database if operation.origin is None else operation.origin)
    return all(_holds(caller, name, right) for name in names)


def require(request: Request, database: str, *any_of: Right) -> None:
    """Raises `Refused` (401, 403) unless one of these rights is held for this database, which the request names."""
    if not _holds(request.caller, database, *any_of):
        raise refusal(request)


def require_all(request: Request, databases: Iterable[str], *any_of: Right) -> None:
    """Raises `Refused` unless one of these rights is held for all of these databases, of which there are some.

    Only who has `admin` for all databases passes where there are none: he may be told whatever there is.
    """
    if request.caller.access.allows(None, any_of):
        return
    names = set(databases)
    if not names or not all(_holds(request.caller, name, *any_of) for name in names):
        raise refusal(request)


def _holds(caller: Caller, database: str, *any_of: Right) -> bool:
    return caller.access.allows(None if is_system(database) else database, any_of)


def check_members(request: Request, *asked: msgspec.Struct) -> None:
    """Raises `Refused` (401, 403) for what is said in these, query and body, that needs a right which is not held."""
    name = None if is_system(request.name) else request.name
    for each in asked:
        for member in msgspec.structs.fields(each):
            right = request.endpoint.may.members.get(member.name)
            said = right is not None and getattr(each, member.name) != member.default
            if right is not None and said and not request.caller.access.allows(name, (right,)):
                raise refusal(request, f" with {member.encode_name}, which needs the right {right.value!r}")


def refusal(request: Request, what: str = "") -> Refused:
    """What is said to a caller who may not do this; it tells nothing of what there is."""
    if request.caller.name is not None:
        return Refused(
            403,
            f"the key {request.caller.name!r} may not {request.method} {request.path}{what}",
            "use a key that has the right, for this database: `muniment keys add --help` tells what each right allows",
            headers=[challenge("insufficient_scope")],
        )
    refused = unauthorized(f"{request.method} {request.path} needs a key{what}", "invalid_request")
    if (request.headers.get("has-api-key") or "").lower() == "true":  # RavenDB's clients that have one
        refused.status = 412
    return refused
