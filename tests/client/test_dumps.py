"""An export is believed only when the server's operation says that all of it has come."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from muniment.client import dumps
from muniment.client.transport import Broken
from muniment.client.wire import Response, Unreachable
from muniment.errors import Cancelled, InvalidDocument, InvalidInput, ServerUnavailable
from muniment.progress import Progress
from muniment.raven3.headers import OPERATION
from muniment.smuggler.options import ExportOptions, SmugglerOptions
from muniment.smuggler.summary import Exported
from tests.client.running import Play, answer

BROKEN = Broken(Unreachable("http://server: reset", sent=True))


def taking(size: int = 0, progress: Progress | None = None) -> dumps.Taking:
    found = dumps.Taking(Response(200, {OPERATION: "7"}), progress)
    found.add(b"x" * size)
    return found


def told(**more: Any) -> Response:
    state = {"Documents": 3, "TotalDocuments": 4, "Bytes": 5, "Result": asdict(Exported(documents=3, size=10))}
    return answer({"Completed": True, "Faulted": False, "Canceled": False, "State": state} | more)


FAILED = {"Error": "a document cannot be written", "Hint": "rename it", "Kind": "InvalidDocument"}


def test_a_whole_export() -> None:
    play, progress = Play(), Progress()
    running = told(Completed=False)
    exported = play.run(taking(10, progress).end(Path("new")), running, running, told())
    assert (exported.documents, exported.file) == (3, "new")
    assert [request.target for request in play.requests] == ["/operation/status?id=7"] * 3
    assert (progress.documents, progress.total_documents, progress.bytes) == (3, 4, 5)


def test_what_is_no_whole_export() -> None:
    with pytest.raises(ServerUnavailable, match="9 of the 10 bytes"):
        Play().run(taking(9).end("new"), told())
    with pytest.raises(InvalidDocument, match="cannot be written"):
        Play().run(taking(10).end("new", BROKEN), told(Faulted=True, State=FAILED))
    with pytest.raises(Cancelled):
        Play().run(taking(10).end("new", BROKEN), told(Canceled=True, State={}))
    with pytest.raises(ServerUnavailable, match="after 10 bytes of the export"):
        Play().run(taking(10).end("new", BROKEN), lambda _: told(Completed=False))
    with pytest.raises(ServerUnavailable):
        Play().run(taking(10).end("new", BROKEN), lambda _: Unreachable("http://server: refused", sent=False))


def test_an_answer_of_something_else() -> None:
    with pytest.raises(ServerUnavailable, match="does not name the operation"):
        dumps.Taking(Response(200, {}), None)


def test_an_export_that_never_ends_is_not_whole() -> None:
    with pytest.raises(ServerUnavailable, match="has not ended"):
        Play().run(taking(10).end("new"), lambda _: told(Completed=False))


def test_options_go_with_the_request() -> None:
    options = SmugglerOptions.of(filter=["a=1", "b=2"], transform="function(doc) { return doc; }")
    play = Play()
    play.run(dumps.export((), ExportOptions.of("a.ravendbdump", options=options)), answer(b""))
    assert isinstance(play.requests[0].body, bytes)
    assert b'"filter":["a=1","b=2"]' in play.requests[0].body
    play.run(dumps.import_dump(("databases", "shop"), b"", options), answer({}))
    assert play.requests[1].target.startswith("/databases/shop/smuggler/import?filter=a%3D1&filter=b%3D2&transform=")
    long = SmugglerOptions(transform="function(doc) { return doc; }" + " " * 60_000)
    with pytest.raises(InvalidInput, match="too long"):
        play.run(dumps.import_dump((), b"", long))


def test_a_file_of_a_database_is_not_opened(tmp_path: Path) -> None:
    """Not even to be refused by the server: this process may have the database open."""
    (tmp_path / "muniment.db").write_bytes(b"{}")
    with (
        pytest.raises(InvalidInput, match="is a file of a database"),
        dumps.read_from(tmp_path / "muniment.db", None),
    ):
        pass
