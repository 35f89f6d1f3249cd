"""What takes long to make, made once for all processes that run tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def copy_of_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object], target: Path) -> Path:
    """Copy to `target`, a folder that may exist, what `make` made in an empty folder the first time."""
    together = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        together = together.parent  # of the folders of all workers
    made = together / f"once-{name}"
    with FileLock(together / f"once-{name}.lock"):
        if not made.exists():
            unfinished = together / f"once-{name}.unfinished"
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(made)
    return Path(shutil.copytree(made, target, dirs_exist_ok=True))
