"""A unit of work, the same for an embedded and a remote database: load, change, store, save everything or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar, get_origin, is_typeddict, overload

from muniment.command import Command, Delete, Put
from muniment.document import ENTITY_NAME, MAX_ID_BYTES, Document, check_id, encode, fold, is_reserved, texts_in
from muniment.errors import ConcurrencyConflict, InvalidInput
from muniment.faces import Blocking, Steps, both
from muniment.finding import DocumentQuery, Results, asked_of, included
from muniment.hilo import collection_for
from muniment.query.model import Query
from muniment.storage.base import Written

T = TypeVar("T")
D = TypeVar("D")


class Database(Protocol):
    """What a session needs of a database, embedded or remote."""

    def get_many(self, ids: Iterable[str]) -> list[Document | None]: ...

    def batch(self, commands: Sequence[Command]) -> list[Written]: ...

    def next_id(self, collection: str) -> str: ...

    def query(self, query: Query, /) -> Results: ...

    def stream(self, query: Query, /) -> Iterator[Any]: ...


@dataclass(slots=True)
class _Tracked:
    """An object of the session: what it was when it was loaded tells at the end whether it has changed."""

    entity: Any
    id: str
    etag: int | None
    metadata: dict[str, Any]
    body: bytes | None
    metadata_body: bytes
    expected: int | None = None


class _Changed(NamedTuple):
    """An object that is not what was loaded, and what is to be written for it."""

    entry: _Tracked
    body: bytes
    metadata: bytes


class _Changes(NamedTuple):
    """What is to be written in one transaction: deletes, then puts."""

    commands: list[Command]
    deletes: list[Delete]
    changed: list[_Changed]


class UnitOfWork(Generic[D]):
    """Objects that belong to documents. Nothing is written before `save_changes`, which writes one transaction.

    Entities are dicts, dataclasses, msgspec Structs or plain objects. A document whose entity was not changed is not
    written again, and the numbers in a loaded dict keep their spelling (`1.10`) when something else in it changes.
    With `optimistic_concurrency`, saving a document that somebody else has changed since raises `ConcurrencyConflict`.
    """

    def __init__(self, database: D, *, optimistic_concurrency: bool = False) -> None:
        self._database: Any = database
        self._optimistic = optimistic_concurrency
        self._by_key: dict[str, _Tracked] = {}
        self._by_entity: dict[int, _Tracked] = {}
        self._deleted: dict[str, Delete] = {}
        self._included: dict[str, Document] = {}  # came with what a query found, and nobody has loaded them yet
        self._given: set[str] = set()  # ids that were made for objects, and are not saved yet

    def _unknown(self, ids: Iterable[str]) -> list[str]:
        ids = list(ids)
        for id in ids:
            check_id(id)
        return [id for id in ids if fold(id) not in self._by_key and fold(id) not in self._deleted]

    def _found(self, documents: Iterable[Document | None], type: Any) -> None:
        for document in documents:
            if document is not None:
                self._track(document, type)

    def _entities(self, ids: Iterable[str], type: Any) -> list[Any]:
        found = [(id, self._by_key.get(fold(id))) for id in ids]
        for id, entry in found:
            if type is not None and entry is not None and not _is(entry.entity, type):
                present, wanted = _name(entry.entity.__class__), _name(type)
                raise InvalidInput(
                    f"{id!r} is a {present} in this session, and was now asked for as a {wanted}",
                    f"load it as a {present}, or in a session of its own",
                )
        return [entry.entity if entry else None for _, entry in found]

    def _track(self, document: Document, type: Any) -> None:
        entity = document.json() if type is None else document.to(type)
        metadata = {name: value for name, value in document.metadata.items() if not is_reserved(name)}
        entry = _Tracked(entity, document.id, document.etag, metadata, encode(entity), encode(metadata))
        self._remember(entry)

    def _remember(self, entry: _Tracked) -> None:
        self._by_key[fold(entry.id)] = entry
        self._by_entity[id(entry.entity)] = entry

    def _stored_again(self, entity: Any, id: str | None, etag: int | None) -> str | None:
        """The id of an object that the session has already, when it is to be saved under that one again."""
        if isinstance(entity, bytes | str | int | float | list | tuple) or entity is None:
            raise InvalidInput(f"a document is a JSON object, not {type(entity).__name__}", "store a dict or an object")
        if id is not None:
            check_id(id)
        known = self._by_entity.get(_identity(entity))
        if known is None or (id is not None and fold(id) != fold(known.id)):
            return None
        known.expected = etag if etag is not None else known.expected
        return known.id

    def _store(
        self,
        entity: Any,
        id: str,
        collection: str | None,
        metadata: Mapping[str, Any] | None,
        etag: int | None,
        *,
        new: bool = False,
    ) -> str:
        """`new` says that the id was given out for this object, so that no document may have it when it is saved."""
        check_id(id)
        present = self._by_key.get(fold(id))
        if present and present.entity is not entity:
            raise InvalidInput(f"another object is already stored as {id!r} in this session", "change that one instead")
        named = {ENTITY_NAME: collection} if collection else {}
        deleted = self._deleted.pop(fold(id), None)
        expected = deleted.etag if deleted and etag is None else etag
        if new:
            self._given.add(fold(id))
            expected = 0 if expected is None else expected
        self._remember(_Tracked(entity, id, None, {**named, **(metadata or {})}, None, b"", expected))
        return id

    def delete(self, entity_or_id: Any) -> None:
        """Have the document of this object, or with this id, deleted when the session is saved."""
        entry = self._by_key.get(fold(entity_or_id)) if isinstance(entity_or_id, str) else self._entry(entity_or_id)
        id = entry.id if entry else check_id(entity_or_id).decode()
        expected = entry.etag if entry and self._optimistic else None
        if entry:
            self._forget(entry)
        self._deleted[fold(id)] = Delete(id, expected)

    def _forget(self, entry: _Tracked) -> None:
        del self._by_key[fold(entry.id)]
        self._by_entity.pop(_identity(entry.entity), None)  # an object may be stored under a second id

    def _entry(self, entity: Any) -> _Tracked:
        entry = self._by_entity.get(_identity(entity))
        if entry is None:
            raise InvalidInput("this object does not belong to the session", "load or store it first")
        return entry

    def metadata(self, entity: Any) -> dict[str, Any]:
        """The metadata of an object's document; changes to it are saved with the object."""
        return self._entry(entity).metadata

    def etag(self, entity: Any) -> int | None:
        """The etag that an object's document had when it was loaded or saved, None for one not yet saved."""
        return self._entry(entity).etag

    def id(self, entity: Any) -> str:
        """The id of an object's document."""
        return self._entry(entity).id

    def _changes(self) -> _Changes:
        changed = [
            _Changed(entry, body, metadata)
            for entry in self._by_key.values()
            for body, metadata in [(encode(entry.entity), encode(entry.metadata))]
            if (body, metadata) != (entry.body, entry.metadata_body)
        ]
        deletes = list(self._deleted.values())
        puts = [Put(entry.id, body, metadata, self._expected(entry)) for entry, body, metadata in changed]
        return _Changes([*deletes, *puts], deletes, changed)

    def _saved(self, changes: _Changes, written: Sequence[Written]) -> None:
        for (entry, body, metadata), result in zip(changes.changed, written[len(changes.deletes) :], strict=True):
            self._by_key.pop(fold(entry.id), None)
            entry.id, entry.etag, entry.expected = result.id, result.etag, None
            entry.body, entry.metadata_body = body, metadata
            self._by_key[fold(entry.id)] = entry
            self._given.discard(fold(entry.id))
        for delete in changes.deletes:
            self._deleted.pop(fold(delete.id), None)

    @contextmanager
    def _named_conflicts(self) -> Iterator[None]:
        """Says of a conflict about an id that was made here what to do: loading it again would be of no use."""
        try:
            yield
        except ConcurrencyConflict as error:
            if error.expected == 0 and fold(error.id) in self._given:
                error.hint = (
                    "somebody else has used this id meanwhile: store the object in a new session, under another"
                )
            raise

    def _expected(self, entry: _Tracked) -> int | None:
        if entry.expected is not None:
            return entry.expected
        if not self._optimistic:
            return None
        return 0 if entry.etag is None else entry.etag

    def _load(self, id: str, type: Any) -> Steps[Any]:
        yield from self._fetched([id], type)
        return self._entities([id], type or dict)[0]

    def _fetched(self, ids: Iterable[str], type: Any) -> Steps[None]:
        """Have these documents in the session: those that a query has included need not be asked for."""
        unknown = self._unknown(ids)
        there = [self._included.pop(fold(id)) for id in unknown if fold(id) in self._included]
        self._found(there, type)
        if asked := self._unknown(unknown):
            self._found((yield partial(self._database.get_many, asked)), type)

    def _include(self, documents: Iterable[Document], paths: Iterable[str]) -> Steps[None]:
        """Get what these documents refer to, for when it is loaded."""
        ids = [id for id in included(documents, paths) if 0 < len(id.encode(errors="replace")) <= MAX_ID_BYTES]
        wanted = [id for id in self._unknown(ids) if fold(id) not in self._included]
        found = yield partial(self._database.get_many, wanted)
        self._included.update((fold(each.id), each) for each in found if each)

    def _met(self, documents: Iterable[Document], type: Any) -> list[Any]:
        """The objects of these documents: those that the session has already, as they are there."""
        met = [each for each in documents if fold(each.id) not in self._deleted]
        self._found((each for each in met if fold(each.id) not in self._by_key), None if type is dict else type)
        return self._entities([each.id for each in met], type)

    @both
    def load_many(self, ids: Iterable[str], type: Any = None) -> Steps[list[Any]]:
        """The documents with these ids, in their order, None for each that does not exist."""
        wanted = texts_in(ids, "ids")
        yield from self._fetched(wanted, type)
        return self._entities(wanted, type)

    @both
    def store(
        self,
        entity: Any,
        id: str | None = None,
        *,
        collection: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        etag: int | None = None,
    ) -> Steps[str]:
        """Have this object saved; returns its id, made by HiLo from the collection when none is given.

        A document never takes the place of another one under an id that was made: `save_changes` then raises.
        The collection of an object that is not a dict is the plural of its class. `etag` is the one that the document
        must have when it is saved, 0 for "it must not exist".
        """
        if known := self._stored_again(entity, id, etag):
            return known
        if collection is None and not isinstance(entity, dict):
            collection = collection_for(type(entity))
        if id is not None:
            return self._store(entity, id, collection, metadata, etag)
        given = yield partial(self._database.next_id, collection or "")
        return self._store(entity, given, collection, metadata, etag, new=True)

    @both
    def save_changes(self) -> Steps[None]:
        """Write every change as one transaction. When it raises, nothing was written and the session is as it was."""
        changes = self._changes()
        if changes.commands:
            with self._named_conflicts():
                written = yield partial(self._database.batch, changes.commands)
            self._saved(changes, written)


