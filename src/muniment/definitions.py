"""RavenDB's definitions of indexes, each kept exactly as a document `Raven/Indexes/NAME`, and what they find.

An index whose map only says which fields of documents it has is its collection under other names. Dumps carry these
documents as what they are (`smuggler/kept.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec.structs import replace

from muniment import answer, json_bytes
from muniment.answer import query_of
from muniment.command import Put
from muniment.document import Document, check_body, encode
from muniment.errors import IndexNotFound, InvalidInput, NotEvaluated
from muniment.query import maps, model, rql
from muniment.query.keys import Number
from muniment.query.maps import Joined, Path, Several, Unknown, Value
from muniment.query.model import (
    EVERYTHING,
    ID,
    METADATA,
    SUM,
    And,
    As,
    Column,
    Condition,
    Equal,
    Exists,
    Field,
    Group,
    Leaf,
    Not,
    Or,
    Order,
    Query,
    Search,
    StartsWith,
)
from muniment.query.plan import Wanted
from muniment.smuggler.indexes import read_map, type_of
from muniment.smuggler.kept import INDEXES, SECTION

BY_ENTITY_NAME: Final = "Raven/DocumentsByEntityName"
_BUILT_IN: Final[dict[str, Any]] = {
    "Name": BY_ENTITY_NAME,
    "Map": 'from doc in docs select new { Tag = doc["@metadata"]["Raven-Entity-Name"], '
    'LastModified = (DateTime)doc["@metadata"]["Last-Modified"] }',
}
_METADATA: Final = encode({SECTION: "Indexes"})
_automatic: Final = re.compile(r"Auto/([^/]+)(?:/By.*)?", re.IGNORECASE | re.DOTALL)
_LISTED: Final = "see those that there are (GET indexes, in Python indexes.list()), or ask a collection by its name"
_INSTEAD: Final = "ask indexes/dynamic/COLLECTION, or by POST query, for fields of documents (docs/queries.md)"
_DEFINE: Final = 'give {"Map": "from o in docs.Orders select new { o.Company }"}, or Maps'
_ALWAYS: Final = {(ID,), (METADATA, "@last-modified"), (METADATA, "@collection")}

_ENTITY_NAME: Final = (METADATA, "Raven-Entity-Name")
_OF_DEFINITIONS: Final = frozenset({ID, METADATA, "name", "definition", "Type", "IndexDefinition"})

STEMS: Final = "Stems"  # how a field is analyzed of which the stems of words are found
SEARCHED: Final = ("analyzed", "search", STEMS.lower())
_stemming: Final = re.compile("snowball|porter|stem", re.IGNORECASE)

Get: TypeAlias = Callable[[str], Document | None]


class Definition(NamedTuple):
    """A definition as it was given, of RavenDB 2 and 3 or of later ones, and what all of them say."""

    name: str
    given: bytes
    maps: tuple[str, ...]
    reduce: bool
    analyzed: Mapping[str, str]
    later: bool = False  # whether it is in the words of RavenDB 4 and later
    changed: datetime | None = None
    wrong: str = ""  # why it cannot be read


class Index(NamedTuple):
    """What can be asked by its name: the documents of a collection, None for all, by these fields.

    Without `fields`, the names are those of the documents.
    """

    name: str
    collection: str | None
    fields: Mapping[str, Value] | None = None
    analyzed: Mapping[str, str] = {}

    def paths(self, name: str) -> tuple[tuple[str, ...], ...]:
        """Where in documents a field of the index is; nowhere if it has no such field.

        Raises `NotEvaluated` for one that is computed.
        """
        if self.fields is None or name == "__document_id":
            return ((ID,),) if name == "__document_id" else (path_of(name),)
        value = self.fields.get(name)
        if isinstance(value, Unknown | Joined):
            raise self.computed(name, value)
        return tuple(_paths(value)) if value else ()

    def computed(self, name: str, value: Unknown | Joined) -> NotEvaluated:
        """The error for a field that would have to be computed."""
        text = f": {value.text}" if isinstance(value, Unknown) else " of others"
        return NotEvaluated(f"the field {name!r} of the index {self.name!r} is computed{text}", _INSTEAD)

    def how(self, name: str) -> str:
        """How the texts of a field are kept, in small letters: `analyzed`, `search`, `stems`, `exact`, or nothing."""
        return self.analyzed.get(name, "").lower()

    def wanted(self) -> Wanted:
        """The fields of documents that it keeps sorted, or searches."""
        fields: list[Field] = []
        for name in self.fields or {}:
            if not isinstance(self.fields[name], Unknown | Joined):  # type: ignore[index]
                how = self.how(name)
                kind: As = "value" if how not in SEARCHED else "stems" if how == STEMS.lower() else "search"
                fields += [Field(path, kind) for path in self.paths(name)]
        return Wanted(self.collection, tuple(dict.fromkeys(fields)))

    def entries(self, where: Condition) -> Condition:
        """The condition, only for documents of which the index has an entry: those that have one of its fields."""
        if not self.fields or _finds_values(where):
            return where
        if any(isinstance(value, Unknown) for value in self.fields.values()):
            return where
        there = [_there(value) for value in self.fields.values()]
        if EVERYTHING in there:
            return where
        return Or(tuple(there)) if where == EVERYTHING else And((where, Or(tuple(there))))


def _there(value: Value) -> Condition:
    """That a document has a value for this field of an index; of texts that are joined it has all, or none."""
    if isinstance(value, Several):
        return Or(tuple(map(_there, value.items)))
    items = (value,) if isinstance(value, Path) else value.items if isinstance(value, Joined) else ()
    paths = [item for item in items if isinstance(item, Path)]
    found = tuple(Exists(Field(each.path)) for each in paths if each.path not in _ALWAYS)
    return found[0] if len(found) == 1 else And(found)


def path_of(name: str) -> tuple[str, ...]:
    """The path of a field of documents: `Lines,Product`, `ShipTo.City`, `@metadata.Raven-Entity-Name`."""
    if name.startswith("@metadata."):
        return (METADATA, name.removeprefix("@metadata."))
    return model.field(name).path


def _paths(value: Value) -> Iterator[tuple[str, ...]]:
    if isinstance(value, Path):
        yield value.path
    elif isinstance(value, Several):
        for item in value.items:
            yield from _paths(item)


def without_definitions(where: Condition) -> Condition:
    """The condition, only for documents that keep no definition, which are none to RavenDB."""
    if _finds_values(where, _of_no_definition):
        return where
    hidden = Not(StartsWith(Field((ID,)), INDEXES))
    return hidden if where == EVERYTHING else And((where, hidden))


def _of_no_definition(path: tuple[str, ...]) -> bool:
    return path[0] not in _OF_DEFINITIONS or path == _ENTITY_NAME


def _finds_values(condition: Condition, of: Callable[[tuple[str, ...]], bool] = lambda path: True) -> bool:
    """Whether what it finds has a value in one of these fields that it names."""
    if isinstance(condition, And):
        return any(_finds_values(item, of) for item in condition.items)
    if isinstance(condition, Or):
        return all(_finds_values(item, of) for item in condition.items)
    return not isinstance(condition, Not) and of(condition.field.path)


def put_of(name: str, definition: bytes) -> Put:
    """The document that keeps a definition of RavenDB 3; raises `InvalidInput` for what is none."""
    _check(name, definition)
    body = b'{"name":' + encode(name) + b',"definition":' + definition.strip() + b"}"
    return Put(INDEXES + name, body, _METADATA)


def put_of_later(name: str, definition: bytes) -> Put:
    """The document that keeps a definition of RavenDB 4 or later, as one of their dumps has it; raises as `put_of`."""
    _check(name, definition)
    kind = encode(type_of(msgspec.json.decode(definition)))
    body = b'{"Type":' + kind + b',"IndexDefinition":' + definition.strip() + b"}"
    return Put(INDEXES + name, body, _METADATA)


def _check(name: str, definition: bytes) -> None:
    if (
        not name
        or name.strip() != name
        or name[-1] in "/|"
        or name.lower().startswith(("dynamic/", "auto/"))
        or name.lower() == "dynamic"
    ):
        raise InvalidInput(f"an index cannot be called {name!r}", "choose another name")
    check_body(definition, f"the definition of the index {name!r}")
    if not _read(name, definition).maps:
        raise InvalidInput(f"the definition of the index {name!r} has no Map", "give a Map, or Maps")


def definition_of(document: Document) -> Definition | None:
    """The definition that a document keeps; None if it keeps none."""
    for member in ("definition", "IndexDefinition"):
        given = json_bytes.member_value(document.body, member)
        if given is not None and given[:1] == b"{":
            name, later = document.id[len(INDEXES) :], member == "IndexDefinition"
            try:
                found = _read(name, given)
            except InvalidInput as error:  # as somebody has written it; others can be asked all the same
                found = Definition(name, given, (), reduce=False, analyzed={}, wrong=error.message)
            return found._replace(later=later, changed=document.changed)
    return None


class _Given(msgspec.Struct, rename="pascal"):
    """What definitions of all versions say of what is found; of the later ones `Fields` says it.

    `Stems` are fields of which the stems of words are found, which RavenDB knows nothing of, and passes over.
    """

    map: str | None = None
    maps: list[str] | None = None
    reduce: str | None = None
    indexes: dict[str, Any] | None = None
    analyzers: dict[str, Any] | None = None
    fields: Any = None
    stems: list[str] = []


def _read(name: str, given: bytes) -> Definition:
    try:
        found = msgspec.json.decode(given, type=_Given)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the definition of the index {name!r} cannot be read: {error}", _DEFINE) from error
    analyzed = {field: str(how) for field, how in (found.indexes or {}).items()}
    if isinstance(found.fields, dict):
        analyzed |= {field: str(each.get("Indexing")) for field, each in found.fields.items() if isinstance(each, dict)}
    analyzers = {field: str(how) for field, how in (found.analyzers or {}).items()}
    if isinstance(found.fields, dict):
        analyzers |= {
            field: str(each.get("Analyzer")) for field, each in found.fields.items() if isinstance(each, dict)
        }
    analyzed |= dict.fromkeys((field for field, how in analyzers.items() if _stemming.search(how)), STEMS)
    analyzed |= dict.fromkeys(found.stems, STEMS)
    texts = tuple(found.maps or ()) or ((found.map,) if found.map else ())
    return Definition(name, given, texts, bool(found.reduce and found.reduce.strip()), analyzed)


def find(get: Get, name: str) -> Definition | None:
    """The definition of the index with this name, in any case; None if there is none."""
    document = get(INDEXES + name) if name else None
    found = definition_of(document) if document else None
    if found is None and name.lower() == BY_ENTITY_NAME.lower():
        return _read(BY_ENTITY_NAME, encode(_BUILT_IN))
    return found


def id_of(name: str) -> str:
    """The id of the document that keeps the definition of this name."""
    return INDEXES + name


def is_kept(get: Get, name: str) -> bool:
    """Whether there is a document that keeps a definition of this name."""
    document = get(INDEXES + name) if name else None
    return document is not None and document.metadata.get(SECTION) == "Indexes"


def index(get: Get, name: str) -> Index:
    """What can be asked by a name; raises `IndexNotFound`, or `NotEvaluated` for a map that is no projection."""
    head, _, collection = name.partition("/")
    if head.lower() == "dynamic":
        return Index(name, collection or None)
    if found := _automatic.fullmatch(name):
        return Index(name, None if found[1].lower() == "alldocs" else found[1])
    definition = find(get, name)
    if definition is None:
        raise IndexNotFound(f"there is no index {name!r}", _LISTED)
    return evaluated(definition)


def evaluated(definition: Definition) -> Index:
    """What a definition finds; raises `NotEvaluated`, with what of it cannot be evaluated."""
    what = f"the index {definition.name!r} cannot be asked: its"
    if definition.wrong:
        raise NotEvaluated(f"{what} definition cannot be read: {definition.wrong}", _INSTEAD)
    if definition.reduce:
        raise NotEvaluated(f"{what} definition has a Reduce", "ask by POST query, with group by (docs/queries.md)")
    if len(definition.maps) != 1:
        raise NotEvaluated(f"{what} definition has {len(definition.maps)} maps", _INSTEAD)
    try:
        collection, fields = read_map(definition.maps[0])
    except maps.NoProjection as error:
        raise NotEvaluated(
            f"{what} map {error.message}, and more than a projection is not evaluated", _INSTEAD
        ) from error
    return Index(definition.name, collection, fields, definition.analyzed)


def resolved(get: Get, query: Query) -> Query:
    """The same query of the collection that its index has, by paths of documents in place of the index's fields.

    One that names no index is as it was. Raises `IndexNotFound`, and `NotEvaluated` for a field that is computed.
    """
    if query.index is None:
        return query
    of = index(get, query.index)
    unknown = _unknown(of, query)
    where = of.entries(_renamed(of, query.where))
    if of.collection is None:
        where = without_definitions(where)
    orders = (Order(Field(path, each.field.kind), each.descending) for each in query.order for path in _first(of, each))
    columns = tuple(Column(each.name, _column(of, each.path)) for each in query.select)
    changed: dict[str, Any] = {"collection": of.collection, "where": where, "order": tuple(orders), "select": columns}
    if query.group:
        changed |= _grouped(of, query, query.group)
    if query.highlight:
        changed["highlight"] = tuple(
            replace(each, path=path) for each in query.highlight for path in _paths_of(of, each.path)[:1]
        )
    return replace(query, index=None, unknown=unknown, **changed)


def read(get: Get, asked: Query | str, parameters: Mapping[str, Any] | None = None) -> Query:
    """A query as it is, or that of a text in RQL, of documents also where it names an index.

    Raises `InvalidInput`, `IndexNotFound` or `NotEvaluated` if it cannot be answered.
    """
    query = rql.parse(asked, parameters) if isinstance(asked, str) else asked
    if query.index is not None:
        model.check(query)
        query = resolved(get, query)
    return query_of(query)


def _grouped(of: Index, query: Query, group: Group) -> dict[str, Any]:
    """What a query with groups says of documents, with the names of the index's fields where it gives no others."""
    by, sums = ({each: _one(of, each) for each in fields} for fields in (group.by, group.sums))
    paths = {each.path: found.path for each, found in by.items()}
    paths |= {(SUM, *each.path): (SUM, *found.path) for each, found in sums.items()}
    columns = query.select or answer.columns_of(group)
    return {
        "group": Group(tuple(by.values()), tuple(sums.values())),
        "select": tuple(Column(each.name, paths.get(each.path, each.path)) for each in columns),
        "order": tuple(
            replace(each, field=replace(each.field, path=paths.get(each.field.path, each.field.path)))
            for each in query.order
        ),
    }


