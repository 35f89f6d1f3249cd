"""Where in texts the words stand that are searched for: pieces of the texts, with marks around the words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from muniment.document import Document
from muniment.query.extract import metadata_of, values_at
from muniment.query.keys import decoded
from muniment.query.model import ID, METADATA, And, Condition, Highlight, Or, Search
from muniment.query.words import Place, Term, places, terms_of


class Span(NamedTuple):
    """A part of a text: from its first character, and before the second place."""

    start: int
    end: int


def highlighted(document: Document, where: Condition, wanted: Highlight) -> list[str]:
    """Pieces of the texts at a path in which what is searched for there stands, in their order."""
    found: list[str] = []
    searches = [each for each in _searches(where) if each.field.path == wanted.path]
    for text in _texts(document, wanted.path) if searches else ():
        spans = _merged(span for each in searches for span in _spans(text, each))
        found += [_marked(text, group, wanted) for group in _groups(spans, wanted.length)]
        if len(found) >= wanted.count:
            break
    return found[: wanted.count]


def _searches(condition: Condition) -> Iterator[Search]:
    if isinstance(condition, Search):
        yield condition
    elif isinstance(condition, And | Or):
        for item in condition.items:
            yield from _searches(item)


def _texts(document: Document, path: tuple[str, ...]) -> Iterator[str]:
    if path[0] == ID:
        yield document.id
        return
    try:
        inside = metadata_of(document) if path[0] == METADATA else decoded(document.body)
        for value in values_at(inside, path[1:] if path[0] == METADATA else path):
            if isinstance(value, str | int):
                yield str(value)
    except RecursionError:  # which has no words either
        return


def _spans(text: str, search: Search) -> Iterator[Span]:
    words = places(text, stems=search.stem)
    for term in terms_of(search.text, stems=search.stem):
        for first in range(len(words) - len(term.words) + 1):
            there = words[first : first + len(term.words)]
            if _is(there, term):
                yield Span(there[0].start, there[-1].end)


def _is(words: Sequence[Place], term: Term) -> bool:
    found = [each.word.encode() for each in words]
    last, wanted = found.pop(), term.words[-1]
    return found == list(term.words[:-1]) and (last.startswith(wanted) if term.prefix else last == wanted)


def _merged(spans: Iterable[Span]) -> list[Span]:
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.start < found[-1].end:
            found[-1] = Span(found[-1].start, max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


def _groups(spans: Iterable[Span], length: int) -> list[list[Span]]:
    """Those that fit into pieces of this length."""
    groups: list[list[Span]] = []
    for span in spans:
        if groups and span.end - groups[-1][0].start <= length:
            groups[-1].append(span)
        else:
            groups.append([span])
    return groups


def _marked(text: str, spans: Sequence[Span], wanted: Highlight) -> str:
    first, last = spans[0].start, spans[-1].end
    start = max(0, first - max(0, wanted.length - (last - first)) // 2)
    end = min(len(text), max(last, start + wanted.length))
    if start and (space := text.find(" ", start - 1, first)) >= 0:  # no half words
        start = space + 1
    if end < len(text) and (space := text.rfind(" ", last, end + 1)) >= 0:
        end = space
    pieces, at = [], start
    for span in spans:
        pieces += [text[at : span.start], wanted.before, text[span.start : span.end], wanted.after]
        at = span.end
    return "".join([*pieces, text[at:end]])
