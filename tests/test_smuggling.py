"""From one database into another without a file in between: whichever end fails, its error is the one that is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from muniment import DocumentDatabase, Progress, Put, SmugglerOptions
from muniment.errors import (
    Cancelled,
    DatabaseNotFound,
    InvalidInput,
    InvalidScript,
    StorageFailure,
    UnknownFormat,
)
from muniment.smuggling import Backups, between, import_from, source, target

TEXT = "x" * 10_000


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[DocumentDatabase]:
    """More than what fits into a pipe and two batches."""
    with DocumentDatabase(tmp_path / "shop") as database:
        for first in range(0, 2000, 500):
            database.batch([Put(f"a/{n}", {"n": f"{n}{TEXT}"}) for n in range(first, first + 500)])
        yield database


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[DocumentDatabase]:
    with DocumentDatabase(tmp_path / "copy") as database:
        yield database


def exporting() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("muniment export")]


def test_the_state_of_one_moment(shop: DocumentDatabase, copy: DocumentDatabase) -> None:
    progress = Progress()
    moved = between(shop, copy, progress=progress)
    assert (moved.exported.documents, moved.imported.documents, moved.exported.etag) == (2000, 2000, 2000)
    assert (progress.documents, progress.total_documents) == (2000, 2000)
    document = copy.get("a/7")
    assert document is not None
    assert document.json() == {"n": f"7{TEXT}"}
    assert exporting() == []


def test_options_are_applied_once(shop: DocumentDatabase, copy: DocumentDatabase) -> None:
    script = "function(doc) { doc.times = (doc.times || 0) + 1; return doc; }"
    options = SmugglerOptions.of(filter=["n=1*"], transform=script, limit=3, batch_size=2)
    assert between(shop, copy, options=options).imported.documents == 3
    assert [document.json()["times"] for document in copy.by_etag()] == [1, 1, 1]


def test_the_source_fails(shop: DocumentDatabase, copy: DocumentDatabase) -> None:
    shop.put("odd", {"odd": True})
    script = "function(doc) { if (doc.odd) throw 'no'; return doc; }"
    with pytest.raises(InvalidScript, match=r"odd.*the import then ended.*documents were imported"):
        between(shop, copy, options=SmugglerOptions(transform=script))
    assert 0 < copy.statistics().documents < 2000
    with pytest.raises(InvalidScript, match="a/0"):
        between(shop, copy, options=SmugglerOptions(transform="function(doc) { throw 'no'; }"))
    with pytest.raises(InvalidInput, match="cannot be continued"):
        between(shop, copy, options=SmugglerOptions(continuation="x"))
    assert exporting() == []


def test_the_target_fails(shop: DocumentDatabase, copy: DocumentDatabase) -> None:
    with (
        DocumentDatabase(copy.path, read_only=True) as closed,
        pytest.raises(StorageFailure, match="only for reading"),
    ):
        between(shop, closed)
    assert exporting() == []


def test_it_is_cancelled(shop: DocumentDatabase, copy: DocumentDatabase) -> None:
    progress = Progress()
    progress.cancel()
    with pytest.raises(Cancelled) as stopped:
        between(shop, copy, progress=progress)
    assert "what has been brought over stays" in stopped.value.hint
    assert copy.statistics().documents < 2000


def test_places_are_known_by_their_content(shop: DocumentDatabase, tmp_path: Path) -> None:
    shop.maintenance.start_backup(tmp_path / "backups").wait()
    with source(str(tmp_path / "backups")) as found:
        assert isinstance(found, Backups)
        assert found.export(tmp_path / "all.ndjson").documents == 2000
        with pytest.raises(InvalidInput, match="holds backups"):
            found.export_incremental(tmp_path / "exports")
    [backup] = (tmp_path / "backups").iterdir()
    with source(str(backup), etag=500) as found, pytest.raises(Exception, match="etag"):
        found.export(tmp_path / "some.ndjson")
    for place in ("none", "backups/x", "all.ndjson"):
        with pytest.raises(DatabaseNotFound), source(str(tmp_path / place)):
            pass
    with pytest.raises(DatabaseNotFound, match="there is no database"), target(str(tmp_path / "none")):
        pass
    assert not (tmp_path / "none").exists()


def test_a_database_that_was_made_stays_only_with_something_in_it(shop: DocumentDatabase, tmp_path: Path) -> None:
    shop.export(tmp_path / "shop.ravendbdump", compression="none")
    cut = (tmp_path / "shop.ravendbdump").read_bytes()[:-10_000]
    (tmp_path / "cut").write_bytes(cut)
    (tmp_path / "other").write_bytes(b"other")
    with pytest.raises(UnknownFormat), target(str(tmp_path / "new" / "one"), create=True) as new:
        import_from(tmp_path / "other", new)
    assert not (tmp_path / "new").exists()
    with pytest.raises(Exception, match="cut short"), target(str(tmp_path / "new"), create=True) as new:
        import_from(tmp_path / "cut", new)
    with target(str(tmp_path / "new")) as kept:
        assert 0 < kept.statistics().documents < 2000
