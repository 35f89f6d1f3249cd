from __future__ import annotations

import pytest

from muniment.query.javascript_maps import is_map, map_of
from muniment.query.maps import NoProjection, Path, Several, Unknown, Value

MAPS: list[tuple[str, str | None, dict[str, Value]]] = [
    ('map("Orders", o => ({ Company: o.Company }))', "Orders", {"Company": Path(("Company",))}),
    ("map('@all_docs', (o) => { return { A: o.A, }; });", None, {"A": Path(("A",))}),
    (
        "// of\nmap('Cu\\'s', function (c) { return { 'full name': c['full name'], City: c.Address?.City } })",
        "Cu's",
        {"full name": Path(("full name",)), "City": Path(("Address", "City"))},
    ),
    (
        "map('A', a => ({ id: id(a), tag: getMetadata(a)['@collection'], any: [a.x, a.y.z], brackets: ((a.b)) }))",
        "A",
        {
            "id": Path(("@id",)),
            "tag": Path(("@metadata", "@collection")),
            "any": Several((Path(("x",)), Path(("y", "z")))),
            "brackets": Path(("b",)),
        },
    ),
    (
        "map('A', a => ({ p: a.Lines.map(l => l.Product), q: a.L.map(function (l) { return l.M.map(m => m.n); }) }))",
        "A",
        {"p": Path(("Lines", "Product")), "q": Path(("L", "M", "n"))},
    ),
    (
        """map('A', a => ({ n: a.Lines.length, length: a.length, s: a.x + a.y, c: a.x ? a.y : 'a,}',
        d: load(a.b, 'B').C, o: { x: a.x }, f: a.x(), t: `${a.x}`, k: 1, l: a.Lines.map(l => ({ x: l.x })),
        z: a.z }))""",
        "A",
        {
            "n": Unknown("a.Lines.length"),
            "length": Path(("length",)),
            "s": Unknown("a.x + a.y"),
            "c": Unknown("a.x ? a.y : 'a,}'"),
            "d": Unknown("load(a.b, 'B').C"),
            "o": Unknown("{ x: a.x }"),
            "f": Unknown("a.x()"),
            "t": Unknown("`${a.x}`"),
            "k": Unknown("1"),
            "l": Unknown("a.Lines.map(l => ({ x: l.x }))"),
            "z": Path(("z",)),
        },
    ),
]


@pytest.mark.parametrize(("text", "collection", "fields"), MAPS)
def test_a_map_that_is_a_projection(text: str, collection: str | None, fields: dict[str, Value]) -> None:
    assert is_map(text)
    assert map_of(text) == (collection, fields)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("map('A', a => { if (a.x) return { x: a.x }; })", "'if' at character 17"),
        ("map('A', a => { let x = a.x; return { x: a.x }; })", "'let' at character 17"),
        ("map('A', a => a.Lines.map(l => ({ x: l.x })))", "'a' at character 15"),
        ("map('A', ({ x }) => ({ x }))", "'{' at character 11"),
        ("map('A', a => ({ x }))", "'}' at character 20"),
        ("map('A', a => ({ ...a }))", "'.' at character 18"),
        ("map('A', a => ({ [a.x]: a.y }))", "'[' at character 18"),
        ("map('A', function a { return { x: 1 } })", "'{'"),
        ("map('A', a => ({ x: a.x })) map('B', b => ({}))", "'map'"),
        ("map(A, a => ({ x: a.x }))", "'A' at character 5"),
        ("map('A', a => ({ x: a.x", "ends too early"),
        ("map('A'", "ends too early"),
        ("map('A', a => ({ x: " + "(" * 10_000 + "a.x", "ends too early"),
        ("map('A', a => ({ x: a.x }))" + " " * (64 << 10), "64 KiB"),
    ],
)
def test_more_than_a_projection(text: str, reason: str) -> None:
    with pytest.raises(NoProjection) as caught:
        map_of(text)
    assert reason in caught.value.message


def test_what_is_not_javascript() -> None:
    assert not is_map("from o in docs.Orders select new { o.map }")
    assert not is_map("docs.Orders.Select(o => new { o.A })")
