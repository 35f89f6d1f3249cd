"""The views that `sql_view` makes in a DuckDB of one's own count what a plain model counts, where a glob does not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muniment import Delete, DocumentDatabase, MaintenanceActions, Put
from muniment.backup.sql_view import sql_view
from muniment.document import fold
from tests.cli.test_commands import well
from tests.clock import SECOND, Clock
from tests.sampled import WHOLE, count, torture

duckdb = pytest.importorskip("duckdb")
ORDERS = {"Raven-Entity-Name": "Orders"}
IDS = ["orders/1", "ORDERS/1", "orders/2", "İ/1", "i/1", "ΣΑΣ", "σασ", "straße", "STRASSE", "it's"]


def ask(source: Path, sql: str, **moment: Any) -> list[tuple[Any, ...]]:
    plan = MaintenanceActions.plan_restore(source, **moment)
    with duckdb.connect() as connection:
        connection.execute(sql_view(plan, str(source)))
        rows: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
        return rows


def glob(source: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        files = str(source).replace("'", "''")
        text = sql.replace("documents", f"'{files}/*/documents-*.parquet'")
        rows: list[tuple[Any, ...]] = connection.execute(text).fetchall()
        return rows


@torture
def test_every_letter_is_compared_as_ids_are() -> None:
    """Here of those without another case one of sixteen."""
    every = [chr(code) for code in range(1, sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    cased = [letter for letter in every if letter != letter.lower() or letter != letter.upper()]
    letters = every if WHOLE else [*cased, *every[::16]]
    from muniment.backup.sql_view import _KEY

    with duckdb.connect() as connection:
        rows = connection.execute(f"SELECT id, {_KEY} FROM (SELECT unnest(?) AS id)", [letters]).fetchall()
    assert len(rows) == len(letters)
    assert [(id, key) for id, key in rows if fold(id) != key] == []


def test_a_chain_is_counted_right(tmp_path: Path) -> None:
    source = tmp_path / "it's backups"
    with DocumentDatabase(tmp_path / "shop") as shop:
        shop.configure({"Muniment/History": "true"})
        shop.batch([Put(f"orders/{number}", {"total": number}, ORDERS) for number in range(10)])
        shop.maintenance.start_backup(source).wait()
        shop.batch([Put(f"orders/{number}", {"total": 100}, ORDERS) for number in range(5)])
        shop.delete("orders/9")
        shop.put_attachment("orders/1/photo", b"x" * 3_000_000)
        shop.maintenance.start_backup(source, incremental=True).wait()
    total = "SELECT count(*), sum((document->>'$.total')::INT) FROM documents"
    assert ask(source, total) == [(9, 5 * 100 + 5 + 6 + 7 + 8)]
    assert ask(source, total, etag=10) == [(10, 45)]
    assert glob(source, total) != ask(source, total)
    [(id, size)] = ask(source, "SELECT id, size FROM attachments")
    assert (id, size) == ("orders/1/photo", 3_000_000)
    assert ask(source, "SELECT count(*) FROM attachments", etag=10) == [(0,)]
    said = well("inspect", source, "--sql-view").out.decode()
    with duckdb.connect() as connection:
        connection.execute(said)
        assert connection.execute(total).fetchall() == ask(source, total)


@settings(max_examples=count(6, whole=100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(IDS), st.none() | st.integers(0, 99)) | st.sampled_from(["backup", "restore"]),
        min_size=3,
        max_size=25,
    )
)
def test_it_counts_like_a_model(tmp_path_factory: pytest.TempPathFactory, steps: list[Any]) -> None:
    place, clock = tmp_path_factory.mktemp("model"), Clock(step=SECOND)
    model: dict[str, int] = {}
    kept: dict[str, int] = {}
    database = DocumentDatabase(place / "shop", clock=clock)
    try:
        database.configure({"Muniment/History": "true"})
        database.maintenance.start_backup(place / "backups").wait()
        for number, step in enumerate([*steps, "backup"]):
            if step == "backup":
                database.maintenance.start_backup(place / "backups", incremental=True).wait()
                kept = dict(model)
                found = ask(place / "backups", "SELECT id, (document->>'$.n')::INT FROM documents")
                assert {fold(id): n for id, n in found} == kept
                assert len(found) == len(kept)
            elif step == "restore":
                database.close()
                MaintenanceActions.restore(place / "backups", place / str(number), clock=clock)
                database = DocumentDatabase(place / str(number), clock=clock)
                model = dict(kept)
            elif step[1] is None:
                database.batch([Delete(step[0])])
                model.pop(fold(step[0]), None)
            else:
                database.put(step[0], {"n": step[1]})
                model[fold(step[0])] = step[1]
    finally:
        database.close()
