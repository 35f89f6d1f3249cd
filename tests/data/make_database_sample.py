"""Makes samples like `tests/data/database-format-2.db.gz`, a database file that every later version must take over.

Never run this again for a sample that is there: the point of it is that it does not change. A new format of the file
gets a sample of its own, made once by `python -m tests.data.make_database_sample NAME` and then left alone.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw

from muniment import Delete, DocumentDatabase, Put
from muniment.storage.sqlite.files import FILE
from muniment.storage.sqlite.state import write_facts

START = 1_790_000_000_000_000  # 2026-09-21T14:13:20Z
MINUTE = 60_000_000

ORDERS = b'{"Raven-Entity-Name":"Orders"}'
# By full case folding, in which format 1 compared ids, the keys of these are others than by RavenDB's rule.
IDS = ("a/ß", "Straße", "ſ", "µ", "ς", "ΣΑΣ", "İstanbul", "K", "Ω/1", "ẞ", "ŉ", "ﬁ", "ᏸ", "Ꭰ", "ꭰ/2", "Ünï/Ö")


def main() -> None:
    """Write history, deletions, attachments and settings, at times that are the same every time."""
    now = START

    def clock() -> int:
        return now

    with TemporaryDirectory() as name:
        folder = Path(name) / "shop"
        with DocumentDatabase(folder, clock=clock) as database:
            database.configure({"Muniment/History": "true", "Colour": "grün"})
            for number in range(20):
                now += MINUTE
                database.put(f"Orders/{number}", b'{"number":%d}' % number, ORDERS)
            for number, id in enumerate(IDS):
                now += MINUTE
                database.put(id, b'{"first":%d}' % number, ORDERS if number % 2 else None)
            now += MINUTE
            database.batch([Put("orders/1", b'{"again":2.50}', ORDERS), Delete("ORDERS/3"), Put("A/SS", b'{"a":2}')])
            now += MINUTE
            database.batch([Delete("ﬁ"), Put("ŉ", b"{}"), Put("large", b'{"text":"%s"}' % (b"x" * 20_000))])
            now += MINUTE
            database.put_attachment("photos/1", bytes(range(256)) * 12, b'{"type":"image/png"}')
            database.put_attachment("Photos/ß", b"", b'{"Raven-Entity-Name":"Photos"}')
            database.put_attachment("photos/gone", b"x")
            database.delete_attachment("photos/gone")
            database.put_attachment("a/photo.png", b"owned", owner="orders/7")
            now += MINUTE
            database.put_attachment("photos/1", b"replaced")
            database.put("orders/3", b'{"back":true}', ORDERS)
            database.maintenance.start_backup(Path(name) / "backups").wait()
            now += MINUTE
            database.put("orders/1", b'{"after":"the backup"}', ORDERS)
            now += MINUTE
            database.delete("orders/5")
        connection = apsw.Connection(str(folder / FILE))
        places = str(connection.execute("SELECT value FROM state WHERE name = 'places'").get)
        write_facts(connection, {"places": places.replace(name, "/srv")})
        connection.close()
        with gzip.GzipFile(Path(__file__).parent / f"{sys.argv[1]}.db.gz", "wb", mtime=0) as file:
            file.write((folder / FILE).read_bytes())


if __name__ == "__main__":
    main()
