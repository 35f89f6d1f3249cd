"""What is acknowledged is on disk: the calls to the system that bring it there are counted, not only asked for.

A library that is preloaded into a process counts them (`tests.torture.preload`); without a C compiler this is skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.torture import preload

_WRITING = """
import sys, time
from pathlib import Path
from muniment import DocumentDatabase
place, state = Path(sys.argv[1]), Path(sys.argv[2])
def synced():
    names = state.read_bytes()[8:24]
    return sum(int.from_bytes(names[start : start + 8], sys.byteorder) for start in (0, 8))
with DocumentDatabase(place / "shop") as database:
    database.put("first", {})
    for number in range(20):
        before = synced()
        if number % 3 == 0:
            database.put(f"orders/{number}", {"n": number})
        elif number % 3 == 1:
            database.put("first", {"n": number})
        else:
            database.delete("first")
        assert synced() > before, number
    before = synced()
    database.put_attachment("photo", b"x" * 3_000_000)
    assert synced() > before
"""


@pytest.mark.skipif(
    not preload.COMPILER, reason="a C compiler makes what counts the calls: `make torture` says the same"
)
def test_no_write_is_acknowledged_before_the_system_has_synced_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    counted = preload.Fault("fsync", tmp_path).environment(state)
    subprocess.run([sys.executable, "-c", _WRITING, tmp_path, state], env={**os.environ, **counted}, check=True)
    calls = preload.happened(state).calls
    assert calls["fdatasync"] + calls["fsync"] >= 22
