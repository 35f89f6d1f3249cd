"""The old RavenDB client of PyPI, pyravendb 3.5.4.3, uses our server through its sessions.

It wants versions of other packages that nobody should install, so it has an environment of its own, which
`PYRAVENDB_PYTHON` names:

    python -m venv /tmp/old
    /tmp/old/bin/pip install requests pycryptodome inflector ijson==2.3
    /tmp/old/bin/pip install --no-deps pyravendb==3.5.4.3
    PYRAVENDB_PYTHON=/tmp/old/bin/python make test T=tests/client/test_old_client.py
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

PYTHON = os.environ.get("PYRAVENDB_PYTHON")


@pytest.mark.skipif(not PYTHON, reason="PYRAVENDB_PYTHON names no Python that has pyravendb 3.5.4.3")
def test_the_old_client(url: str) -> None:
    assert PYTHON is not None
    script = Path(__file__).with_name("old_client.py")
    done = subprocess.run([PYTHON, script, url], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.endswith("done\n"), done.stdout + done.stderr
