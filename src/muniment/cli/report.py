"""What a command says on stdout: rows, each of which is members of a JSON object and a line for people."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

import msgspec

from muniment.cli.output import emit_json, write

Line: TypeAlias = tuple[str, str]

_TIME: Final = re.compile(r"\b[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{6}Z")


@dataclass(frozen=True, slots=True)
class Row:
    """Something to say: `facts` for programs, and labelled lines for people, none where only programs want it."""

    facts: Mapping[str, Any]
    lines: Iterable[Line] = ()


def row(label: str, text: str, /, **facts: Any) -> Row:
    """One line, and the same as members of JSON."""
    return Row(facts, [(label, text)])


def facts(**members: Any) -> Row:
    """What only programs are told."""
    return Row(members)


def lines(lines: Iterable[Line]) -> Row:
    """What only people are told."""
    return Row({}, lines)


def number(name: str, count: int | None) -> Row:
    """A count whose label is its name in JSON; people are not told of one that is not known."""
    return Row({name: count}, [] if count is None else [(name, f"{count:,}")])


def listed(name: str, rows: Sequence[Row]) -> Row:
    """A list of objects: one for each row, with the lines of all."""
    return Row({name: [each.facts for each in rows]}, [line for each in rows for line in each.lines])


def plain(value: Any) -> Any:
    """A value with the names that its members have in Python, all of them, however it is spelled over HTTP."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    return list(value) if isinstance(value, tuple) else value


def notes(notes: Iterable[str]) -> Row:
    """What whoever asked should know, a line each."""
    return Row({"notes": notes}, note_lines(notes))


def note_lines(notes: Iterable[str]) -> list[Line]:
    """The same for people only."""
    return [("note", note) for note in notes]


def members(rows: Iterable[Row]) -> dict[str, Any]:
    """What programs are told, in one object."""
    return {name: value for row in rows for name, value in row.facts.items()}


def emit(headline: str, rows: Iterable[Row], *, as_json: bool) -> None:
    """Print the rows: as one JSON object, or as a headline with labelled lines below it."""
    if as_json:
        emit_json(members(rows))
        return
    text = text_of(headline, rows)
    if sys.stdout.isatty():
        text = _with_local_times(text)
    write(text.encode(sys.stdout.encoding, "backslashreplace"))


def text_of(headline: str, rows: Iterable[Row]) -> str:
    """A headline, and below it the labelled lines."""
    labelled = [line for row in rows for line in row.lines]
    width = max((len(label) for label, _ in labelled), default=0)
    texts = [headline, *(f"  {label:{width}}  {value}" for label, value in labelled)]
    return "".join(f"{text}\n" for text in texts)


def _with_local_times(text: str) -> str:
    """The text with the time of this machine's clocks beside each in UTC, where they differ."""

    def both(found: re.Match[str]) -> str:
        time = datetime.fromisoformat(found[0]).astimezone()
        return f"{found[0]} ({time:%Y-%m-%d %H:%M:%S %z})" if time.utcoffset() else found[0]

    return _TIME.sub(both, text)
