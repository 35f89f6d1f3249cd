"""Imports are tested both ways: the dump read in this process, and ahead of it in one of its own."""

from __future__ import annotations

import pytest

from muniment.smuggler import batches, read_ahead


@pytest.fixture(params=["here", "ahead"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a dump that `source_of` gives is read by a child process; the child starts for the smallest of them."""
    if request.param == "ahead":
        monkeypatch.setattr(read_ahead, "AHEAD_BYTES", 0)
        monkeypatch.setattr(batches, "FEW", 1)  # documents in columns are stored as such
