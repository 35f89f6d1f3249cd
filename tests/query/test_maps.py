"""The maps of RavenDB's indexes that are projections."""

from __future__ import annotations

import pytest

from muniment.query.maps import Joined, Map, NoProjection, Path, Several, Unknown, map_of

TICKS = '((DateTime)doc["@metadata"]["Last-Modified"]).Ticks'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "from d in docs.Orders select new { d.Company, City = d.ShipTo.City }",
            Map("Orders", {"Company": Path(("Company",)), "City": Path(("ShipTo", "City"))}),
        ),
        (
            (
                'from doc in docs select new{Tag = doc["@metadata"]["Raven-Entity-Name"],'
                'LastModified = (DateTime)doc["@metadata"]["Last-Modified"],'
                f"Ticks = {TICKS}}}"
            ),
            Map(
                None,
                {
                    "Tag": Path(("@metadata", "Raven-Entity-Name")),
                    "LastModified": Path(("@metadata", "@last-modified")),
                    "Ticks": Unknown(TICKS),
                },
            ),
        ),
        (
            'from d in docs["My Orders"] select new { Text = (d.A + " ") + d.B };',
            Map("My Orders", {"Text": Joined((Path(("A",)), " ", Path(("B",))))}),
        ),
        (
            "docs.Songs.Select((s) => new { All = new object[] { s.A, ((object)s.B) }, Id = s.__document_id })",
            Map("Songs", {"All": Several((Path(("A",)), Path(("B",)))), "Id": Path(("@id",))}),
        ),
        (
            "from d in docs.A select new { n = d.L.Count, m = d.L.Sum(x => x.B), Count = d.Count } // why",
            Map("A", {"n": Unknown("d.L.Count"), "m": Unknown("d.L.Sum(x => x.B)"), "Count": Path(("Count",))}),
        ),
        (
            (
                'from d in docs.A select new { p = d.L.Select(x => x.B), q = d["L"].SelectMany((x) => x.M.Select(y=>'
                "y.C.D)), r = d.L.Select(x => d.B), s = d.L.Select(x => x), t = d.L.Select(x => x.B).Count }"
            ),
            Map(
                "A",
                {
                    "p": Path(("L", "B")),
                    "q": Path(("L", "M", "C", "D")),
                    "r": Unknown("d.L.Select(x => d.B)"),
                    "s": Unknown("d.L.Select(x => x)"),
                    "t": Unknown("d.L.Select(x => x.B).Count"),
                },
            ),
        ),
    ],
)
def test_projections(text: str, found: Map) -> None:
    assert map_of(text) == found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "ends too early"),
        ("map('Orders', o => ({}))", "'map' at character 1"),
        ("from d in docs.A where d.B select new { d.B }", "'where' at character 18"),
        ("from d in docs.A let b = d.B select new { b }", "'let' at character 18"),
        ("from d in docs.A select new { d.A", "ends too early"),
        ("from d in docs.A select new { d.A + d.B }", "'}' at character"),
        ("from d in docs.A select new { d.A } + 1", r"'\+' at character 37"),
        ("from d in docs.A select new { A = " + "(" * 50_000, "ends too early"),
        ("x" * 100_000, "longer than 64 KiB"),
    ],
)
def test_what_is_more(text: str, reason: str) -> None:
    with pytest.raises(NoProjection, match=reason):
        map_of(text)
