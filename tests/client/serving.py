"""A server in a process of its own, and a way to use what is asynchronous as if it were not."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from muniment.finding import Results
from muniment.page import Page
from tests.starter import Forked
from tests.waiting import PATIENCE

_PROGRAM = """
import sys
from pathlib import Path
from muniment.server.run import serve
from muniment.settings import Settings
folder = Path(sys.argv[1])
roots = (str(folder.parent.parent),)  # of all temporary folders of a run
settings = Settings(data_dir=folder, data_roots=roots, port=int(sys.argv[2]), storage=sys.argv[3])
serve(settings, lambda url: print(url, flush=True))
"""


@contextmanager
def running_server(folder: Path, port: int = 0, storage: str = "") -> Iterator[tuple[str, Forked]]:
    """A server's URL and its process, which is ended at the end."""
    with (folder.parent / f"{folder.name}.log").open("a") as log:
        process = Forked(_PROGRAM, [str(folder), str(port), storage], err=log.fileno(), nursery=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url, Path(log.name).read_text()
        yield url, process
    finally:
        process.terminate()
        process.wait(PATIENCE)
        process.stdout.close()


class Blocking:
    """Whatever is asynchronous in an object, done at once: coroutines are awaited, streams read to their end."""

    def __init__(self, target: Any, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._target = target
        self._run = run

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if inspect.ismethod(value):
            return lambda *args, **kwargs: self._done(value(*args, **kwargs))
        return self._done(value)

    def _done(self, value: Any) -> Any:
        if inspect.iscoroutine(value):
            value = self._run(value)
        if isinstance(value, AsyncIterator):
            return self._parts(value)
        if isinstance(value, Results):
            return value
        if isinstance(value, Page):
            return Page(map(self._done, value), more=value.more)
        if isinstance(value, list):
            return [self._done(item) for item in value]
        return Blocking(value, self._run) if type(value).__name__.startswith("Async") else value

    def _parts(self, parts: AsyncIterator[bytes]) -> Iterator[bytes]:
        async def following() -> bytes | None:
            return await anext(parts, None)

        while (part := self._run(following())) is not None:
            yield part

    def __enter__(self) -> Blocking:
        self._run(self._target.__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        self._run(self._target.__aexit__(*error))


@contextmanager
def blocking(target: Callable[[], Any]) -> Iterator[Any]:
    """What this makes, in an event loop that runs only while something is asked of it."""
    with asyncio.Runner() as runner:
        made = Blocking(target(), runner.run)
        with made:
            yield made
