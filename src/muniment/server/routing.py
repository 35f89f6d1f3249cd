"""What a route is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from muniment.server.request import Request

Handler: TypeAlias = Callable[[Request], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """A path below the server, or (`tenant`) below a database, and the handlers of its methods.

    `acts` says that even its GET changes something, as that of RavenDB does.
    """

    path: str
    methods: dict[str, Handler]
    tenant: bool = True
    acts: bool = False

    @property
    def allow(self) -> str:
        """The header that says which methods there are."""
        return ", ".join(self.methods)
