"""The way of most requests: reads of a document by its id, answered on the thread that brings them, without the event
loop; and documents that are stored, all about which but their bodies is looked at there.

What is answered is decided where it is for every other request: `heads` asks `origin`, `callers` and `permission` say
who may, and the handler of the route makes the answer. Whatever is not plain here goes the general way, `app`, which
starts from the beginning: nothing was done yet.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic, perf_counter
from typing import Any, Final

from muniment.security.access import ALL
from muniment.server.answered import Answered
from muniment.server.bodies import SMALL
from muniment.server.callers import OWNER, Caller
from muniment.server.handlers import documents
from muniment.server.heads import Heads, Reading, Writing
from muniment.server.permission import allowed
from muniment.server.request import Ready
from muniment.server.routes import TABLE
from muniment.server.state import ServerState
from muniment.server.tenants import Tenant

MARK: Final = "/databases/"
DOCS: Final = "docs/"


class Straight:
    """Answers plain reads and makes plain writes ready, for one thread that brings requests."""

    def __init__(self, server: ServerState) -> None:
        self._callers = server.callers
        self._open = server.databases.open
        self._heads = Heads(server.origin, server.local)
        self._is_on = not server.settings.access_log
        found = TABLE.resolve(DOCS + "id")
        assert found is not None
        self._get, self._put = found[0].methods["GET"], found[0].methods["PUT"]
        assert (self._get.handler, self._put.handler) == (documents.get, documents.put)
        self._answered = Answered()
        server.at_once.append(self._answered)

    def answer(self, scope: Any, proto: Any) -> bool:
        """Answer this request if it can be done here; returns whether it was."""
        if not self._is_on or scope.method != "GET":
            return False
        began = perf_counter()
        with suppress(Exception):  # which the general way meets too, and tells
            found = self._found(scope.path)
            head = found and self._heads.reading(scope.headers)
            caller = head and self._caller(head)
            if found is None or head is None or caller is None:
                return False
            tenant, name, id = found
            if tenant.database.storage.shared or not allowed(caller.access, name, id, self._get.may):
                return False  # where it is shared, what is read takes a while
            tenant.used = monotonic()
            answer = documents.shown(tenant, id, head.known)
            proto.response_bytes(answer.status, answer.headers, answer.body)
            self._answered.count("GET", answer.status, perf_counter() - began)
            return True
        return False

    def ready(self, scope: Any) -> Ready | None:
        """What is known of a request that stores a document, if that may be done, once its body is there."""
        if scope.method != "PUT":
            return None
        with suppress(Exception):
            found = self._found(scope.path)
            head = found and self._heads.writing(scope.headers)
            caller = head and self._caller(head)
            if found is None or head is None or caller is None or not 0 < head.length <= SMALL:
                return None
            tenant, name, id = found
            if allowed(caller.access, name, id, self._put.may):
                return Ready(name, id, tenant, caller, self._put, head)
        return None

    def is_plain(self, ready: Ready) -> bool:
        """Whether it may be stored as soon as its body is there, and needs nothing but the writer for it."""
        return self._is_on and ready.tenant.freeze is None and not ready.tenant.is_system and not ready.id.endswith("/")

    def _found(self, path: str) -> tuple[Tenant, str, str] | None:
        """The open database that a path leads into, its name there, and the id of the document."""
        end = path.find("/", len(MARK))
        if not path.startswith(MARK) or not path.startswith(DOCS, end + 1):
            return None
        name, id = path[len(MARK) : end], path[end + 1 + len(DOCS) :]
        tenant = self._open.get(name)
        if tenant is None or not id:
            return None
        return tenant, name, id

    def _caller(self, head: Reading | Writing) -> Caller | None:
        """Who has sent it; None if that takes longer to find out, or changes just now."""
        callers = self._callers
        if not callers.are_current:
            return None
        if head.authorization is None:
            return OWNER if head.local else callers.last_anonymous
        return None if callers.last_anonymous.access == ALL else callers.proven(head.authorization)
