"""Dumps out of a remote database and into one: what is asked of the server, and what becomes of what comes in."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from sys import exc_info
from time import monotonic
from typing import Any, Final

import msgspec

from muniment.attachment import content_chunks
from muniment.client.attachments import Content
from muniment.client.documents import JSON
from muniment.client.jobs import operation_status
from muniment.client.retry import call, unavailable
from muniment.client.transport import Broken
from muniment.client.wire import Body, Flow, Pause, Request, Response, parsed, target, unexpected
from muniment.document import encode
from muniment.durable import cannot_write, check_no_database, new_file
from muniment.errors import Cancelled, InvalidInput, ServerUnavailable, unreadable
from muniment.progress import Progress
from muniment.raven3.dumps import Pairs, pairs_of, state_pairs
from muniment.raven3.headers import KIND, OPERATION
from muniment.smuggler.folder import Kind, State, held, new_name, read_state, write_state
from muniment.smuggler.options import ExportOptions, SmugglerOptions
from muniment.smuggler.sink import Writable
from muniment.smuggler.summary import Exported, Imported

PATIENCE: Final = 3600.0  # seconds: a filter may find nothing for long, and the last batch has to get to the disk
LONGEST_TARGET: Final = 60_000  # bytes of an address; what the HTTP libraries take is 64 KiB
LOOK_SECONDS: Final = 1.0
ENDING_PAUSES: Final = (0.02, 0.05, 0.1, 0.3, 1.0, 3.0)
_IDENTITY: Final = (("Accept-Encoding", "identity"), ("Accept", "*/*"))


def import_dump(root: tuple[str, ...], dump: Body, options: SmugglerOptions | None) -> Flow[Imported]:
    """Streams a dump to the server, which stores what is in it; never sent twice by itself.

    The options are in the address, because the body is the dump; raises `InvalidInput` when a script makes it too long.
    """
    path = target(*root, "smuggler", "import", query=pairs_of(options or SmugglerOptions()))
    if len(path) > LONGEST_TARGET:
        raise InvalidInput("the transform script is too long to be sent with a dump", "use it in the export")
    request = Request("POST", path, dump, timeout=PATIENCE)
    return parsed((yield from call(request, 200)), Imported)


def export(root: tuple[str, ...], options: ExportOptions, *since: tuple[str, str]) -> Flow[Response]:
    """The dump, as a stream; `since` what it has to begin after, and then there may be none."""
    wanted: dict[str, list[str]] = {"format": [options.format], "compression": [options.compression]}
    for name, value in (*pairs_of(options.part), *since):
        wanted.setdefault(name, []).append(value)
    path = target(*root, "smuggler", "export")
    request = Request("POST", path, encode(wanted), (*JSON, *_IDENTITY), repeatable=True, timeout=PATIENCE)
    return (yield from call(request, 200, 204))


@contextmanager
def next_in(folder: Path, options: ExportOptions) -> Iterator[Pairs]:
    """What to ask a server for, so that the folder's next dump begins where the last one ended; held meanwhile."""
    with held(folder):
        state = read_state(folder, options.part.choice)
        yield state_pairs(state, state is not None and not (folder / state.file).exists())


def new_dump(folder: Path, head: Response, options: ExportOptions) -> Path | None:
    """The name of the dump that comes in, None when there is none because nothing has changed."""
    kind: Kind = "incremental" if head.headers.get(KIND) == "incremental" else "full"
    return None if head.status == 204 else new_name(folder, kind, datetime.now(UTC), options.format)


