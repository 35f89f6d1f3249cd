"""Made the samples `format-1`, `format-1-checksum`, `format-2` and `format-3`: backups that every version must restore.

Never run this again for a sample that is there: the point of it is that it does not change. A new format version, or a
new member of the manifest that is relied upon, gets a folder of its own, made once by
`python -m tests.data.make_format_sample NAME` and then left alone.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from muniment import Delete, DocumentDatabase, Put
from muniment.security.keyring import UNPROTECTED, Protection
from muniment.security.recipients import Identity, Key, Passphrase
from muniment.security.signature import SigningKey

START = 1_790_000_000_000_000  # 2026-09-21T14:13:20Z
MINUTE = 60_000_000

PASSPHRASE = Passphrase("correct horse battery staple")
KEY = Key(bytes(range(32)))
IDENTITY = Identity(bytes(range(1, 33)))
SIGNING_KEY = SigningKey(bytes(range(2, 34)))
ENCRYPTED = Protection((PASSPHRASE, KEY, IDENTITY.recipient), SIGNING_KEY)  # since format 3

ORDERS = b'{"Raven-Entity-Name":"Orders"}'
DOCUMENTS: list[tuple[str, bytes, bytes]] = [
    ("Orders/1", b'{"price":1.10,"zero":-0.0,"huge":1e400,"long":1234567890123456789012345678901234567890}', ORDERS),
    ("orders/2", b'{"z":1,"a":2,"a":3}', b'{ "Raven-Entity-Name" : "Orders" }'),
    ("orders/3", b'{"gone":true}', ORDERS),
    ("escapes", b'{"half":"\\ud800","slash":"\\/","nul":"\\u0000","e":"\\u00e9"}', b"{}"),
    ("white space", b" \t\r\n{ } \n", b'{"note":"1.10"}'),
    ("nul\0 '\"%_\\", '{"東京":"\U0001d11e é e\u0301 \U0010ffff"}'.encode(), '{"Raven-Entity-Name":"中文"}'.encode()),
    ("x" * 512, b"{}", b"{}"),
]


def main() -> None:
    """Write a few documents of every awkward kind, at times that are the same every time, and back them up twice."""
    now = START

    def clock() -> int:
        return now

    protection = ENCRYPTED if sys.argv[1] == "format-3" else UNPROTECTED
    folder = Path(__file__).parent / sys.argv[1]
    folder.mkdir()
    with TemporaryDirectory() as name, DocumentDatabase(Path(name) / "shop", clock=clock) as database:
        for id, body, metadata in DOCUMENTS:
            now += MINUTE
            database.put(id, body, metadata)
        now += MINUTE
        database.batch([Put("orders/1", b'{"again":2.50}', ORDERS), Delete("orders/3"), Delete("nothing")])
        now += MINUTE
        database.put("numbers", DOCUMENTS[0][1])
        now += MINUTE
        database.put_attachment("photos/1", bytes(range(256)) * 12, b'{"type":"image/png"}')
        database.put_attachment("Photos/Empty", b"", b'{"Raven-Entity-Name":"Photos"}')
        database.put_attachment("photos/gone", b"x")
        database.delete_attachment("photos/gone")
        now += MINUTE
        database.maintenance.start_backup(folder, protection=protection).wait()
        database.configure({"Muniment/History": "true"})
        for body in (b'{"second":1.0}', b'{"third":1.00}'):
            now += MINUTE
            database.put("ORDERS/2", body, ORDERS)
        now += MINUTE
        database.batch([Delete("escapes"), Put("new", b"{}", b'{"Raven-Entity-Name":"New"}')])
        now += MINUTE
        database.put_attachment("photos/1", b"replaced")
        now += MINUTE
        database.put_attachment("a/b", b"owned", b'{"type":"text/plain"}', owner="Orders/1")  # since format 2
        now += MINUTE
        database.maintenance.start_backup(folder, incremental=True, protection=protection).wait()


if __name__ == "__main__":
    main()
