"""The words of RavenDB's query language, and where each stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias

from muniment.errors import InvalidQuery

What: TypeAlias = Literal["name", "text", "number", "parameter", "sign", "end"]

_SHORT: Final = 1024
_token: Final = re.compile(
    r"""(?P<space>(?:\s|//[^\n]*|--[^\n]*|/\*.*?\*/)+)
    |(?P<text>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")
    |(?P<number>-?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?(?!\w))
    |(?P<parameter>\$\w+)
    |(?P<name>@?[^\W\d][\w-]*)
    |(?P<sign><=|>=|!=|<>|==|\[\]|[-=<>(),.{}\[\]*;+/%:])""",
    re.VERBOSE | re.DOTALL,
)
_escape: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)|''|\"\"", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


class Token(NamedTuple):
    """A word: its kind, what it says, and the place of its first character."""

    what: What
    said: str
    place: int

    def __str__(self) -> str:
        return "the end" if self.what == "end" else repr(self.said)


def tokens_of(text: str) -> tuple[Token, ...]:
    """All words of a query, and its end; raises `InvalidQuery` for what is none."""
    return _known(text) if len(text) <= _SHORT else _known.__wrapped__(text)


@lru_cache(256)  # the same texts are asked with other parameters, and large ones would fill the memory
def _known(text: str) -> tuple[Token, ...]:
    return (*each_token(text), Token("end", "", len(text)))


def each_token(text: str) -> Iterator[Token]:
    """The words of a query one by one; raises `InvalidQuery` at what is none."""
    place = 0
    while place < len(text):
        match = _token.match(text, place)
        if match is None:
            quote = text[place] in "'\""
            raise error_at(text, place, "this quote is not closed" if quote else f"{text[place]!r} means nothing here")
        kind, said = match.lastgroup, match[0]
        if kind == "text":
            said = _unescaped(said)
        if kind != "space":
            yield Token(kind, said, place)  # type: ignore[arg-type]
        place = match.end()


def _unescaped(quoted: str) -> str:
    quote, inner = quoted[0], quoted[1:-1]

    def plain(found: re.Match[str]) -> str:
        if found[1] is None:
            return quote if found[0] == quote * 2 else found[0]
        return chr(int(found[1][1:], 16)) if len(found[1]) > 1 else _ESCAPES.get(found[1], found[1])

    return _escape.sub(plain, inner)


def error_at(text: str, place: int, reason: str, hint: str = "") -> InvalidQuery:
    """The error for what stands at a place of a query: it says the column, and the line where there are several."""
    line, column = text.count("\n", 0, place) + 1, place - text.rfind("\n", 0, place)
    where = f"line {line}, column {column}" if "\n" in text.strip() else f"column {column}"
    return InvalidQuery(f"the query cannot be read at {where}: {reason}", hint or "see docs/queries.md", place)
