"""`muniment server` as a user runs it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cli.process import COMMAND, PATIENCE, environment


@contextmanager
def serving(data_dir: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server's URL and its process, which is stopped at the end."""
    command = [*COMMAND, "server", "--data-dir", str(data_dir), "--port", "0", *options]
    with data_dir.with_name(f"{data_dir.name}.log").open("a") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment())
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url, Path(log.name).read_text()
        yield url, process
    finally:
        process.terminate()
        process.wait(PATIENCE)
        process.stdout.close()
