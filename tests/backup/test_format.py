"""Backups of every format version that was ever released can be restored: their samples are frozen."""

from __future__ import annotations

from pathlib import Path

import pytest

from muniment import MaintenanceActions
from muniment.backup import manifest as manifests
from muniment.backup.manifest import ENCRYPTED
from muniment.backup.repository import backups, read
from muniment.errors import UnknownFormat
from muniment.revision import ATTACHMENT, DOCUMENT
from muniment.security.keyring import Keyring
from muniment.security.recipients import AnyIdentity, Identity, Key, Passphrase
from tests.backup.damage import rows_digest_of
from tests.backup.state import Item, State, opened, seen_by_readers, state_of, tree

DATA = Path(__file__).parents[1] / "data"
FIRST = DATA / "format-1"
# The samples and the ids of their databases.
SAMPLES = {
    "format-1": "7c4d94a0-d859-4bba-b815-d7b08d34586b",
    "format-1-checksum": "31ca6564-5110-4703-9b1f-4759a6c2e1c0",
    "format-2": "e697a6d7-9829-4f79-bd1d-7f6e3a98f287",
    "format-3": "d24d5977-6f80-4ae9-aa7b-174baa24cfab",
}
FORMAT_1_SAMPLES = [name for name in SAMPLES if name.startswith("format-1")]
FULL = "2026-09-21T142420.000Z.full"
SHA256 = (
    "4f85a8c748600341eebdf41286a3e46cc820f33507141e2c0a90d0fcc518930b",
    "208a2b0119a7edf10b8a2173791230876a49658536f433e1cc57bcf32467d3f9",
)
FINGERPRINT = "7d5938729d790026"
SHA256_2 = (
    "085bb2d85f9a5fdd56a14f648ed5cc057fa9dbd31b0a8242ccfd14e7504c1927",
    "3103c1a242fb321292896ce199f9df35961a96f201cef4ce964f35615603cd8f",
)
FINGERPRINT_2 = "0b59c7fc81b686c5"
MINUTE = 60_000_000
START = 1_790_000_000_000_000 + MINUTE
ORDERS = b'{"Raven-Entity-Name":"Orders"}'
NUMBERS = b'{"price":1.10,"zero":-0.0,"huge":1e400,"long":1234567890123456789012345678901234567890}'

# Written out here, so that neither the script that made the sample nor what it uses can change what is expected.
FORMAT_1: State = {
    (DOCUMENT, "orders/2"): Item(
        2, "orders/2", "Orders", START + MINUTE, b'{ "Raven-Entity-Name" : "Orders" }', b'{"z":1,"a":2,"a":3}'
    ),
    (DOCUMENT, "escapes"): Item(
        4,
        "escapes",
        None,
        START + 3 * MINUTE,
        b"{}",
        b'{"half":"\\ud800","slash":"\\/","nul":"\\u0000","e":"\\u00e9"}',
    ),
    (DOCUMENT, "white space"): Item(5, "white space", None, START + 4 * MINUTE, b'{"note":"1.10"}', b" \t\r\n{ } \n"),
    (DOCUMENT, "nul\0 '\"%_\\"): Item(
        6,
        "nul\0 '\"%_\\",
        "中文",
        START + 5 * MINUTE,
        b'{"Raven-Entity-Name":"\xe4\xb8\xad\xe6\x96\x87"}',
        b'{"\xe6\x9d\xb1\xe4\xba\xac":"\xf0\x9d\x84\x9e \xc3\xa9 e\xcc\x81 \xf4\x8f\xbf\xbf"}',
    ),
    (DOCUMENT, "x" * 512): Item(7, "x" * 512, None, START + 6 * MINUTE, b"{}", b"{}"),
    (DOCUMENT, "orders/1"): Item(8, "Orders/1", "Orders", START + 7 * MINUTE, ORDERS, b'{"again":2.50}'),
    (DOCUMENT, "orders/3"): Item(9, "orders/3", "Orders", START + 7 * MINUTE, b"{}", None),
    (DOCUMENT, "numbers"): Item(10, "numbers", None, START + 8 * MINUTE, b"{}", NUMBERS),
    (ATTACHMENT, "photos/1"): Item(
        11, "photos/1", None, START + 9 * MINUTE, b'{"type":"image/png"}', bytes(range(256)) * 12
    ),
    (ATTACHMENT, "photos/empty"): Item(
        12, "Photos/Empty", "Photos", START + 9 * MINUTE + 1, b'{"Raven-Entity-Name":"Photos"}', b""
    ),
    (ATTACHMENT, "photos/gone"): Item(14, "photos/gone", None, START + 9 * MINUTE + 3, b"{}", None),
}


