"""What a route is: what it is asked with, what it answers, and who does that. The OpenAPI document is made of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final, TypeAlias

from muniment.raven3.queries import Query
from muniment.security.access import Right

JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"

Handler: TypeAlias = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, and what its body is: JSON of a type, bytes (of some media type) if that is None, or nothing."""

    status: int = 200
    type: Any = None
    media: str | None = JSON
    said: str = ""


class Where(Enum):
    """For what a right has to be held."""

    DATABASE = auto()  # the one in the address
    NAMED = auto()  # the one at the end of the path
    SERVER = auto()  # all of it
    JOB = auto()  # the database of the job with this number: the handler knows none that one may not see
    LATER = auto()  # some database: the handler says which, when it has read the request


@dataclass(frozen=True, slots=True, eq=False)  # each is only itself, so that what it allows can be remembered
class Permission:
    """One of these rights is needed; none, and everybody may. `also` has ids that a further right reads.

    `members` has what may be said in the query or the body only with another right, by its name there in Python.
    """

    any_of: tuple[Right, ...] = ()
    where: Where = Where.DATABASE
    also: Mapping[str, Right] = field(default_factory=dict)
    members: Mapping[str, Right] = field(default_factory=dict)


EVERYBODY: Final = Permission()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a method does at a path, and with which query, body and headers it is asked (which are told by their names).

    `may` says who may do it. `body` is a type of `raven3.messages` or of other JSON, or `bytes` for anything. Handlers
    read the query and the body as these types, and cannot as others.
    """

    handler: Handler
    answers: tuple[Answer, ...]
    query: type[Query] = Query
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    may: Permission = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class Route:
    """A path below the server, or (`tenant`) below a database, and what its methods do.

    `acts` says that even its GET changes something, as that of RavenDB does; `harmless` that a form of any page may
    send what it is asked with.
    """

    path: str
    methods: dict[str, Endpoint]
    tenant: bool = True
    acts: bool = False
    harmless: bool = False
    allow: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "allow", ", ".join(self.methods))  # the header that says which methods there are


class Table:
    """Routes, by their paths; `entrance` is that of the one where nothing more is asked for."""

    def __init__(self, routes: Iterable[Route], entrance: str = "") -> None:
        routes = tuple(routes)
        self._entrance = entrance
        self._exact = {route.path: route for route in routes if "{" not in route.path}
        self._below = {route.path.partition("{")[0]: route for route in routes if "{" in route.path}

    def resolve(self, path: str) -> tuple[Route, str] | None:
        """The route of a path below a database or the server, and the argument in it; None when there is none.

        The words of a route are compared without case. An id may have slashes in it.
        """
        end = path.find("/") + 1
        if 0 < end < len(path) and (route := self._below.get(path[:end])):  # nearly always
            return route, path[end:]
        return self._resolve(path, path) or self._resolve(path, path.lower())

    def _resolve(self, path: str, folded: str) -> tuple[Route, str] | None:
        if route := self._exact.get(folded.rstrip("/") or self._entrance):
            return route, ""
        end = -1
        for _ in range(2):
            end = folded.find("/", end + 1)
            if end < 0:
                break
            if (route := self._below.get(folded[: end + 1])) and len(path) > end + 1:
                return route, path[end + 1 :]
        return None
