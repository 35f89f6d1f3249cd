"""The way of most reads: a document by its id, answered on the thread that brings the request, without the event loop.

What it answers is decided where it is for every other request: `heads` asks `origin`, `callers` and `permission` say
who may, and the handler of the route makes the answer. Whatever is not plain here goes the general way, `app`, which
starts from the beginning: nothing was done yet.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic, perf_counter
from typing import Any, Final

from muniment.security.access import ALL
from muniment.server.answered import Answered
from muniment.server.callers import OWNER, Caller
from muniment.server.handlers import documents
from muniment.server.heads import Head, Heads
from muniment.server.permission import allowed
from muniment.server.routes import TABLE
from muniment.server.state import ServerState

MARK: Final = "/databases/"
DOCS: Final = "docs/"


class Straight:
    """Answers plain reads, for one thread that brings requests."""

    def __init__(self, server: ServerState) -> None:
        self._callers = server.callers
        self._open = server.databases.open
        self._heads = Heads(server.origin, server.local)
        self._is_on = not server.settings.access_log
        found = TABLE.resolve(DOCS + "id")
        assert found is not None
        endpoint = found[0].methods["GET"]
        assert endpoint.handler is documents.get
        self._may = endpoint.may
        self._answered = Answered()
        server.at_once.append(self._answered)

    def answer(self, scope: Any, proto: Any) -> bool:
        """Answer this request if it can be done here; returns whether it was."""
        if not self._is_on or scope.method != "GET":
            return False
        began = perf_counter()
        with suppress(Exception):  # which the general way meets too, and tells
            path = scope.path
            end = path.find("/", len(MARK))
            if not path.startswith(MARK) or not path.startswith(DOCS, end + 1):
                return False
            name, id = path[len(MARK) : end], path[end + 1 + len(DOCS) :]
            tenant = self._open.get(name)
            if tenant is None or not id:
                return False
            head = self._heads.of(scope.headers)
            caller = head and self._caller(head)
            if head is None or caller is None or not allowed(caller.access, name, id, self._may):
                return False
            tenant.used = monotonic()
            answer = documents.shown(tenant, id, head.known)
            proto.response_bytes(answer.status, answer.headers, answer.body)
            self._answered.count("GET", answer.status, perf_counter() - began)
            return True
        return False

    def _caller(self, head: Head) -> Caller | None:
        """Who has sent it; None if that takes longer to find out, or changes just now."""
        callers = self._callers
        if not callers.are_current:
            return None
        if head.authorization is None:
            return OWNER if head.local else callers.last_anonymous
        return None if callers.last_anonymous.access == ALL else callers.proven(head.authorization)
