"""Queries by index against SQLite's own time for the same rows, building an index while writes go on, and puts with
three indexes: in batches, 32 under way, one after the other, and over HTTP. Those come in turns, with and without.

    python benchmarks/queries.py [--documents 500000] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw
import server as http
from server import Measured, Process, Target, in_turns

from muniment import DocumentDatabase
from muniment.query.model import SCORE, Equal, Field, Order, Query, Range, Search
from muniment.storage.base import Storage, Write

ORDERS = {"Raven-Entity-Name": "Orders"}
METADATA = json.dumps(ORDERS).encode()
DOCUMENT = "etag, id, collection, modified, metadata, body"  # what is read of one
FREIGHT, COMPANY, ORDERED = Field(("Freight",)), Field(("Company",)), Field(("OrderedAt",))


def document(number: int, chance: random.Random) -> bytes:
    return json.dumps(
        {
            "Company": f"companies/{chance.randrange(900)}",
            "Freight": round(chance.random() * 1000, 2),
            "OrderedAt": f"20{chance.randrange(10, 27)}-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}",
            "Lines": [{"Product": f"products/{chance.randrange(77)}", "Quantity": chance.randrange(50)}] * 3,
            "Notes": " ".join(f"word{min(int(chance.paretovariate(0.7)), 20_000)}" for _ in range(90)),
            "Number": number,
        }
    ).encode()


def writes(start: int, count: int, chance: random.Random) -> list[Write]:
    return [Write(f"orders/{n}", document(n, chance), collection="Orders") for n in range(start, start + count)]


def timed(what: Callable[[], object], times: int = 1) -> float:
    begun = time.perf_counter()
    for _ in range(times):
        what()
    return (time.perf_counter() - begun) / times


def ask(storage: Storage, query: Query) -> int:
    with storage.find(query) as found:
        return sum(1 for _ in found.revisions)


def puts(storage: Storage, start: int, count: int, chance: random.Random) -> float:
    """Documents a second, in batches of 1000."""
    batches = [writes(start + place, 1000, chance) for place in range(0, count, 1000)]
    return count / timed(lambda: [storage.commit(batch) for batch in batches])


def singles(storage: Storage, start: int, count: int, chance: random.Random) -> float:
    """Single documents a second, 32 under way at a time."""
    made, under_way = writes(start, count, chance), deque[Any]()

    def put() -> None:
        for each in made:
            under_way.append(storage.submit([each]))
            if len(under_way) == 32:
                under_way.popleft().result()
        while under_way:
            under_way.popleft().result()

    return count / timed(put)


def one_by_one(storage: Storage, start: int, count: int, chance: random.Random) -> float:
    """Single documents a second, one after the other."""
    made = writes(start, count, chance)
    return count / timed(lambda: [storage.commit([each]) for each in made])


class Shop(Target):
    """A database of a server."""

    def __init__(self, server: Process, name: str, documents: int, indexed: Sequence[Field]) -> None:
        super().__init__(server, 3.0)
        self.root, self._turn = f"/databases/{name}", 0
        self.client.put(f"/admin/databases/{name}", json={"Settings": {}}).raise_for_status()
        for start in range(0, documents, 2000):
            commands = [
                {"Method": "PUT", "Key": each.id, "Document": json.loads(each.body or b""), "Metadata": ORDERS}
                for each in writes(start, 2000, random.Random(start))
            ]
            self.client.post(f"{self.root}/bulk_docs", json=commands).raise_for_status()
        for field in indexed:
            asked = {"Rql": f"from Orders where {field} = 'x' limit 1"}
            self.client.post(f"{self.root}/query", json=asked).raise_for_status()

    def put(self) -> Measured:
        """New documents of 1 KB, each durable when it is answered."""
        self._turn += 1
        body = b'{"Company":"companies/{r}","Freight":{r}.25,"OrderedAt":"{r}","Notes":"' + b"x" * 900 + b'"}'
        return self.measure(
            self._job("PUT", f"/docs/{self._turn}/{{n}}", body, "Raven-Entity-Name: Orders\r\n", 100_000)
        )


def over_http(folder: Path, documents: int) -> None:
    """PUT of 32 connections into two databases, one of which has three indexes."""
    with http.process("-c", http._SERVE, f"{folder}/data") as server:
        shops = [Shop(server, "plain", documents, ()), Shop(server, "indexed", documents, (COMPANY, FREIGHT, ORDERED))]
        plain, three = in_turns(5, *(shop.put for shop in shops))
        print(f"PUT over HTTP: {plain} without indexes, {three} with three: {three.load.rate / plain.load.rate:.2f}")


def rows(start: int, chance: random.Random) -> list[tuple[Any, ...]]:
    found = []
    for n in range(start, start + 1000):
        body = document(n, chance)
        told = json.loads(body)
        more = told["Company"], told["Freight"], told["OrderedAt"]
        found.append((n, f"orders/{n}", "Orders", 1_700_000_000_000_000, METADATA, body, *more))
    return found


def insert(connection: apsw.Connection, made: list[tuple[Any, ...]]) -> None:
    connection.executemany("INSERT INTO doc VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)", made)


def bare_puts(connection: apsw.Connection, start: int, chance: random.Random) -> float:
    """Rows a second, in durable transactions of 1000."""
    batches = [rows(start + place, chance) for place in range(0, 20_000, 1000)]

    def put() -> None:
        for batch in batches:
            with connection:
                insert(connection, batch)

    return 20_000 / timed(put)


def bare(folder: Path, documents: int) -> apsw.Connection:
    """The same documents in a table of SQLite, with their metadata and its own indexes."""
    connection = apsw.Connection(str(folder / "bare.db"))
    connection.execute("PRAGMA page_size=8192; PRAGMA journal_mode=WAL").fetchall()
    connection.execute("PRAGMA wal_autocheckpoint=4000; PRAGMA cache_size=-65536").fetchall()
    connection.execute(
        "CREATE TABLE doc(etag INTEGER PRIMARY KEY, id TEXT, collection TEXT, modified INTEGER, metadata BLOB,"
        " body BLOB, company TEXT, freight REAL, ordered TEXT)"
    )
    chance = random.Random(1)
    with connection:
        for place in range(0, documents, 1000):
            insert(connection, rows(place, chance))
    begun = time.perf_counter()
    connection.execute("CREATE INDEX by_company ON doc(company); CREATE INDEX by_freight ON doc(freight)")
    print(f"SQLite makes two indexes in {time.perf_counter() - begun:.2f} s")
    return connection


def words(storage: Storage, connection: apsw.Connection) -> None:
    """Full text, beside a bare table of FTS5 with the same texts."""
    notes = Field(("Notes",))
    built = timed(lambda: ask(storage, Query("Orders", Search(notes, "word7"), take=25)))
    connection.execute("CREATE VIRTUAL TABLE text USING fts5(words, content='', contentless_delete=1)")
    fill = "INSERT INTO text(rowid, words) SELECT etag, body ->> '$.Notes' FROM doc"
    print(f"words of Notes: {built:.2f} s, FTS5 {timed(lambda: connection.execute(fill)):.2f} s")
    for name, said in (("word", "word5000"), ("phrase", '"word2 word3"'), ("beginning", "word77*")):
        asked = said if said[0] == '"' else f'"{said[:-1]}" *' if said[-1] == "*" else f'"{said}"'
        for order, by in (((), "rowid"), ((Order(Field((SCORE,))),), "bm25(text), rowid")):
            query = Query("Orders", Search(notes, said), order=order, take=25)
            found = f"SELECT rowid AS etag FROM text WHERE text MATCH ? ORDER BY {by} LIMIT 25"
            sql = f"SELECT {DOCUMENT} FROM ({found}) JOIN doc USING(etag)"
            ours = timed(lambda: ask(storage, query), 20)  # noqa: B023
            theirs = timed(lambda: connection.execute(sql, (asked,)).fetchall(), 20)  # noqa: B023
            sort = ", by score" if order else ""
            print(f"{name}, 25 rows{sort}: {ours * 1000:.2f} ms, FTS5 {theirs * 1000:.2f} ms: {ours / theirs:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=500_000)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        run(place, options.documents)
        over_http(place, options.documents)
    finally:
        shutil.rmtree(place)


def run(place: Path, documents: int) -> None:
    with DocumentDatabase(place / "shop") as database:
        storage, chance = database.storage, random.Random(1)
        for start in range(0, documents, 10_000):
            storage.commit(writes(start, 10_000, chance))
        plain = puts(storage, documents, 20_000, chance)
        single = singles(storage, documents + 40_000, 10_000, chance)
        alone = one_by_one(storage, documents + 60_000, 1000, chance)
        done, written = threading.Event(), [0]

        def write() -> None:
            number = 0
            while not done.is_set():
                storage.commit(writes(10_000_000 + number, 1, chance))
                number += 1
                written[0] = number

        thread = threading.Thread(target=write)
        thread.start()
        company = Equal(COMPANY, "companies/7")
        built = timed(lambda: ask(storage, Query("Orders", company, take=25)))
        during = written[0] / built
        done.set()
        thread.join()
        print(f"index on Company over {documents:,} documents: {built:.2f} s, {during:,.0f} single puts/s meanwhile")
        print(f"index on Freight: {timed(lambda: ask(storage, Query('Orders', Equal(FREIGHT, 1), take=25))):.2f} s")
        ask(storage, Query("Orders", Equal(ORDERED, "x"), take=1))
        queries = {
            "equal, 25 rows": (Query("Orders", company, take=25), "company = 'companies/7' ORDER BY etag LIMIT 25"),
            "equal, all rows": (Query("Orders", company), "company = 'companies/7' ORDER BY etag"),
            "range, 25 rows": (
                Query("Orders", Range(FREIGHT, 100, 200), order=(Order(FREIGHT),), take=25),
                "freight BETWEEN 100 AND 200 ORDER BY freight LIMIT 25",
            ),
            "range, 10,000 rows": (
                Query("Orders", Range(FREIGHT, 100, 200), order=(Order(FREIGHT),), take=10_000),
                "freight BETWEEN 100 AND 200 ORDER BY freight LIMIT 10000",
            ),
        }
        connection = bare(place, documents)
        for name, (query, where) in queries.items():
            sql = f"SELECT {DOCUMENT} FROM doc WHERE {where}"
            times = 3 if "all" in name or "," in name.split()[1] else 200
            ours = theirs = 0.0
            for _ in range(2):
                ours = timed(lambda: ask(storage, query), times)  # noqa: B023
                theirs = timed(lambda: connection.execute(sql).fetchall(), times)  # noqa: B023
            print(f"{name}: {ours * 1000:.2f} ms, SQLite {theirs * 1000:.2f} ms: {ours / theirs:.2f}")
        sorted_by = Query("Orders", company, order=(Order(ORDERED, True),), take=25)
        print(f"equal, sorted by another field, 25 rows: {timed(lambda: ask(storage, sorted_by), 20) * 1000:.2f} ms")
        three = puts(storage, documents + 20_000, 20_000, chance)
        others = singles(storage, documents + 50_000, 10_000, chance)
        indexed = one_by_one(storage, documents + 61_000, 1000, chance)
        print(
            f"one after the other: {alone:,.0f}/s without indexes, {indexed:,.0f}/s with three: {indexed / alone:.2f}"
        )
        print(f"32 under way: {single:,.0f}/s without indexes, {others:,.0f}/s with three: {others / single:.2f}")
        print(f"puts in batches: {plain:,.0f}/s without indexes, {three:,.0f}/s with three: {three / plain:.2f}")
        words(storage, connection)
        connection.execute("CREATE INDEX by_ordered ON doc(ordered)")
        three = bare_puts(connection, documents, chance)
        connection.execute("DROP INDEX by_company; DROP INDEX by_freight; DROP INDEX by_ordered")
        plain = bare_puts(connection, documents + 20_000, chance)
        print(f"SQLite's: {plain:,.0f}/s without indexes, {three:,.0f}/s with three: {three / plain:.2f}")


if __name__ == "__main__":
    main()
