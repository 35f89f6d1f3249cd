"""Proofs too long for `make test`, which runs a sample of each; `make torture` runs all of them, on a real disk."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import Final
from zlib import crc32

import pytest

WHOLE: Final = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"

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


def unsampled(items: list[pytest.Item]) -> list[pytest.Item]:
    """The tests that `some` leaves out now: which they are depends on their names alone."""
    families: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("some"):
            item.add_marker(torture)
            families[item.nodeid.partition("[")[0]].append(item)
    left: list[pytest.Item] = []
    for family in families.values():
        mark = family[0].get_closest_marker("some")
        assert mark
        left += sorted(family, key=lambda item: crc32(item.nodeid.encode()))[mark.args[0] :]
    return [] if WHOLE else left
