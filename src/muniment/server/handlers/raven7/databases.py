"""Making, changing and deleting databases, for clients of RavenDB 4 and later."""

from __future__ import annotations

from typing import Any, Final

from muniment.document import Document, decode
from muniment.errors import InvalidDocument, InvalidInput, NotFound
from muniment.raven3.encryption import is_encrypted
from muniment.raven3.messages import Object
from muniment.raven3.names import DATABASES
from muniment.raven7.messages import (
    AllToggled,
    DatabaseNames,
    DatabaseShown,
    DatabaseStored,
    Deleted,
    Deletion,
    Toggled,
    Toggling,
)
from muniment.raven7.names import NODE
from muniment.raven7.queries import DatabasesListed, Named
from muniment.security.access import Right
from muniment.server.admission import plain_settings
from muniment.server.handlers import databases
from muniment.server.permission import require
from muniment.server.request import Request
from muniment.server.tenants import check_name
from muniment.server.wire import Refused, Response, empty_response, json_response

_DATA_DIR: Final = "DataDir"
_KNOWN: Final = frozenset({"DatabaseName", "Settings", "Disabled", "Encrypted"})
# What a record says of a server with one node and without indexes anyway.
_IDLE: Final = frozenset(
    {"Topology", "EtagForBackup", "TruncatedClusterTransactionCommand", "LockMode", "DatabaseState", "Etag"}
)


async def listing(request: Request) -> Response:
    """The names of the databases that the caller has a right for, or what each is."""
    asked = request.asked(DatabasesListed)
    names = databases.names_for(request, asked.start, asked.size)
    if asked.name is not None:
        names = [name for name in names if name.lower() == asked.name.lower()]
    if asked.names_only:
        return json_response(DatabaseNames(list(names)))
    found = [(name, request.server.databases.document(name)) for name in names]
    return json_response(
        DatabaseNames([{"Name": name, "Disabled": _is_disabled(of), "NodeTag": NODE} for name, of in found if of])
    )


async def get(request: Request) -> Response:
    """What a database is."""
    name = _named(request)
    require(request, name, Right.ADMIN)
    document = request.server.databases.document(name)
    if document is None:
        return empty_response(404)
    value = decode(document.body)
    return json_response(
        DatabaseShown(
            database_name=document.id[len(DATABASES) :],
            settings=plain_settings(value),
            disabled=_is_disabled(document),
            encrypted=is_encrypted(value),
            etag=document.etag,
        )
    )


async def put(request: Request) -> Response:
    """Make a database."""
    record = await request.message(Object)
    name = request.asked(Named).name or record.get("DatabaseName")
    if not name or not isinstance(name, str):
        raise InvalidInput("the name of the database is missing", "pass ?name=NAME")
    check_name(name)
    if request.server.databases.document(name):
        raise Refused(409, f"the database {name} exists already", "give another name, or delete that one")
    etag = await databases.create(request, name, _document(record))
    return json_response(DatabaseStored(name, etag, nodes_added_to=[request.root]), 201)


def _document(record: dict[str, Any]) -> dict[str, Any]:
    """The document of a database of ours; raises `Refused` (501) for what would not be done."""
    for member, value in record.items():
        if member not in _KNOWN | _IDLE and value:
            raise Refused(501, f"the database record has {member}, which is not here", f"leave {member} out")
    if record.get("Encrypted"):
        raise Refused(
            501,
            "a record gives no key for an encrypted database",
            "make it with `muniment databases create --key-file`",
        )
    given = record.get("Settings") or {}
    if not isinstance(given, dict) or not all(isinstance(value, str | None) for value in given.values()):
        raise InvalidDocument("Settings is not an object of texts", 'send {"Settings": {"Muniment/History": "true"}}')
    names = {_DATA_DIR: "Raven/DataDir"}
    settings = {names.get(name, name): value for name, value in given.items() if value is not None}
    return {"Settings": settings, "Disabled": bool(record.get("Disabled"))}


async def delete(request: Request) -> Response:
    """Forget databases; with `HardDelete`, delete their files too."""
    wanted = await request.message(Deletion)
    for document in _documents(request, wanted.database_names):
        await databases.delete(request, document.id[len(DATABASES) :], hard=bool(wanted.hard_delete))
    return json_response(Deleted(request.server.databases.system.database.last_etag))


async def disable(request: Request) -> Response:
    """Disable databases: requests for them are refused."""
    return await _toggled(request, disabled=True)


async def enable(request: Request) -> Response:
    """Enable databases again."""
    return await _toggled(request, disabled=False)


async def _toggled(request: Request, *, disabled: bool) -> Response:
    wanted = await request.message(Toggling)
    status = list[Toggled]()
    for document in _documents(request, wanted.database_names):
        changed = await databases.disable(request, document, disabled=disabled)
        reason = None if changed else "it was so already"
        status.append(Toggled(document.id[len(DATABASES) :], disabled, success=True, reason=reason))
    return json_response(AllToggled(status))


def _documents(request: Request, names: list[str]) -> list[Document]:
    """What describes these databases, all of which there are, and the caller may change."""
    if not names:
        raise InvalidInput("no databases are named", 'send {"DatabaseNames": ["NAME"]}')
    for name in names:
        check_name(name)
        require(request, name, Right.ADMIN)
    return [request.server.databases.known(name) for name in names]


def _named(request: Request) -> str:
    name = request.asked(Named).name
    if not name:
        raise NotFound("the name of the database is missing", "pass ?name=NAME")
    return name


def _is_disabled(document: Document) -> bool:
    return bool(decode(document.body).get("Disabled"))
