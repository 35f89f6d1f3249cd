"""The demonstration with PostgreSQL: too long for `make test`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.process import environment
from tests.postgres_server import ABSENT, binaries
from tests.sampled import WHOLE, torture

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "examples" / "demo_postgresql.py"
pytestmark = [torture, pytest.mark.skipif(binaries() is None, reason=ABSENT)]


@pytest.mark.skipif(not WHOLE, reason="`make torture` runs the demonstration")
def test_the_demonstration_proves_the_way_there_and_back() -> None:
    done = subprocess.run(
        [sys.executable, str(DEMO), "--documents", "500"],
        env=environment(),  # in a place that the user may reach whom PostgreSQL runs as where tests run as root
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("proven") >= 9
