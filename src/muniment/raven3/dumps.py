"""The parameters of requests for dumps: which part is wanted, and since when, with the names of RavenDB's Smuggler."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Final

from muniment.errors import InvalidInput
from muniment.raven3.queries import Imported, Smuggled, parameters
from muniment.smuggler.filter import AnyOf
from muniment.smuggler.folder import State
from muniment.smuggler.options import SmugglerOptions

Pairs = list[tuple[str, str]]

_INCREMENTAL: Final = "incremental"
_STATE: Final = ("database-id", "lineage", "after-etag", "lost-file")
_OTHERS: Final = {"types", "filters", "timeout", "start_etag", "for_ravendb"}
_PLAIN: Final = {each.name for each in fields(SmugglerOptions)} - _OTHERS


def state_pairs(state: State | None, lost: bool) -> Pairs:
    """What a request for what changed since this state has to say; `lost` that the file is gone that it names."""
    if state is None:
        return [(_INCREMENTAL, "true")]
    values = (state.database, state.lineage, str(state.etag), state.file)
    return [(_INCREMENTAL, "true"), *zip(_STATE if lost else _STATE[:-1], values, strict=False)]


def state_of(pairs: Pairs) -> tuple[State | None, bool] | None:
    """The state since which a request asks for changes, and whether its file is gone; None when it asks for none.

    Removes these parameters from the pairs.
    """
    told = {name.lower(): value for name, value in pairs if name.lower() in (_INCREMENTAL, *_STATE)}
    pairs[:] = [pair for pair in pairs if pair[0].lower() not in told]
    if not _truth(_INCREMENTAL, told.pop(_INCREMENTAL, "false")):
        if told:
            raise InvalidInput(f"{min(told)} is for an incremental export", "say incremental=true")
        return None
    if not told:
        return None, False
    if missing := [name for name in _STATE[:-1] if name not in told]:
        raise InvalidInput(f"{missing[0]} of the last export is missing", f"name {', '.join(_STATE[:-1])}")
    etag = _number("after-etag", told["after-etag"])
    return State(told["database-id"], told["lineage"], etag, told.get("lost-file", "")), "lost-file" in told


def pairs_of(options: SmugglerOptions) -> Pairs:
    """The parameters of a request for these options, without those that have their default."""
    usual = SmugglerOptions()
    pairs: Pairs = []
    if options.types is not None:
        pairs.append(("operate-on-types", ",".join(sorted(options.types))))
    for filter in options.filters:
        if isinstance(filter, AnyOf):
            named = {"collection": filter.collections, "id": filter.ids, "id-prefix": filter.prefixes}
            pairs += [(name, text) for name, texts in named.items() for text in texts]
            continue
        name = f"{'negative-' if filter.negative else ''}{'metadata-' if filter.on_metadata else ''}filter"
        pairs.append((name, filter.text))
    for name, (member, _) in parameters(Imported).items():
        if member in _PLAIN and (value := getattr(options, member)) != getattr(usual, member):
            pairs.append((name, "true" if value is True else str(value)))
    if options.timeout is not None:
        pairs.append(("timeout", str(round(options.timeout * 1000))))  # in milliseconds, as RavenDB's is
    if options.for_ravendb:
        pairs.append(("for-ravendb", options.for_ravendb))
    if options.start_etag:
        pairs.append(("start-document-etag", str(options.start_etag)))
    return pairs


def options_of(pairs: Iterable[tuple[str, str]], wanted: type[Smuggled]) -> SmugglerOptions:
    """The options that a request asks for, `Imported` or `PartExported`.

    Raises `InvalidInput` for an unknown name or an invalid value.
    """
    known = parameters(wanted)
    given: dict[str, Any] = {}
    for name, text in ((name.lower(), text) for name, text in pairs):
        if name not in known:
            raise InvalidInput(f"there is no option {name!r} here", f"use {', '.join(sorted(known))}")
        member, kind = known[name]
        if kind is list:
            given.setdefault(member, []).append(text)
        else:
            given[member] = _truth(name, text) if kind is bool else _number(name, text) if kind is int else text
    if "timeout" in given:
        given["timeout"] /= 1000
    return SmugglerOptions.of(**given)


def _truth(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false", ""):
        raise InvalidInput(f"{name} cannot be {text!r}", "give true or false")
    return text.lower() != "false"


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InvalidInput(f"{name} cannot be {text!r}", "give a whole number")
    return int(text)
