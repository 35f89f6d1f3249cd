"""Pages written together: the file is the same, whoever reads it meanwhile, and a write that failed is told."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.storage.sqlite.rows import Gathered, in_c
from tests.storage.raw import files_no_larger_than

PAGE = 512
Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["insert", "delete", "look", "commit", "vacuum"]), st.integers(1, 60), st.integers(0, 3000)
    ),
    max_size=40,
)


@pytest.fixture(autouse=True)
def compiled() -> None:
    if in_c() is None:
        pytest.skip("it was not compiled")


def made(file: Path) -> apsw.Connection:
    """A file whose pages do not stay in memory."""
    connection = apsw.Connection(str(file))
    for name, value in (("page_size", PAGE), ("journal_mode", "OFF"), ("synchronous", "OFF"), ("cache_size", 4)):
        connection.execute(f"PRAGMA {name}={value}").fetchall()
    connection.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
    connection.execute("CREATE TABLE data(number INTEGER PRIMARY KEY, text); CREATE INDEX by_text ON data(text); BEGIN")
    return connection


def done(connection: apsw.Connection, steps: list[Step]) -> Iterator[object]:
    """What is seen on the way."""
    for name, number, size in steps:
        if name == "insert":
            connection.execute("REPLACE INTO data VALUES(?, ?)", (number, chr(97 + size % 26) * size))
        elif name == "delete":
            connection.execute("DELETE FROM data WHERE number >= ? AND number < ? + 9", (number, number))
        elif name == "look":
            yield connection.execute("SELECT count(*), sum(length(text)) FROM data WHERE number > ?", (number,)).get
        elif name == "commit":
            connection.execute("COMMIT; BEGIN")
        else:
            connection.execute("COMMIT; VACUUM; BEGIN")
    connection.execute("COMMIT")
    yield connection.execute("PRAGMA integrity_check").get


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_a_file_is_the_same_with_its_pages_written_together(
    steps: list[Step], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("pages")
    files = folder / "alone", folder / "together"
    alone, together = (made(file) for file in files)
    gathered = Gathered(together)
    seen = list(done(alone, steps))
    assert list(done(together, steps)) == seen
    assert seen[-1] == "ok"
    gathered.end()
    contents = [file.read_bytes() for file in files]
    assert contents[0] == contents[1]
    gathered.end()  # again, which is nothing
    together.execute("INSERT INTO data VALUES(1000, 'after')")
    for connection in (alone, together):
        connection.close()


def test_what_waits_is_written_when_the_file_is_closed(tmp_path: Path) -> None:
    connection = made(tmp_path / "file")
    gathered = Gathered(connection)
    assert list(done(connection, [("insert", number, 2000) for number in range(1, 60)])) == ["ok"]
    connection.close()
    del gathered
    again = apsw.Connection(str(tmp_path / "file"))
    assert again.execute("PRAGMA integrity_check").get == "ok"
    assert again.execute("SELECT count(*) FROM data").get == 59
    again.close()


def end_on_a_full_disk(file: Path) -> list[str]:
    connection = made(file)
    gathered, raised = Gathered(connection), []
    connection.execute("INSERT INTO data VALUES(1, ?); COMMIT", ("x" * 30_000,))
    with files_no_larger_than(file.stat().st_size):
        for _ in range(2):
            try:
                gathered.end()
            except apsw.IOError as error:
                raised.append(type(error).__name__)
    gathered.end()
    assert connection.execute("PRAGMA integrity_check").get == "ok"
    connection.close()
    return raised


def test_what_cannot_be_written_at_the_end_is_told_and_goes_on_waiting(
    tmp_path: Path, other_process: ProcessPoolExecutor
) -> None:
    raised = other_process.submit(end_on_a_full_disk, tmp_path / "file").result(60)
    assert raised == ["IOError"] * 2
