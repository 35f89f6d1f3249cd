"""What a real RavenDB has written, which lies beside the checkout where this team works and not in it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

DATA: Final = Path(__file__).parents[2] / "shared" / "data"
NORTHWIND: Final = "northwind-ravendb-6.2.ravendbdump"
ABSENT: Final = "is not beside this checkout"


def shared(name: str = NORTHWIND) -> Path:
    """This file or folder; a test that needs it is skipped where it is not there."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"../shared/data/{name} {ABSENT}")
    return path
