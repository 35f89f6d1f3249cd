"""The keys of a server: made, listed, disabled and given other secrets in its system database, open here or remote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import msgspec

from muniment.document import Document, rfc3339
from muniment.errors import ConcurrencyConflict, Conflict, InvalidInput, NotFound
from muniment.page import Page
from muniment.security.access import EVERY, Right
from muniment.security.keys import (
    PREFIX,
    Key,
    check_key_for_old_clients,
    check_key_name,
    decode_key,
    new_key,
    split_key,
)
from muniment.storage.base import Written

_PAGE: Final = 1024


class System(Protocol):
    """What is needed of the system database; `DocumentDatabase` and `DocumentStore` have it."""

    def get(self, id: str) -> Document | None: ...

    def put(self, id: str, body: Any, *, etag: int | None = None) -> Written: ...

    def by_prefix(self, prefix: str, *, start: int = 0, limit: int = _PAGE) -> Page[Document]: ...


class ApiKeys:
    """The keys in a system database. A secret is made here and returned once; only its hash is stored, or sent.

    Those of keys for RavenDB's old clients are sent too, since the server has to have them. That can be done only with
    a `confidential` one: a server that runs, on this machine or with TLS between.
    """

    def __init__(self, system: System, *, confidential: bool = False) -> None:
        self._system = system
        self._confidential = confidential

    def __iter__(self) -> Iterator[tuple[str, Key | None]]:
        """The name of every key, in the order of names, and the key; None for what is none, and opens nothing."""
        start = 0
        while page := self._system.by_prefix(PREFIX, start=start, limit=_PAGE):
            for document in page:
                try:
                    yield document.id[len(PREFIX) :], decode_key(document.body)
                except InvalidInput:
                    yield document.id[len(PREFIX) :], None
            start += len(page)

    def add(
        self,
        name: str,
        rights: Iterable[str],
        databases: Iterable[str] = (),
        *,
        data_roots: Iterable[str] = (),
        backup_roots: Iterable[str] = (),
        password: str | None = None,
        old_clients: bool = False,
    ) -> tuple[Key, str]:
        """Make a key with these rights, for these databases or all, and return it and what its holder sends.

        With `data_roots` or `backup_roots` it can name only folders below these, for databases and for backups. Its
        secret is the `password` of a user, or made here; with `old_clients` the server keeps it, wrapped. Raises
        `Conflict` when there is one of this name, and `InvalidInput` for a name, right or password that cannot be.
        """
        if old_clients:
            self._check_old_clients(name, password)
        key, api_key = new_key(name, rights, databases, rfc3339(datetime.now(UTC)), password)
        key = msgspec.structs.replace(key, data_roots=tuple(data_roots), backup_roots=tuple(backup_roots))
        if "" in key.data_roots + key.backup_roots:
            raise InvalidInput(
                "the name of a folder is empty", "name the folder, or leave it out for all of the server"
            )
        try:
            self._system.put(key.id, _for_server(key, api_key, old_clients=old_clients).encoded(), etag=0)
        except ConcurrencyConflict as error:
            raise Conflict(
                f"there is a key {name} already", "choose another name, or give it another secret: muniment keys rotate"
            ) from error
        return self._kept(key) if old_clients else key, api_key

    def rotate(self, name: str, password: str | None = None) -> tuple[Key, str]:
        """Give a key another secret, or this password, and return it and what its holder sends now.

        The old secret opens nothing any more.
        """
        document, key = self._find(name)
        if key.old_clients:
            self._check_old_clients(name, password)
        rotated, api_key = key.rotated(password)
        self._replace(document, _for_server(rotated, api_key, old_clients=bool(key.old_clients)))
        return self._kept(rotated) if key.old_clients else rotated, api_key

    def disable(self, name: str) -> Key:
        """Have a key open nothing until it is enabled again."""
        return self._set_enabled(name, False)

    def enable(self, name: str) -> Key:
        """Have a key that was disabled open again what it did, with its old secret."""
        return self._set_enabled(name, True)

    def is_last_admin(self, name: str) -> bool:
        """Whether without this key nobody could change keys any more: no other one is enabled with `admin` for all."""
        _, key = self._find(name)
        others = (each for _, each in self if each is not None and each.id != key.id)
        return _is_admin(key) and not any(map(_is_admin, others))

    def without(self, prefix: str, databases: Iterable[str]) -> list[str]:
        """Which of these names no document after this prefix has, as that of a database; `*` stands for all of them."""
        return [name for name in databases if name != EVERY and self._system.get(prefix + name) is None]

    def _set_enabled(self, name: str, enabled: bool) -> Key:
        document, key = self._find(name)
        if key.enabled != enabled:
            key = msgspec.structs.replace(key, enabled=enabled)
            self._replace(document, key)
        return key

    def _check_old_clients(self, name: str, password: str | None) -> None:
        check_key_for_old_clients(name)
        if password is not None:
            raise InvalidInput(
                f"{name} is for old clients, whose SHA-1 lets a password be guessed", "have the secret made instead"
            )
        if not self._confidential:
            raise InvalidInput(
                f"the secret of {name} is for old clients, so the server itself has to get it",
                "ask the server that runs, by https or on its own machine: --url URL",
            )

    def _kept(self, key: Key) -> Key:
        """The key as the server has stored it, with what it has made of the secret."""
        document = self._system.get(key.id)
        return key if document is None else decode_key(document.body)

    def _find(self, name: str) -> tuple[Document, Key]:
        check_key_name(name)
        document = self._system.get(PREFIX + name)
        if document is None:
            raise NotFound(f"there is no key {name}", "see the names of all: muniment keys list")
        return document, decode_key(document.body)

    def _replace(self, document: Document, key: Key) -> None:
        self._system.put(document.id, key.encoded(), etag=document.etag)


def _is_admin(key: Key) -> bool:
    return key.enabled and Right.ADMIN in key.rights and EVERY in key.databases


def _for_server(key: Key, api_key: str, *, old_clients: bool) -> Key:
    """The key as it is sent: with its secret, for old clients."""
    return msgspec.structs.replace(key, old_clients=split_key(api_key)[1]) if old_clients else key
