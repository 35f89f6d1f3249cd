"""The tests of RavenDB's own old client of PyPI, pyravendb 3.5.4.3, pass at our server."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.client.environment import python_with


def test_the_old_client_s_own_tests(url: str) -> None:
    script = Path(__file__).with_name("old_suite.py")
    done = subprocess.run(
        [python_with("pyravendb3"), script, url], capture_output=True, text=True, timeout=180, check=False
    )
    # Each of its maps is evaluated, but for one field, the ticks of a time, that no test asks for.
    assert done.stdout.endswith("OK\nran 77\n"), done.stdout[-5000:] + done.stderr