SECOND = (DOCUMENT, "orders/2")
AT_15 = FORMAT_1 | {SECOND: Item(15, "orders/2", "Orders", START + 11 * MINUTE, ORDERS, b'{"second":1.0}')}
AT_16 = FORMAT_1 | {SECOND: Item(16, "orders/2", "Orders", START + 12 * MINUTE, ORDERS, b'{"third":1.00}')}
AT_18 = AT_16 | {
    (DOCUMENT, "escapes"): Item(17, "escapes", None, START + 13 * MINUTE, b"{}", None),
    (DOCUMENT, "new"): Item(18, "new", "New", START + 13 * MINUTE, b'{"Raven-Entity-Name":"New"}', b"{}"),
}
AT_19 = AT_18 | {(ATTACHMENT, "photos/1"): Item(19, "photos/1", None, START + 14 * MINUTE, b"{}", b"replaced")}


@pytest.mark.parametrize("sample", FORMAT_1_SAMPLES)
@pytest.mark.parametrize("defrag", [False, True])
@pytest.mark.parametrize(
    ("etag", "expected"),
    [(14, FORMAT_1), (15, AT_15), (16, AT_16), (18, AT_18), (19, AT_19), (None, AT_19)],
)
def test_format_1_is_restored(tmp_path: Path, sample: str, etag: int | None, expected: State, defrag: bool) -> None:
    before = tree(DATA / sample)
    restored = MaintenanceActions.restore(DATA / sample, tmp_path / "restored", etag=etag, defrag=defrag)
    with opened(tmp_path / "restored") as database:
        assert state_of(database) == expected
        assert seen_by_readers(database) == {
            key: (item.id, item.metadata, item.content) for key, item in expected.items() if item.content is not None
        }
        assert database.storage.identity.database_id == restored.backup.manifest.database.id == SAMPLES[sample]
        assert database.snapshot().etag == (etag or 19)
    assert tree(DATA / sample) == before


@pytest.mark.parametrize("sample", FORMAT_1_SAMPLES)
def test_format_1_still_verifies(sample: str) -> None:
    verified = MaintenanceActions.verify(DATA / sample, record=False)
    assert (len(verified.backups), verified.fingerprint.short()) == (2, FINGERPRINT)


def test_the_first_manifests_had_no_checksum() -> None:
    checksums = [[backup.manifest.checksum for backup in backups(DATA / sample)] for sample in FORMAT_1_SAMPLES]
    assert checksums[0] == [None, None]
    assert None not in checksums[1]


def test_format_1_still_says_the_same() -> None:
    first, second = backups(FIRST)
    assert (first.name, second.name) == (FULL, "2026-09-21T142920.000Z.incremental")
    assert (first.sha256, second.sha256) == SHA256
    manifest = first.manifest
    assert (manifest.format, manifest.kind, manifest.reason, manifest.through) == (1, "full", "first", 14)
    counts = manifest.counts
    assert (counts.documents, counts.document_tombstones) == (7, 1)
    assert (counts.attachments, counts.attachment_tombstones) == (2, 1)
    manifest = second.manifest
    assert (manifest.kind, manifest.after, manifest.through, manifest.history_from) == ("incremental", 14, 19, 14)
    assert manifest.parent is not None
    assert (manifest.parent.backup, manifest.parent.sha256) == (first.name, first.sha256)


# A deletion of an attachment tells since format 2 what it deleted.
GONE = {
    (ATTACHMENT, "photos/gone"): Item(
        14,
        "photos/gone",
        None,
        START + 9 * MINUTE + 3,
        b'{"Hash":"0WHXEUWr7sXvFavPBFnOxgonMh4vCsDves5SVPWURHY=","Content-Type":""}',
        None,
    )
}
OWNED = {
    (ATTACHMENT, "orders/1\x1ea/b"): Item(
        20, "Orders/1\x1ea/b", None, START + 15 * MINUTE, b'{"type":"text/plain"}', b"owned"
    )
}


