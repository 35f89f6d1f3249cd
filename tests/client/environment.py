"""The environments of RavenDB's own clients, which `make test` makes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

BUILT = Path(__file__).parents[2] / "build" / "clients"


def python_with(client: str) -> str:
    """The Python of the environment of this client, or of the one that `CLIENT_PYTHON` names; without it, skips."""
    named = os.environ.get(f"{client.upper()}_PYTHON")
    built = BUILT / client / "bin" / "python"
    if not named and not (BUILT / client / "ready").exists():
        pytest.skip(f"`make build/clients/{client}/ready` makes what this needs")
    return named or str(built)
