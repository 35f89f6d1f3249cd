"""Proofs too long for `make test`, which runs a sample of each; `make torture` runs all of them, on a real disk."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import Final
from zlib import crc32

import pytest

WHOLE: Final = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"

FOLDER: Final = "folder"
POSTGRESQL: Final = "postgresql"
KEPT_IN: Final = "kept_in"
ONE_IN: Final = 1 if os.environ.get("STORAGE") == POSTGRESQL else 10

only_in_folders = pytest.mark.only_in_folders  # on a test that looks into the folder of its database

torture = pytest.mark.torture  # on each of them, for `make torture` to find it


def count(sample: int, *, whole: int) -> int:
    """How many examples, positions or rounds there are now."""
    return whole if WHOLE else sample


def thinned(steps: list[str], apart: int) -> list[str]:
    """One of so many of these, from the last one back; by `make torture` all."""
    return steps if WHOLE else steps[::-apart]


def some(number: int) -> pytest.MarkDecorator:
    """On a test of which each set of parameters says much the same: so many are tried, and by `make torture` all."""
    return pytest.mark.some(number)


def on_postgresql(item: pytest.Item) -> bool:
    """Whether a test is tried with a database in PostgreSQL too: one in so many, and by `make torture` each."""
    if item.get_closest_marker("only_in_folders"):
        return False
    return WHOLE or crc32(item.nodeid.encode()) % ONE_IN == 0


def unsampled(items: list[pytest.Item]) -> list[pytest.Item]:
    """The tests that `some` leaves out now: which they are depends on their names alone."""
    families: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("some"):
            item.add_marker(torture)
            families[item.nodeid.partition("[")[0]].append(item)
    left: list[pytest.Item] = []
    tried = set[str]()
    for item in items:  # of a test that is tried in PostgreSQL too, its first form is enough there
        if getattr(getattr(item, "callspec", None), "params", {}).get(KEPT_IN) == POSTGRESQL:
            item.add_marker(torture)
            if (name := item.nodeid.partition("[")[0]) in tried:
                left.append(item)
            tried.add(name)
    for family in families.values():
        mark = family[0].get_closest_marker("some")
        assert mark
        left += sorted(family, key=lambda item: crc32(item.nodeid.encode()))[mark.args[0] :]
    return [] if WHOLE else left