class Session(UnitOfWork[Database], Blocking):
    __doc__ = UnitOfWork.__doc__

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Leave without saving what was not saved."""

    @overload
    def load(self, id: str) -> dict[str, Any] | None: ...

    @overload
    def load(self, id: str, type: type[T]) -> T | None: ...

    def load(self, id: str, type: Any = None) -> Any:
        """The document with this id as a dict or as `type`, always the same object in a session; None if none.

        Raises `InvalidInput` when the session has it as something else, which it was loaded or stored as before.
        """
        return self._run(self._load(id, type))

    @overload
    def query(self, collection: str | None = None, *, index: str | None = None) -> DocumentQuery[dict[str, Any]]: ...

    @overload
    def query(self, collection: str | None, type: type[T], *, index: str | None = None) -> DocumentQuery[T]: ...

    def query(self, collection: str | None = None, type: Any = None, *, index: str | None = None) -> Any:
        """A query of a collection, or of all documents: `session.query("Orders").where(field("Freight") > 10)`.

        With the name of an `index`, it is one of that, which knows of what collection, by the fields of the index.
        """
        return DocumentQuery(self, asked_of(collection, index), type)


def _is(entity: Any, type: Any) -> bool:
    """Whether an object is what was asked for; True for a type of which Python cannot tell."""
    asked = dict if is_typeddict(type) or get_origin(type) is dict else type
    try:
        return isinstance(entity, asked)
    except TypeError:
        return True


def _name(type: Any) -> str:
    return getattr(type, "__name__", str(type))


def _identity(entity: Any) -> int:
    return id(entity)
