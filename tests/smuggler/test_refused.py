"""Documents for which RavenDB refuses a whole dump: named, and left out of it into another one, if so asked."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase, SmugglerOptions
from muniment.errors import InvalidInput, TargetExists
from muniment.smuggler.refused import why_refused
from muniment.smuggling import export_for_ravendb
from tests.smuggler.test_real_cases import content_of

BAD: dict[str, tuple[dict[str, Any], bytes]] = {
    "a/1": ({}, b'{"n":1e400}'),
    "a/2|": ({}, b"{}"),
    "a/3": ({"Raven-Expiration-Date": None}, b"{}"),
    "a/4": ({"Raven-Expiration-Date": "tomorrow"}, b"{}"),
}
GOOD: dict[str, tuple[dict[str, Any], bytes]] = {
    "b/1": ({}, b'{"n":1e308,"m":1e-400,"s":"1e400","t":"x,1e400","i":12345678901234567890123456789}'),
    "b|2": ({"Raven-Expiration-Date": "2030-01-01T00:00:00.0000000Z"}, b"{}"),
    "b/3": ({"Other-Expiration-Date": None}, b'{"id":"3e123-4e999"}'),
}


@pytest.mark.parametrize(
    ("id", "metadata", "body", "why"),
    [
        ("a", b"{}", b'{"a":{"b":[1,-1.5E+999]}}', "no double"),
        ("a", b"{}", b'{"a":%s}' % (b"9" * 400), "no double"),
        ("a", b"{}", b'{"a":%s}' % (b"9" * 5000), "no double"),
        ("a", b"{}", b'{"a":%sE99}' % (b"9" * 210), "no double"),
        ("a", b"{}", b'{"a":%sE99}' % (b"9" * 209), None),
        ("a", b'{"x":1e400}', b"{}", "in its metadata"),
        ("a|", b"{}", b"{}", "ends in |"),
        ("a", b'{"raven-EXPIRATION-date":null}', b"{}", "expiry null"),
        ("a", b'{"Raven-Expiration-Date":5}', b"{}", "expiry 5"),
        ("a", b'{"Raven-Expiration-Date":"2026-01-01"}', b"{}", "no date"),
        ("a", b'{"Raven-Expiration-Date":"2026-02-30T00:00:00Z"}', b"{}", "no date"),
        ("a", b'{"Raven-Expiration-Date":"2026-01-01T00:00:00"}', b"{}", None),
        ("a", b'{"Raven-Expiration-Date":"2026-01-01T00:00:00.1234567+02:00"}', b"{}", None),
        ("a", b'{"Raven-Expiration-Date":"Sun, 29 Nov 2026 11:00:00 GMT"}', b"{}", None),
        ("a|b", b"{}", b'{"a":1e308,"b":"1e400","c":"x 1e400","d":-1e-999,"e":%s}' % (b"9" * 300), None),
        ("a", b"{}", b'{"a":"%s"}' % (b"9" * 400), None),
    ],
)
def test_why(id: str, metadata: bytes, body: bytes, why: str | None) -> None:
    told = why_refused(id, metadata, body)
    assert told is None if why is None else told is not None and why in told


@pytest.fixture
def shop(database: DocumentDatabase) -> DocumentDatabase:
    for id, (metadata, body) in {**BAD, **GOOD}.items():
        database.put(id, body, metadata)
    database.put_attachment("x", b"bad", owner="a/1")
    database.put_attachment("x", b"good", owner="b/1")
    database.put("Raven/Identities/orders/", {"Value": 3})
    return database


@pytest.mark.parametrize("alone", [True, False])
def test_they_are_named_and_carried(database: DocumentDatabase, alone: bool) -> None:
    for id, (metadata, body) in {**BAD, **({} if alone else GOOD)}.items():
        database.put(id, body, metadata)
    told = database.export(out := io.BytesIO(), format="ravendbdump")
    assert (told.refused, [each.id for each in told.refusals]) == (4, list(BAD))
    assert set(content_of(out.getvalue())["documents"]) == set(BAD) | (set() if alone else set(GOOD))
    assert database.export(io.BytesIO(), format="ravendump").refused == 0


def test_they_are_left_out_into_a_file_beside(shop: DocumentDatabase, tmp_path: Path) -> None:
    told = export_for_ravendb(shop, tmp_path / "shop.ravendbdump")
    beside = tmp_path / "shop.refused.ravendbdump"
    assert (told.refused, told.documents, told.attachments, told.identities) == (4, 3, 1, 1)
    assert told.skipped["documents that RavenDB refuses"] == 4
    assert told.notes == [f"what RavenDB refuses is in {beside}"]
    good, bad = content_of(tmp_path / "shop.ravendbdump"), content_of(beside)
    assert (set(good["documents"]), set(bad["documents"])) == (set(GOOD), set(BAD))
    assert {content for _, content in good["contents"]} == {b"good"}
    assert {content for _, content in bad["contents"]} == {b"bad"}
    assert bad["identities"] == {}
    with DocumentDatabase(tmp_path / "again") as again:
        again.import_dump(tmp_path / "shop.ravendbdump")
        again.import_dump(beside)
        assert again.snapshot().fingerprint.count(0) == shop.snapshot().fingerprint.count(0)
    with pytest.raises(TargetExists, match=r"shop\.refused"):
        export_for_ravendb(shop, tmp_path / "shop.ravendbdump")
    assert export_for_ravendb(shop, tmp_path / "shop.ravendbdump", overwrite=True).refused == 4


def test_no_file_beside_where_nothing_is_refused(database: DocumentDatabase, tmp_path: Path) -> None:
    database.put("a/1", b'{"n":1e308}')
    told = export_for_ravendb(database, tmp_path / "shop.ravendbdump")
    assert (told.refused, told.notes) == (0, [])
    assert [path.name for path in tmp_path.glob("*.ravendbdump")] == ["shop.ravendbdump"]


def test_what_was_changed_between_the_two_is_said(
    shop: DocumentDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exports = shop._export

    def meddling(*arguments: Any) -> Any:
        done = exports(*arguments)
        shop.put("a/1", {"n": 1})
        return done

    monkeypatch.setattr(shop, "_export", meddling)
    told = export_for_ravendb(shop, tmp_path / "shop.ravendbdump")
    assert "changed meanwhile" in told.notes[-1]


@pytest.mark.parametrize("format", ["ndjson", "parquet", "ravendump"])
def test_other_formats_are_not_for_ravendb(database: DocumentDatabase, format: Any) -> None:
    with pytest.raises(InvalidInput, match="not for RavenDB"):
        database.export(io.BytesIO(), format=format, options=SmugglerOptions(for_ravendb="without"))
    with pytest.raises(InvalidInput, match="for_ravendb cannot be"):
        SmugglerOptions(for_ravendb="all")  # type: ignore[arg-type]


def test_an_incremental_export_names_them_too(shop: DocumentDatabase, tmp_path: Path) -> None:
    first = shop.export_incremental(tmp_path / "exports", options=SmugglerOptions(for_ravendb="without"))
    assert (first.refused, first.documents) == (4, 3)
    shop.put("c/1", b'{"n":2e999}')
    second = shop.export_incremental(tmp_path / "exports", options=SmugglerOptions(for_ravendb="without"))
    assert (second.refused, second.documents) == (1, 0)
    assert second.file
    assert b"2e999" not in gzip.decompress(Path(second.file).read_bytes())
    with pytest.raises(InvalidInput, match="no incremental export"):
        shop.export_incremental(tmp_path / "exports", options=SmugglerOptions(for_ravendb="only"))
