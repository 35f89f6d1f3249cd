"""What is proven of databases in folders, proven once more of those in PostgreSQL: too long for `make test`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.process import environment
from tests.postgres_server import ABSENT, binaries
from tests.sampled import WHOLE, torture

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "examples" / "demo_postgresql.py"
SUITES = ("test_session.py", "test_database.py", "test_hilo.py", "test_numbers.py")
# What looks into the folder, or names it.
FOLDERS = ("test_statistics", "test_a_database_that_is_only_read")
pytestmark = [torture, pytest.mark.skipif(binaries() is None, reason=ABSENT)]


@pytest.mark.skipif(not WHOLE, reason="`make torture` runs these suites on PostgreSQL")
@pytest.mark.parametrize("suite", SUITES)
def test_suites_of_databases_pass_on_postgresql(suite: str) -> None:
    left = [f"--deselect=tests/{suite}::{name}" for name in FOLDERS]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/{suite}", *left]
    env = {**os.environ, "STORAGE": "postgresql", "HYPOTHESIS_PROFILE": "default"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


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
