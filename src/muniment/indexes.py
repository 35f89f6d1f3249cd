"""Indexes with a name: what they are made of, and how far they are.

A definition is one of RavenDB 3, kept as `definitions` says, so that backups, dumps and clients of RavenDB carry it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import msgspec

from muniment import definitions
from muniment.command import Put
from muniment.definitions import STEMS, Definition
from muniment.document import encode, fold_collection
from muniment.errors import InvalidInput, NotEvaluated
from muniment.query import model
from muniment.query.maps import Path, Several, Value
from muniment.query.model import ID, SEARCHED, Field
from muniment.query.plan import FieldIndex, IndexFault, Wanted


class IndexField(msgspec.Struct, frozen=True, omit_defaults=True):
    """A field of an index: where it is in documents (`Lines[].Product`, with `[]` for each array), and how it is kept.

    With `search`, its words are searched; with `stem`, English words also by their stems.
    """

    path: str
    search: bool = False
    stem: bool = False


class IndexFacts(msgspec.Struct, frozen=True):
    """An index: its name, of which collection it is (None for all documents), and its fields.

    `ready`: it answers queries; otherwise `progress` is how much of it has been built, from 0 to 1. One that is
    `automatic` queries have made; others have been put. `used` is when it was made or last answered a query, to an
    hour. `faults` are documents that it could not read, which it has without the field, and `problem` is why queries
    cannot ask it by its name.
    """

    name: str
    collection: str | None
    fields: dict[str, IndexField]
    ready: bool
    progress: float = 1.0
    automatic: bool = False
    used: datetime | None = None
    faults: tuple[IndexFault, ...] = ()
    problem: str | None = None


def put_of(name: str, collection: str | None, fields: Mapping[str, str | IndexField] | Iterable[str]) -> Put:
    """The document that defines an index; raises `InvalidInput` for what none can have."""
    if not isinstance(name, str):
        raise InvalidInput(f"an index cannot be called {name!r}", "give a name as a str, for example 'Orders/Search'")
    if isinstance(fields, str):
        raise InvalidInput(f"{fields!r} is one field, not several", f"give a list: [{fields!r}]")
    named = dict(fields) if isinstance(fields, Mapping) else {_name_of(path): path for path in fields}
    if not named:
        raise InvalidInput(f"the index {name!r} has no fields", 'name some: {"Company": "Company"}')
    found = {said: IndexField(each) if isinstance(each, str) else each for said, each in named.items()}
    for said, each in found.items():
        if not said.isidentifier() or not isinstance(each, IndexField):
            raise InvalidInput(f"{said!r} is no name of an index's field", "use letters, digits and _")
    source = "docs" if collection is None else _member("docs", collection)
    values = ", ".join(f"{said} = {_value('doc', each.path)}" for said, each in found.items())
    definition: dict[str, Any] = {"Name": name, "Map": f"from doc in {source} select new {{ {values} }}"}
    if searched := [said for said, each in found.items() if each.search or each.stem]:
        definition["Indexes"] = dict.fromkeys(searched, "Analyzed")
    if stems := [said for said, each in found.items() if each.stem]:
        definition["Stems"] = stems
    return definitions.put_of(name, encode(definition))


def _name_of(path: str) -> str:
    return re.sub(r"\W", "_", "_".join(model.field(path).path).replace("@", ""))


def _member(of: str, name: str) -> str:
    """A member in C#: `doc.Company`, and `doc["Ship to"]` where it is no name there."""
    plain = name.isidentifier() and name not in ("Select", "SelectMany", "__document_id")
    return f"{of}.{name}" if plain else f"{of}[{json.dumps(name, ensure_ascii=False)}]"


def _value(of: str, path: str) -> str:
    """What stands at a path, in C#."""
    names = model.field(path).path
    if names == (ID,):
        return f"{of}.__document_id"
    head, array, rest = path.replace(",", "[].").partition("[]")
    for name in model.field(head).path:
        of = _member(of, name)
    if not array or not rest.strip("[]."):
        return of
    return f"{of}.Select(each => {_value('each', rest.lstrip('[].'))})"


