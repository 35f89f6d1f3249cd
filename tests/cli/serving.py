"""`muniment server` as a user runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cli.process import PROGRAM, environment
from tests.starter import PATIENCE, Forked


@contextmanager
def serving(data_dir: Path, *options: str) -> Iterator[tuple[str, Forked]]:
    """A server's URL and its process, which is stopped at the end."""
    arguments = ["server", "--data-dir", str(data_dir), "--port", "0", *options]
    with data_dir.with_name(f"{data_dir.name}.log").open("a") as log:
        process = Forked(PROGRAM, arguments, env=environment(), err=log.fileno(), nursery=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url, Path(log.name).read_text()
        yield url, process
    finally:
        process.terminate()
        process.wait(PATIENCE)
        process.stdout.close()
