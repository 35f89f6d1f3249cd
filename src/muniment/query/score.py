"""How well documents fit what is searched for: the function BM25, with the numbers and in the order that FTS5 takes.

A term counts for more the fewer documents have it, and the more often and in the shorter text it stands. What there is
of each is counted over all documents that are looked at, and so the scores are those that an index gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Final, NamedTuple

from muniment.query.keys import MISSING, Key
from muniment.query.match import Keys, Words
from muniment.query.words import times

SATURATION: Final = 1.2
AVERAGED: Final = 0.75
LEAST: Final = 1e-6


class Counted(NamedTuple):
    """Of a document: how many words one field has, and how often each term is among them."""

    length: int
    times: tuple[int, ...]

    def matches(self, test: Words) -> bool:
        """Whether a document of which this was counted passes the test."""
        return all(self.times) if test.every else any(self.times)


class Scores:
    """Counts what documents have of that which is searched for, and then scores each of them."""

    def __init__(self, searched: Sequence[Words]) -> None:
        self._searched = searched
        self._documents = 0
        self._lengths = [0] * len(searched)
        self._having = [[0] * len(test.terms) for test in searched]

    def count(self, found: Keys) -> tuple[Counted, ...]:
        """Count a document."""
        self._documents += 1
        counted = tuple(_counted(found[test.field], test) for test in self._searched)
        for place, each in enumerate(counted):
            self._lengths[place] += each.length
            for term, often in enumerate(each.times):
                self._having[place][term] += often > 0
        return counted

    def of(self, counted: Sequence[Counted]) -> float:
        """The score of a document, when all have been counted: the lower, the better it fits."""
        total = 0.0
        for place, test in enumerate(self._searched):
            if counted[place].matches(test):
                total += self._one(place, counted[place])
        return total

    def _one(self, place: int, counted: Counted) -> float:
        score, average = 0.0, self._lengths[place] / self._documents
        for often, having in zip(counted.times, self._having[place], strict=True):
            weight = weight_of(self._documents, having)
            by_length = 1 - AVERAGED + AVERAGED * counted.length / average
            score += weight * ((often * (SATURATION + 1.0)) / (often + SATURATION * by_length))
        return -1.0 * score


def weight_of(documents: int, having: int) -> float:
    """How much a term counts that so many of the documents have."""
    weight = log((documents - having + 0.5) / (having + 0.5))
    return weight if weight > 0 else LEAST


def _counted(words: Sequence[Key], test: Words) -> Counted:
    if words[0] == MISSING:
        return Counted(0, (0,) * len(test.terms))
    return Counted(len(words), tuple(times(words, term) for term in test.terms))