def listed(database: Any) -> list[IndexFacts]:
    """All that are defined, in the order of their names, and then those that queries have made."""
    made = {(each.collection, each.field): each for each in database.storage.indexes()}
    found: list[IndexFacts] = []
    named: set[tuple[str | None, Field]] = set()
    for definition in definitions.listed(database):
        found.append(_defined(definition, made))
        with suppress(InvalidInput, NotEvaluated):
            named |= _keys(definitions.evaluated(definition).wanted())
    return [*found, *(_automatic(each) for key, each in made.items() if key not in named)]


def get(database: Any, name: str) -> IndexFacts | None:
    """The index with this name, in any case; None if there is none."""
    return next((each for each in listed(database) if each.name.lower() == name.lower()), None)


def _keys(wanted: Wanted) -> set[tuple[str | None, Field]]:
    return {(fold_collection(wanted.collection), field) for field in wanted.fields if field.path != (ID,)}


def _defined(definition: Definition, made: Mapping[tuple[str | None, Field], FieldIndex]) -> IndexFacts:
    try:
        index = definitions.evaluated(definition)
        wanted = _keys(index.wanted())
    except (InvalidInput, NotEvaluated) as error:
        return IndexFacts(definition.name, None, {}, ready=False, progress=0.0, problem=error.message)
    there = [made.get(key) for key in wanted]
    return IndexFacts(
        definition.name,
        index.collection,
        {name: _shown(value, index.how(name)) for name, value in (index.fields or {}).items()},
        all(each is not None and each.ready for each in there),
        min((each.progress if each else 0.0 for each in there), default=1.0),
        used=max((each.used for each in there if each), default=None),
        faults=tuple(dict.fromkeys(fault for each in there if each for fault in each.faults)),
    )


def _shown(value: Value, how: str) -> IndexField:
    paths = [value] if isinstance(value, Path) else value.items if isinstance(value, Several) else ()
    path = ", ".join(str(Field(each.path)) for each in paths if isinstance(each, Path))
    return IndexField(path or "computed", how in definitions.SEARCHED, how == STEMS.lower())


def _automatic(made: FieldIndex) -> IndexFacts:
    field = made.field
    shown = IndexField(str(Field(field.path)), field.kind in SEARCHED, field.kind == "stems")
    state = {"ready": made.ready, "progress": made.progress, "used": made.used, "faults": made.faults}
    return IndexFacts(made.name, made.collection, {field.path[-1]: shown}, automatic=True, **state)  # type: ignore[arg-type]


class Indexes:
    """The indexes of an embedded database: `database.indexes`."""

    def __init__(self, database: Any) -> None:
        self._database = database

    def put(self, name: str, collection: str | None, fields: Mapping[str, str | IndexField] | Iterable[str]) -> None:
        """Define an index of a collection (None: of all documents), or define it anew; it is built while this returns.

        `fields` are the names by which queries of it call fields, and where these are in documents: `{"Company":
        "Company", "Product": "Lines[].Product", "Notes": IndexField("Notes", search=True)}`. A list of paths will do.
        """
        self._database.batch([put_of(name, collection, fields)])

    def get(self, name: str) -> IndexFacts | None:
        """The index with this name, in any case, and how far it is; None if there is none."""
        return get(self._database, _text(name))

    def list(self) -> list[IndexFacts]:
        """All that have been put, in the order of their names, and then those that queries have made."""
        return listed(self._database)

    def drop(self, name: str) -> bool:
        """Drop an index; returns whether there was one. One that a query wants, the query makes anew."""
        return drop(self._database, _text(name))


def drop(database: Any, name: str) -> bool:
    """Forget the definition of an index, and drop one that queries have made; returns whether there was either."""
    if definitions.is_kept(database.get, name):
        return bool(database.delete(definitions.id_of(name)))
    return bool(database.storage.drop_index(name))


def _text(name: str) -> str:
    if not isinstance(name, str):
        raise InvalidInput(f"{name!r} is no name of an index", "give it as a str, for example 'Orders/Search'")
    return name
