"""How long superseded revisions and tombstones are kept, and what may be forgotten. Nothing here touches a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from muniment.duration import duration_of
from muniment.errors import InvalidInput

HISTORY: Final = "Muniment/History"
WINDOW: Final = "Muniment/HistoryWindow"
TOMBSTONES: Final = "Muniment/TombstoneWindow"
PARTITIONS: Final = "Muniment/Partitions"  # what a database in PostgreSQL is made with
# For people: the last but one is not a value to set.
DEFAULTS: Final = {HISTORY: "false", WINDOW: "0s", TOMBSTONES: "for ever", PARTITIONS: "0"}
_OURS: Final = "muniment/"
_NEAR: Final = 0.8
# The setting that allows incremental backups in a RavenDB 3.x database document, and the value that means yes.
_RAVEN: Final = {"raven/esent/circularlog": "false", "raven/voron/allowincrementalbackups": "true"}
_BOOLEANS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class History:
    """Whether superseded revisions stay until a backup holds them, and for how many seconds at least.

    `tombstones` is how many seconds tombstones stay; None is for ever.
    """

    kept: bool = False
    window: int = 0
    tombstones: int | None = None


def history_of(settings: Mapping[str, str]) -> History:
    """The retention that a database's settings ask for; raises `InvalidInput` for invalid values.

    `Muniment/History` is `true` or `false`; `Muniment/HistoryWindow` and `Muniment/TombstoneWindow` are times such as
    `7d`, `12h`, `30m` or `45s`.
    """
    lowered = {name.lower(): str(value).strip() for name, value in settings.items()}
    kept = any(lowered.get(name, "").lower() == yes for name, yes in _RAVEN.items())
    given = lowered.get(HISTORY.lower())
    if given is not None:
        if given.lower() not in _BOOLEANS:
            raise InvalidInput(f"{HISTORY} is {given!r}, not true or false", "set it to true or false")
        kept = _BOOLEANS[given.lower()]
    return History(kept, _seconds(lowered, WINDOW) or 0, _seconds(lowered, TOMBSTONES))


def changed_settings(
    present: Mapping[str, str], changes: Mapping[str, str | None], *, replace: bool = False
) -> dict[str, str]:
    """The present settings with these changes, where None removes a setting; with `replace`, the changes alone.

    Names are compared without case. Raises what `check_settings` raises for the result.
    """
    if not isinstance(changes, Mapping):
        raise InvalidInput(f"settings must be a dict, not {changes!r}", 'for example {"Muniment/History": "true"}')
    named = {str(name).lower() for name in changes}
    kept = {} if replace else {name: value for name, value in present.items() if name.lower() not in named}
    settings: dict[str, Any] = kept | {name: value for name, value in changes.items() if value is not None}
    check_settings(settings)
    return settings


def check_settings(settings: Mapping[Any, Any]) -> None:
    """Raises `InvalidInput` for settings that would have no effect, or not the intended one.

    These are names like `Muniment/Histroy`, values that are not text or not valid, and a window for a history that is
    not kept. Only new settings are checked: a database whose settings an older version accepted can still be opened.
    """
    known = {name.lower(): name for name in DEFAULTS}
    for name, value in settings.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidInput(f"the setting {name!r} is {value!r}, not text", f"write {str(value).lower()!r}")
        if name.lower() in known:
            continue
        near = [known[found] for found in get_close_matches(name.lower(), known, 1, _NEAR)]
        if near or name.lower().startswith(_OURS):
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(DEFAULTS)}"
            raise InvalidInput(f"there is no setting {name}", hint)
    if len({name.lower() for name in settings}) < len(settings):
        raise InvalidInput("a setting is given twice, in upper and lower case", "give it once")
    lowered = {name.lower(): value for name, value in settings.items()}
    if not lowered.get(PARTITIONS.lower(), "0").isdecimal():
        raise InvalidInput(f"{PARTITIONS} is {lowered[PARTITIONS.lower()]!r}", "give a number, from 2 to 256")
    history = history_of(settings)
    if history.window and not history.kept:
        raise InvalidInput(
            f"{WINDOW} is set, but without {HISTORY}=true no history is kept",
            f"set {HISTORY}=true too, or remove {WINDOW}",
        )


def partitions_of(settings: Mapping[str, str]) -> int:
    """How many partitions the tables of a database in PostgreSQL are to have, by its settings; 0 for none."""
    text = next((value for name, value in settings.items() if name.lower() == PARTITIONS.lower()), "0")
    return int(text) if text.isdecimal() else 0


def _seconds(lowered: Mapping[str, str], name: str) -> int | None:
    text = lowered.get(name.lower())
    return None if text is None else duration_of(text, name)


def purge_limit(history: History, *, newest: int, pins: Iterable[int], backed_up: int, before_window: int) -> int:
    """The etag through which replaced revisions may be forgotten: those that it or an earlier etag replaced.

    `newest` is the last etag, `pins` the etags that readers hold, `backed_up` the last etag that a backup holds, and
    `before_window` the last etag that is older than the history window.
    """
    limit = min((newest, *pins))
    return min(limit, backed_up, before_window) if history.kept else limit


def expiry_limit(*, purged_to: int, newest: int, backed_up: int | None, before_window: int) -> int:
    """The etag through which tombstones may be forgotten.

    `purged_to` is the etag through which replaced revisions were forgotten, since one that a tombstone replaced must
    not outlive it; `newest` the last etag, which stays, because the next one is counted from it; `backed_up` the last
    etag that a backup holds, None when none was ever taken; `before_window` the last etag older than the window.
    """
    limit = min(purged_to, newest - 1, before_window)
    return limit if backed_up is None else min(limit, backed_up)
