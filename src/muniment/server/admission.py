"""What the system database takes in: documents of databases with their secrets wrapped, and keys that are keys.

Every write passes here, whichever way it comes: single documents, batches, imports, and what the server does itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeAlias

import msgspec

from muniment.database import DocumentDatabase
from muniment.document import decode, encode, fold
from muniment.errors import InvalidDocument, InvalidInput, MunimentError
from muniment.raven3.encryption import SECURED, is_encrypted
from muniment.raven3.names import DATABASES, SCHEDULES, SYSTEM
from muniment.revision import DOCUMENT
from muniment.security.keys import PREFIX, check_key_for_old_clients, decode_key
from muniment.server.secured import MasterKey, check_places, is_wrapped, wrapped
from muniment.storage.base import Write
from muniment.storage.retention import check_settings

_DATABASES: Final = fold(DATABASES)
_KEYS: Final = fold(PREFIX)
_SCHEDULES: Final = fold(SCHEDULES)


Place: TypeAlias = Callable[[str, dict[str, Any]], object]
Told: TypeAlias = Callable[[str, str, bool], object]


class Admission:
    """Passes writes on as they may be kept, or raises why not, naming the document."""

    def __init__(self, system: DocumentDatabase, master: MasterKey, *, old_clients: bool = False) -> None:
        """With `old_clients`, secrets of keys for these are taken in, and wrapped."""
        self._system = system
        self._master = master
        self._old_clients = old_clients
        self._is_own: ContextVar[bool] = ContextVar("is_own", default=False)
        self._place: ContextVar[Place | None] = ContextVar("place", default=None)
        self._told: ContextVar[Told | None] = ContextVar("told", default=None)

    @contextmanager
    def own(self) -> Iterator[None]:
        """Within it, this thread may give databases other keys, which it has wrapped."""
        token = self._is_own.set(True)
        try:
            yield
        finally:
            self._is_own.reset(token)

    @contextmanager
    def placed(self, check: Place) -> Iterator[None]:
        """Within it, `check` gets the names and documents of databases that this thread writes, and may raise."""
        token = self._place.set(check)
        try:
            yield
        finally:
            self._place.reset(token)

    @contextmanager
    def telling(self, told: Told) -> Iterator[None]:
        """Within it, `told` hears of keys and databases that this thread writes: what is done, the id, if it may."""
        token = self._told.set(told)
        try:
            yield
        finally:
            self._told.reset(token)

    def __call__(self, writes: Sequence[Write]) -> Sequence[Write]:
        """The writes, with secured settings and secrets wrapped; raises `InvalidInput` and `WrongKey`."""
        return writes if self._is_own.get() else [self._admitted(write) for write in writes]

    def _admitted(self, write: Write) -> Write:
        if write.kind == DOCUMENT and write.body is not None and fold(write.id).startswith(_SCHEDULES):
            raise InvalidInput(f"{write.id} is not stored as a document", "use `muniment schedule` or admin/schedules")
        subject = subject_of(write.id) if write.kind == DOCUMENT else None
        if subject is None:
            return write
        what, told = f"{subject} {'stored' if write.body else 'deleted'}", self._told.get()
        try:
            if write.body is not None:
                write = self._wrapped_key(write, write.body) if subject == "key" else self._wrapped(write, write.body)
            if told:
                told(what, write.id, True)
        except MunimentError as error:
            if told:
                told(what, write.id, False)
            if write.id not in error.message:
                error.message = f"{write.id}: {error.message}"
            raise
        return write

    def _wrapped_key(self, write: Write, body: bytes) -> Write:
        key = decode_key(body)
        if fold(key.id) != fold(write.id):
            raise InvalidInput(f"{write.id!r} is not the id of the key {key.name!r}", f"store it as {key.id}")
        if not key.old_clients:
            return write
        if not is_wrapped(key.old_clients):
            if not self._old_clients:
                raise InvalidInput(
                    "this server keeps no secrets for old clients",
                    "start it with the setting oauth-api-key = true, or make a key without --old-clients",
                )
            check_key_for_old_clients(key.name)
            key = msgspec.structs.replace(key, old_clients=self._master.wrap(SYSTEM, key.id, key.old_clients))
        return write._replace(body=key.encoded())  # anew: what was sent may name a member twice

    def _wrapped(self, write: Write, body: bytes) -> Write:
        try:
            document = decode(body)
        except InvalidDocument as error:  # a text that is not Unicode: nobody could read the settings
            raise InvalidInput(f"it cannot be read: {error.message}", "send a JSON object") from error
        check_document(document)
        name = write.id[len(DATABASES) :]
        if check := self._place.get():
            check(name, document)
        found = self._system.storage.get(DOCUMENT, write.id) if name else None
        present = decode(found.body) if found and found.body else None
        if present is not None and _keeps_secrets(document, present):
            return write
        kept = wrapped(self._master, name, document, present)
        # Always anew when there are secrets: what was sent may name a member twice.
        return write._replace(body=encode(kept)) if SECURED in document or SECURED in kept else write


def subject_of(id: str) -> str | None:
    """What a document of the system database is, if who has changed it is to be known."""
    return "key" if fold(id).startswith(_KEYS) else "database" if fold(id).startswith(_DATABASES) else None


def _keeps_secrets(document: dict[str, Any], present: dict[str, Any]) -> bool:
    """Whether nothing is changed for which the master key would be needed: that may be missing."""
    secured = document.get(SECURED)
    same = isinstance(secured, dict) and secured == present.get(SECURED) and all(map(is_wrapped, secured.values()))
    return same and is_encrypted(document) == is_encrypted(present)


def plain_settings(document: dict[str, Any]) -> dict[str, str]:
    """The settings in a database's document, those that are text."""
    settings = document.get("Settings")
    found = settings.items() if isinstance(settings, dict) else ()
    return {name: value for name, value in found if isinstance(value, str)}


def check_document(document: Any) -> None:
    """Raises `InvalidInput` for settings in a database's document that would do nothing, and for secrets in clear."""
    if not isinstance(document, dict):
        return
    check_places(document)
    settings = document.get("Settings")
    if isinstance(settings, dict):
        ours = {name: value for name, value in settings.items() if name.lower().startswith("muniment/")}
        check_settings(plain_settings(document) | {name: value for name, value in ours.items() if value is not None})
