"""The old RavenDB client of PyPI, pyravendb 3.5.4.3, uses our server through its sessions."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.client.environment import python_with


def test_the_old_client(url: str) -> None:
    script = Path(__file__).with_name("old_client.py")
    done = subprocess.run(
        [python_with("pyravendb3"), script, url], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.endswith("done\n"), done.stdout + done.stderr
