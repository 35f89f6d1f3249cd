"""Proofs too long for `make test`, which runs a sample of each; `make torture` runs all of them, on a real disk."""

from __future__ import annotations

import os
from typing import Final

import pytest

WHOLE: Final = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"

torture = pytest.mark.torture  # on each of them, for `make torture` to find it


def count(sample: int, *, whole: int) -> int:
    """How many examples, positions or rounds there are now."""
    return whole if WHOLE else sample