@pytest.mark.parametrize(
    ("etag", "expected"),
    [(14, FORMAT_1), (15, AT_15), (16, AT_16), (18, AT_18), (19, AT_19), (20, AT_19 | OWNED), (None, AT_19 | OWNED)],
)
def test_format_2_is_restored(tmp_path: Path, etag: int | None, expected: State) -> None:
    before = tree(DATA / "format-2")
    restored = MaintenanceActions.restore(DATA / "format-2", tmp_path / "restored", etag=etag)
    with opened(tmp_path / "restored") as database:
        assert state_of(database) == expected | GONE
        assert database.storage.identity.database_id == restored.backup.manifest.database.id == SAMPLES["format-2"]
        assert database.snapshot().etag == (etag or 20)
    assert tree(DATA / "format-2") == before


def test_format_2_still_says_the_same() -> None:
    first, second = backups(DATA / "format-2")
    assert (first.sha256, second.sha256) == SHA256_2
    for backup in (first, second):
        manifest = backup.manifest
        assert (manifest.format, manifest.skipped, len(manifest.database.lineages)) == (2, (), 1)
        assert manifest.database.lineages[-1].lineage == manifest.database.lineage
        assert [file.rows_digest for file in manifest.files] == [
            rows_digest_of(backup.folder / file.name) for file in manifest.files
        ]
    assert (second.manifest.after, second.manifest.through, second.manifest.history_from) == (14, 20, 14)
    verified = MaintenanceActions.verify(DATA / "format-2", record=False)
    assert (len(verified.backups), verified.fingerprint.short()) == (2, FINGERPRINT_2)


SHA256_3 = (
    "c8604763253c2660709a888d9dada0c85501c4a70850de19ad2cad4a9b85bffe",
    "d3b38083d06db2b75ca232a40c4a0488f647225c403c137d57b40fdb36298ac2",
)
SIGNER = "muniment-signer-ipg4ai6sfvpz4ed5didjgrl5gxi5cdvx2ioheems6vxv3zagmxjudm2sim"
# Format 3 is what format 2 is, encrypted; these open its sample.
OPENS: list[AnyIdentity] = [
    Passphrase("correct horse battery staple"),
    Key(bytes(range(32))),
    Identity(bytes(range(1, 33))),
]


@pytest.mark.parametrize("identity", OPENS)
def test_format_3_is_restored_by_whatever_it_was_encrypted_for(tmp_path: Path, identity: AnyIdentity) -> None:
    before = tree(DATA / "format-3")
    keyring = Keyring((identity,), (SIGNER,))
    restored = MaintenanceActions.restore(DATA / "format-3", tmp_path / "restored", keyring=keyring)
    with opened(tmp_path / "restored") as database:
        assert state_of(database) == AT_19 | OWNED | GONE
        assert database.storage.identity.database_id == restored.backup.manifest.database.id == SAMPLES["format-3"]
    MaintenanceActions.restore(DATA / "format-3", tmp_path / "earlier", etag=16, keyring=keyring)
    with opened(tmp_path / "earlier") as database:
        assert state_of(database) == AT_16 | GONE
    assert tree(DATA / "format-3") == before


def test_format_3_still_says_the_same() -> None:
    closed, found = backups(DATA / "format-3"), backups(DATA / "format-3", Keyring((OPENS[-1],), (SIGNER,)))
    assert tuple(backup.sha256 for backup in closed) == tuple(backup.sha256 for backup in found) == SHA256_3
    assert [backup.manifest.closed for backup in (*closed, *found)] == [True, True, False, False]
    assert {backup.manifest.format for backup in found} == {3}
    assert (found[1].manifest.after, found[1].manifest.through, found[1].manifest.history_from) == (14, 20, 14)
    verified = MaintenanceActions.verify(DATA / "format-3", record=False, keyring=Keyring((OPENS[0],), (SIGNER,)))
    assert (len(verified.backups), verified.fingerprint.short()) == (2, FINGERPRINT_2)


def test_what_reads_only_format_2_refuses_format_3_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "ENCRYPTED", 2)
    with pytest.raises(UnknownFormat, match="format 3, written by muniment"):
        read(DATA / "format-3" / FULL)


def test_every_format_has_its_sample() -> None:
    assert sorted(path.name for path in DATA.iterdir() if path.name.startswith("format-")) == sorted(SAMPLES)
    assert {name.split("-")[1] for name in SAMPLES} == {str(number) for number in range(1, ENCRYPTED + 1)}
    assert sum(path.stat().st_size for path in FIRST.rglob("*") if path.is_file()) < 100_000
