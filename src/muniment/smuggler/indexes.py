"""Definitions of indexes of RavenDB 2 and 3 as those of later versions have them, and the other way round.

Only what both evaluate alike is translated: one map in C# that is a projection. Its text is the same in both.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from muniment.document import encode
from muniment.errors import InvalidInput
from muniment.query import javascript_maps, maps
from muniment.smuggler.kept import Kept

# What each says of a field, by the name of the member in the later versions, and the member of the older ones.
_OF_FIELDS: Final = {"Indexing": "Indexes", "Storage": "Stores", "Analyzer": "Analyzers", "TermVector": "TermVectors"}
_LATER: Final = {"Analyzed": "Search", "NotAnalyzed": "Exact"}
_LEGACY: Final = {later: legacy for legacy, later in _LATER.items()} | {"Highlighting": "Analyzed"}
_DEFAULTS: Final[dict[str, Any]] = {
    "Priority": "Normal",
    "State": "Normal",
    "LockMode": "Unlock",
    "AdditionalSources": {},
    "AdditionalAssemblies": [],
    "Reduce": None,
    "Configuration": {},
    "SourceType": "Documents",
    "OutputReduceToCollection": None,
    "ReduceOutputIndex": None,
    "PatternForOutputReduceToCollectionReferences": None,
    "PatternReferencesCollectionName": None,
    "DeploymentMode": None,
}


class _Legacy(msgspec.Struct, rename="pascal"):
    map: str | None = None
    maps: list[str] | None = None
    reduce: str | None = None
    indexes: dict[str, str] | None = None
    stores: dict[str, str] | None = None
    analyzers: dict[str, str] | None = None
    term_vectors: dict[str, str] | None = None


class _Named(msgspec.Struct):
    name: str
    definition: _Legacy


class _Field(msgspec.Struct, rename="pascal"):
    indexing: str | None = None
    storage: str | None = None
    analyzer: str | None = None
    term_vector: str | None = None


class _Later(msgspec.Struct, rename="pascal"):
    name: str
    maps: list[str] = []
    reduce: str | None = None
    fields: dict[str, _Field] | None = None


class _Envelope(msgspec.Struct, rename="pascal"):
    index_definition: _Later


def translated(kept: Kept) -> bytes | None:
    """The item of a dump of the other versions for a definition that is kept; None for one that has none there."""
    try:
        if kept.legacy:
            found = msgspec.json.decode(kept.item, type=_Named)
            shown = _shown(found.name, found.definition)
            return encode({"Type": type_of(shown), "IndexDefinition": shown}) if _is_projection(shown) else None
        later = msgspec.json.decode(kept.item, type=_Envelope).index_definition
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if not _is_projection({"Maps": later.maps, "Reduce": later.reduce}) or javascript_maps.is_map(later.maps[0]):
        return None
    definition: dict[str, Any] = {"Map": later.maps[0]}
    for name, field in (later.fields or {}).items():
        for said, legacy in zip(msgspec.structs.astuple(field), _OF_FIELDS.values(), strict=True):
            if said not in (None, "Default"):
                definition.setdefault(legacy, {})[name] = _LEGACY.get(said, said)
    return encode({"name": later.name, "definition": definition})


def shown_later(name: str, given: bytes, *, later: bool) -> dict[str, Any]:
    """A definition of these versions as clients of RavenDB 4 and later read it, as far as it can be read."""
    try:
        said = msgspec.json.decode(given, type=dict[str, Any])
        if not later:
            said = _shown(name, msgspec.json.decode(given, type=_Legacy))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        said = {}
    found = _DEFAULTS | {member: value for member, value in said.items() if value is not None}
    text, texts, fields = said.get("Map"), found.get("Maps"), found.get("Fields")
    found["Maps"] = texts if isinstance(texts, list) else [text] if isinstance(text, str) else []
    found["Fields"] = fields if isinstance(fields, dict) else {}
    return {**found, "Name": name, "Type": type_of(found)}


def _shown(name: str, given: _Legacy) -> dict[str, Any]:
    fields: dict[str, dict[str, Any]] = {}
    for member, said in zip(
        _OF_FIELDS, (given.indexes, given.stores, given.analyzers, given.term_vectors), strict=True
    ):
        for field, value in (said or {}).items():
            fields.setdefault(field, {})[member] = _LATER.get(value, value)
    texts = given.maps or ([given.map] if given.map else [])
    return {**_DEFAULTS, "Name": name, "Maps": texts, "Reduce": given.reduce or None, "Fields": fields}


def type_of(definition: dict[str, Any]) -> str:
    """What RavenDB 4 and later call an index of this kind."""
    texts = definition.get("Maps")
    first = texts[0] if isinstance(texts, list) and texts else definition.get("Map")
    script = isinstance(first, str) and javascript_maps.is_map(first)
    return f"{'JavaScript' if script else ''}Map{'Reduce' if definition.get('Reduce') else ''}"


def _is_projection(definition: dict[str, Any]) -> bool:
    if definition["Reduce"] or len(definition["Maps"]) != 1:
        return False
    try:
        fields = read_map(definition["Maps"][0]).fields
    except InvalidInput:
        return False
    return bool(fields) and not any(isinstance(value, maps.Unknown) for value in fields.values())


def read_map(text: str) -> maps.Map:
    """The collection and fields of a map, in C# or JavaScript; raises `NoProjection`."""
    return javascript_maps.map_of(text) if javascript_maps.is_map(text) else maps.map_of(text)
