"""The words of texts, and what is searched for among them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple

from muniment.query.stems import stem

GAP: Final = "\ufffe".encode()
"""Stands after the words of each value, so that no phrase goes on in the next; it is no part of a word."""

_word: Final = re.compile(r"\w+(?:['’]\w+)*")
# An apostrophe that is in no word, and what a word is tidied of.
_no_word: Final = re.compile(r"(?<!\w)'|'(?!\w)|'s(?!\w|'\w)", re.ASCII | re.IGNORECASE)
_LONGEST: Final = 32768  # bytes of a word; FTS5 looks at no more, so that nobody does
_SHORT: Final = 32
_MOST: Final = 1 << 15
_term: Final = re.compile(r'"([^"]*)"(\*?)|(\S+)')


class Term(NamedTuple):
    """Words that follow each other; of the last one, as `prefix`, what it begins with."""

    words: tuple[bytes, ...]
    prefix: bool


class Place(NamedTuple):
    """A word, and where in the text it stands."""

    word: str
    start: int
    end: int


def words_of(text: str) -> Iterator[str]:
    """The words of a text, folded: without case and accents, with compatible characters (`ﬁ`, full width) as one."""
    for found in _word.findall(_plain(text).lower()):
        yield _tidied(found)


def _plain(text: str) -> str:
    if text.isascii():
        return text
    return "".join(each for each in unicodedata.normalize("NFKD", text) if not unicodedata.combining(each))


def _tidied(found: str) -> str:
    word = found.replace("’", "'").removesuffix("'s")
    return word if len(word) <= _LONGEST // 4 else word.encode()[:_LONGEST].decode(errors="ignore")


class _Known(dict[str, tuple[bytes, ...]]):
    """The words of what stands between spaces, or their stems: texts have the same again and again.

    So they are cut once, for what becomes of a character depends on none beyond a space. Long ones are cut each time.
    """

    def __init__(self, *, stems: bool) -> None:
        self._stems = stems

    def __missing__(self, piece: str) -> tuple[bytes, ...]:
        words = tuple((stem(word) if self._stems else word).encode() for word in words_of(piece))
        if len(piece) <= _SHORT:
            if len(self) >= _MOST:
                self.clear()
            self[piece] = words
        return words


_words: Final = _Known(stems=False)
_stems: Final = _Known(stems=True)


def in_order(text: str, *, stems: bool) -> list[bytes]:
    """The words of a text as they follow each other, or of each its stem, and then a gap."""
    known = _stems if stems else _words
    found = list(chain.from_iterable(map(known.__getitem__, text.split())))
    return [*found, GAP] if found else found


def text_of(text: str, *, stems: bool) -> bytes:
    """The same as one text: its words are what stands between characters of ASCII that are not in `[a-zA-Z0-9_']`."""
    if stems or len(text) > _LONGEST or not text.isascii() or "\0" in text:
        return b" ".join(in_order(text, stems=stems))
    if "'" in text:
        text = _no_word.sub(" ", text)
    return text.lower().encode() + b" " + GAP if _word.search(text) else b""


def places(text: str, *, stems: bool) -> list[Place]:
    """The same, with where they stand."""
    letters, starts = [], []
    for place, letter in enumerate(text):
        for each in _plain(letter) if letter > "\x7f" else letter:
            letters.append(each)
            starts.append(place)
    plain = "".join(letters).lower()
    if len(plain) != len(starts):  # of no character that is known
        return []
    found = []
    for match in _word.finditer(plain):
        word = _tidied(match[0])
        found.append(Place(stem(word) if stems else word, starts[match.start()], starts[match.end() - 1] + 1))
    return found


def terms_of(text: str, *, stems: bool) -> tuple[Term, ...]:
    """What is searched for: words, words that begin with what stands before `*`, and phrases in quotation marks."""
    found: list[Term] = []
    for match in _term.finditer(text):
        phrase, star, single = match.groups()
        words = [(stem(word) if stems else word).encode() for word in words_of(single or phrase or "")]
        prefix = bool(star) or (single or phrase or "").rstrip().endswith("*")
        if words and phrase is None:
            found += [Term((word,), False) for word in words[:-1]]
            found.append(Term((words[-1],), prefix))
        elif words:
            found.append(Term(tuple(words), prefix))
    return tuple(dict.fromkeys(found))


def times(words: Sequence[bytes], term: Term) -> int:
    """How often a term is among the words of a text."""
    first, size = term.words[0], len(term.words)
    if size == 1:
        return sum(word.startswith(first) for word in words) if term.prefix else words.count(first)
    count, rest, last = 0, list(term.words[:-1]), term.words[-1]
    for place in range(len(words) - size + 1):
        if words[place] == first and list(words[place : place + size - 1]) == rest:
            word = words[place + size - 1]
            count += word.startswith(last) if term.prefix else word == last
    return count
