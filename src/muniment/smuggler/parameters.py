"""Options as requests carry them: names with their values as text, in the words of RavenDB's Smuggler."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from muniment.errors import InvalidInput
from muniment.smuggler.folder import State
from muniment.smuggler.options import SmugglerOptions

Pairs = list[tuple[str, str]]

FILTERS: Final = ("filter", "negative-filter", "metadata-filter", "negative-metadata-filter")
_TEXTS: Final = {
    "operate-on-types": "operate_on_types",
    "transform": "transform",
    "start-document-etag": "start_document_etag",
    "continuation-token": "continuation",
}
_FLAGS: Final = {
    "excludeexpired": "exclude_expired",
    "ignore-errors-and-continue": "ignore_errors",
    "fail-on-unknown": "fail_on_unknown",
}
_NUMBERS: Final = {"limit": "limit", "batch-size": "batch_size"}
TIMEOUT: Final = "timeout"  # in milliseconds, as RavenDB's is

COMMON: Final = frozenset(
    {"operate-on-types", *FILTERS, "transform", *_FLAGS, *_NUMBERS, TIMEOUT} - {"fail-on-unknown"}
)
EXPORT: Final = COMMON | {"start-document-etag"}
IMPORT: Final = COMMON | {"continuation-token", "fail-on-unknown"}


INCREMENTAL: Final = "incremental"
_STATE: Final = ("database-id", "lineage", "after-etag", "lost-file")
CHANGES: Final = EXPORT | {INCREMENTAL, *_STATE}


def state_pairs(state: State | None, lost: bool) -> Pairs:
    """What a request for what changed since this state has to say; `lost` that the file is gone that it names."""
    if state is None:
        return [(INCREMENTAL, "true")]
    values = (state.database, state.lineage, str(state.etag), state.file)
    return [(INCREMENTAL, "true"), *zip(_STATE if lost else _STATE[:-1], values, strict=False)]


def state_of(pairs: Pairs) -> tuple[State | None, bool] | None:
    """The state since which a request asks for changes, and whether its file is gone; None when it asks for none.

    What it says of them is no longer among the pairs then.
    """
    told = {name.lower(): value for name, value in pairs if name.lower() in (INCREMENTAL, *_STATE)}
    pairs[:] = [pair for pair in pairs if pair[0].lower() not in told]
    if not _truth(INCREMENTAL, told.pop(INCREMENTAL, "false")):
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
    """What a request has to say for these options: nothing for those that are as they are by default."""
    usual = SmugglerOptions()
    pairs: Pairs = []
    if options.types is not None:
        pairs.append(("operate-on-types", ",".join(sorted(options.types))))
    for filter in options.filters:
        name = f"{'negative-' if filter.negative else ''}{'metadata-' if filter.on_metadata else ''}filter"
        pairs.append((name, filter.text))
    for name, member in (("transform", "transform"), ("continuation-token", "continuation"), *_NUMBERS.items()):
        if (value := getattr(options, member)) != getattr(usual, member):
            pairs.append((name, str(value)))
    pairs += [(name, "true") for name, member in _FLAGS.items() if getattr(options, member)]
    if options.timeout is not None:
        pairs.append((TIMEOUT, str(round(options.timeout * 1000))))
    if options.start_etag:
        pairs.append(("start-document-etag", str(options.start_etag)))
    return pairs


def options_of(pairs: Iterable[tuple[str, str]], known: frozenset[str]) -> SmugglerOptions:
    """The options that a request asks for; raises `InvalidInput` for a name or a value that makes no sense."""
    given: dict[str, Any] = {}
    for name, value in ((name.lower(), value) for name, value in pairs):
        if name not in known:
            raise InvalidInput(f"there is no option {name!r} here", f"use {', '.join(sorted(known))}")
        if name in FILTERS:
            given.setdefault(name.replace("-", "_"), []).append(value)
        elif member := _TEXTS.get(name):
            given[member] = value
        elif member := _FLAGS.get(name):
            given[member] = _truth(name, value)
        elif member := _NUMBERS.get(name):
            given[member] = _number(name, value)
        else:
            given[TIMEOUT] = _number(name, value) / 1000
    return SmugglerOptions.of(**given)


def _truth(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false", ""):
        raise InvalidInput(f"{name} can not be {text!r}", "give true or false")
    return text.lower() != "false"


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InvalidInput(f"{name} can not be {text!r}", "give a whole number")
    return int(text)
