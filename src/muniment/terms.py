"""The terms of a field in an index, as RavenDB calls the values that its documents have there."""

from __future__ import annotations

from heapq import nsmallest
from typing import Final

from muniment import definitions
from muniment.answer import json_of
from muniment.database import DocumentDatabase
from muniment.document import fold
from muniment.errors import InvalidInput, NotEvaluated
from muniment.query import keys
from muniment.query.keys import Key
from muniment.query.model import Exists, Field, Group, Query

NULL: Final = "[[NULL_VALUE]]"
EMPTY: Final = "[[EMPTY_STRING]]"


def terms(database: DocumentDatabase, name: str, field: str, *, after: str, most: int) -> list[str]:
    """The values of a field of an index as texts, each once and in the order of their characters, after this one.

    Texts are without case, unless the index keeps their spelling. Raises `IndexNotFound`, and `NotEvaluated` for a
    field that is computed, or of which words are searched.
    """
    if not field:
        raise InvalidInput("no field is named whose terms are asked for", "say field=NAME")
    index = definitions.index(database.get, name)
    if index.how(field) in definitions.SEARCHED:
        hint = f"search for what words begin with: {field}:wor*"
        raise NotEvaluated(f"the words in the field {field!r} of the index {name!r} are not listed", hint)
    hiding = index.collection is None and database.by_prefix(definitions.id_of(""), limit=1)
    exact = index.how(field) in ("notanalyzed", "exact")
    found: set[str] = set()
    for of in map(Field, index.paths(field)):
        where = definitions.without_definitions(Exists(of)) if hiding else Exists(of)
        groups = database.storage.group(Query(index.collection, where=where, group=Group((of,))))
        found.update(_term(row.by[0], exact=exact) for row in groups.rows if row.by[0] > keys.NOTHING)
    return nsmallest(most, (each for each in found if each > after))


def _term(key: Key, *, exact: bool) -> str:
    value = keys.value_of(key)
    if isinstance(value, str):
        return (value if exact else fold(value)) or EMPTY
    return NULL if value is None else json_of(key).decode()