def _one(of: Index, field: Field) -> Field:
    paths = _paths_of(of, field.path)
    if len(paths) != 1:
        reason = f"the index {of.name!r} has no single field {field}, to group by or to add up"
        raise NotEvaluated(reason, "group the documents: from 'Orders' group by …")
    return Field(paths[0], field.kind)


def _unknown(of: Index, query: Query) -> tuple[str, ...]:
    """The fields that a query asks an index for, and that it does not have."""
    if of.fields is None:
        return ()
    names = [".".join(field.path) for field in model.fields(query) if field.path[0][:1] != "@"]
    return tuple(dict.fromkeys(name for name in names if not of.fields.get(name)))


def _paths_of(of: Index, path: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Where in documents a field of a query of an index is; ids and metadata are where they always are."""
    return (path,) if of.fields is None or path[0][:1] == "@" else of.paths(".".join(path))


def _renamed(of: Index, condition: Condition) -> Condition:
    if isinstance(condition, And | Or):
        return type(condition)(tuple(_renamed(of, item) for item in condition.items))
    if isinstance(condition, Not):
        return Not(_renamed(of, condition.item))
    name = ".".join(condition.field.path)
    condition = _analyzed(condition, of.how(name))
    paths = _paths_of(of, condition.field.path)
    found = tuple(replace(condition, field=Field(path, condition.field.kind)) for path in paths)
    return found[0] if len(found) == 1 else Or(found)


def _analyzed(condition: Leaf, how: str) -> Leaf:
    """The condition as the index keeps the field: `=` finds the words of one that is analyzed."""
    if isinstance(condition, Search) and how == STEMS.lower():
        return replace(condition, stem=True)
    if isinstance(condition, Equal) and isinstance(condition.value, str) and type(condition.value) is not Number:
        if how in SEARCHED:
            return Search(condition.field, condition.value, every=True, stem=how == STEMS.lower())
        if how in ("notanalyzed", "exact"):
            return replace(condition, exact=True)
    return condition


def _first(of: Index, order: Order) -> tuple[tuple[str, ...], ...]:
    return _paths_of(of, order.field.path)[:1]


def _column(of: Index, path: tuple[str, ...]) -> tuple[str, ...]:
    """Where what is selected is: in the field of the index, or else in that of the documents."""
    value = (of.fields or {}).get(".".join(path))
    if isinstance(value, Unknown | Joined):
        raise of.computed(".".join(path), value)
    return value.path if isinstance(value, Path) else path


def wanted(database: Any) -> dict[str, Wanted]:
    """What the definitions of a database want to have, by their names; not those that cannot be evaluated."""
    found: dict[str, Wanted] = {}
    for definition in listed(database):
        with suppress(InvalidInput, NotEvaluated):
            found[definition.name] = evaluated(definition).wanted()
    return found


def listed(database: Any) -> Iterator[Definition]:
    """All definitions of a database, in the order of their names."""
    last = ""
    while page := database.by_prefix(INDEXES, after=last):
        for document in page:
            if document.metadata.get(SECTION) == "Indexes" and (found := definition_of(document)):
                yield found
        last = page[-1].id