class Taking:
    """An export that comes in: which operation it is on the server, and how far that is.

    Raises `ServerUnavailable` for the answer of a server that is none of ours (RavenDB 4 has this path too).
    """

    def __init__(self, head: Response, progress: Progress | None) -> None:
        self.operation = head.headers.get(OPERATION, "")
        if not self.operation:
            raise unexpected("the answer does not name the operation that makes the dump")
        self._progress = progress or Progress()
        self._progress.stage = "exporting"
        self._size = 0
        self._looked = monotonic()

    def add(self, chunk: bytes) -> bool:
        """Count what has come in, and say whether it is time to ask how far the server is; raises `Cancelled`."""
        self._progress.check()
        self._size += len(chunk)
        due = monotonic() - self._looked > LOOK_SECONDS
        if due:
            self._looked = monotonic()
        return due

    def look(self) -> Flow[None]:
        """Asks how far the server is."""
        told = yield from _told(self.operation)
        self._show(told)

    def _show(self, told: dict[str, Any]) -> None:
        self._progress.counts = operation_status(told).counts

    def end(self, destination: str | Path | Writable | None, broken: Broken | None = None) -> Flow[Exported]:
        """What the server says of its end: only then is it whole. Raises why it is not."""
        pauses = iter(ENDING_PAUSES)
        while True:
            told = yield from _told(self.operation)
            status = operation_status(told)
            pause = next(pauses, None) if status.state == "running" else None
            if pause is None:
                break
            yield Pause(pause)
        self._show(told)
        self._progress.finish()
        status.raise_failure()
        if broken:
            raise self.broken(broken)
        if status.state == "running":
            raise ServerUnavailable(
                "the whole export has arrived, but the server says that it has not ended", "export it again"
            )
        self.result: dict[str, Any] = told["State"]["Result"]
        exported = msgspec.convert(self.result, Exported)
        if exported.size != self._size:
            what = f"{self._size:,} of the {exported.size:,} bytes of the export came"
            raise ServerUnavailable(what, "export it again")
        exported.file = str(destination) if isinstance(destination, str | Path) else None
        return exported

    def remember(self, folder: Path, exported: Exported, options: ExportOptions) -> None:
        """Write down how far the dump goes that has come into this folder, if one has."""
        if exported.file:
            told, name = self.result, Path(exported.file).name
            state = State(told["database_id"], told["lineage"], exported.etag, name, options.part.choice)
            write_state(folder, state)

    def broken(self, error: Broken) -> ServerUnavailable:
        """The error for a connection that broke within the export."""
        told = unavailable(Request("GET", "", repeatable=True), error.outcome)
        return ServerUnavailable(f"{told.message}, after {self._size:,} bytes of the export", "export it again")


def _told(operation: str) -> Flow[dict[str, Any]]:
    request = Request("GET", target("operation", "status", query=[("id", operation)]), repeatable=True)
    return parsed((yield from call(request, 200)), dict[str, Any])


@contextmanager
def read_from(source: str | Path | Content, progress: Progress | None) -> Iterator[Iterator[bytes]]:
    """The pieces of a dump, from a file or as they come; raises `NotFound` for a file that is missing."""
    progress = progress or Progress()
    progress.stage = "sending"
    with ExitStack() as stack:
        if isinstance(source, str | Path):
            check_no_database(source, "export the database, or bring its documents over with `smuggler between`")
            try:
                source = stack.enter_context(Path(source).open("rb"))
                progress.total_bytes = os.fstat(source.fileno()).st_size or None
            except (OSError, ValueError) as error:
                raise unreadable(source, error, "give the path of a dump") from error
        try:
            yield _counted(content_chunks(source), progress)
        except Cancelled as error:
            error.hint = "import the same dump again to complete it; what the server has stored by now stays"
            raise
        finally:
            progress.finish()


def _counted(pieces: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    for piece in pieces:
        progress.advance(bytes=len(piece))
        yield piece
    progress.stage = "waiting for the server"


async def counted(pieces: AsyncIterable[bytes], progress: Progress | None) -> AsyncIterator[bytes]:
    """The pieces of a dump as they come, counted."""
    async for piece in pieces:
        if progress:
            progress.advance(bytes=len(piece))
        yield piece


@contextmanager
def written_to(destination: str | Path | Writable | None, overwrite: bool) -> Iterator[Writable]:
    """What to write an export to: a file, which has its name only when the block has ended well, or this stream."""
    try:
        if destination is None:
            yield io.BytesIO()
        elif isinstance(destination, str | Path):
            with new_file(Path(destination), overwrite=overwrite) as path, path.open("xb") as file:
                yield file
        else:
            yield destination
    except OSError as error:
        raise cannot_write(error) from error


@asynccontextmanager
async def in_thread(manager: AbstractContextManager[Writable]) -> AsyncIterator[Writable]:
    """A context manager whose beginning and end may take their time."""
    entered = await asyncio.to_thread(manager.__enter__)
    try:
        yield entered
    except BaseException:
        if not await asyncio.to_thread(manager.__exit__, *exc_info()):
            raise
    else:
        await asyncio.to_thread(manager.__exit__, None, None, None)
