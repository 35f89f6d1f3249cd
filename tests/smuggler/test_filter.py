"""Which documents a filter lets through: RavenDB's grammar, its paths, and how it compares."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.errors import InvalidInput
from muniment.smuggler.filter import Filter

ORDER = {
    "Company": "companies/1-A",
    "Freight": 32.5,
    "Employee": None,
    "Shipped": True,
    "ShipTo": {"City": "Reims", "Street.Name": "x", "Lines": ["59 rue de l'Abbaye", "Étage 2"]},
    "Lines": [{"Product": "products/11", "Quantity": 12}, {"Product": "products/42", "Quantity": 10}],
    "Tags": ["red", "blue, light"],
    "Typed": {"$type": "List", "$values": [{"A": 1}, {"A": 2}]},
    "Empty": [],
}
METADATA = b'{"Raven-Entity-Name":"Orders","Raven-Clr-Type":"Shop.Order, Shop","nested":{"a":[{"b":1},{"b":2}]}}'
BODY = json.dumps(ORDER, ensure_ascii=False).encode()


def accepts(text: str, *, body: bytes = BODY, metadata: bytes = METADATA, **kind: bool) -> bool:
    return Filter(text, **kind).accepts("orders/830-A", metadata, body)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Company=companies/1-A", True),
        ("Company=COMPANIES/1-a", True),
        ("company=companies/1-A", False),
        ("Company=companies/1", False),
        ("Company=companies/2,companies/1-A", True),
        ("Company=companies/*", True),
        ("Company=companies/?-A", True),
        ("Company=companies/?", False),
        ("Company=companies/2|companies/1*", True),
        ("ShipTo.City=Reims", True),
        ("ShipTo.City.More=Reims", False),
        ("ShipTo.Lines[0]=59 rue de l'abbaye", True),
        ("ShipTo.Lines[1]=étage 2", True),
        ("ShipTo.Lines[2]=x", False),
        ("ShipTo.Lines(1)=ÉTAGE 2", True),
        ("Missing=x", False),
        ("Employee=null", True),
        ("Shipped=true", True),
        ("Shipped=True", True),
        ("Freight=32.5", True),
        ("Freight=32.50", True),
        ("Freight=3.25e1", True),
        ("Freight=32.51", False),
        ("Lines,Product=products/42", True),
        ("Lines,Product=products/43", False),
        ("Lines,Quantity=1?", True),
        ("Lines[1].Product=products/42", True),
        ("Lines[0].Product=products/42", False),
        ("Lines.Product=products/42", False),
        ("Lines.Length=2", True),
        ("Lines.Count=3", False),
        ("Empty,Product=*", False),
        ("Typed,A=2", True),
        ("Tags='red,blue'", False),
        ("Tags[1]='blue, light'", True),
        ("Tags[1]=blue, light", False),
        ('Tags=*"red"*', True),
        ('Tags=\'["red","blue, light"]\'', True),
        ("Tags,x=red", False),
        ("@metadata.Raven-Entity-Name=orders", True),
        ("Company=a.*", False),
        ("Company=companies/1-A=", False),
    ],
)
def test_on_the_body(text: str, expected: bool) -> None:
    assert accepts(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Raven-Entity-Name=Orders", True),
        ("Raven-Entity-Name=Posts,Orders", True),
        ("raven-entity-name=Orders", True),
        ("@collection=Orders", True),
        ("@id=orders/*", True),
        ("@id=employees/*", False),
        ("@ID=orders/830-A", True),
        ("Raven-Clr-Type='Shop.Order, Shop'", True),
        ("Raven-Clr-Type=Shop.Order, Shop", False),
        ("nested.a,b=2", True),
        ("nested.a[1].b=1", False),
        ("@last-modified=*", False),
    ],
)
def test_on_the_metadata(text: str, expected: bool) -> None:
    assert accepts(text, on_metadata=True) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Company=companies/1-A", False),
        ("Company=companies/2", True),
        ("Missing=x", True),
        ("Lines,Product=products/42", True),  # another line differs: as in RavenDB
        ("Lines,Product=products/42,products/11", False),
        ("Lines,Product=products/*", False),
        ("Empty,Product=x", True),
    ],
)
def test_negative(text: str, expected: bool) -> None:
    assert accepts(text, negative=True) is expected


@pytest.mark.parametrize(
    "text",
    ["", "=", "Name", "=x", "Name=", "Name=,", ",=x", "a..b=x", "a[x]=1", "a[=1", "a]=1", "a[0]b=1", "[]=1", "a.=1"],
)
def test_what_makes_no_sense(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Filter(text)
    assert repr(text) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("name", ["@etag", "@change-vector", "@flags", "@Attachments"])
def test_metadata_that_no_document_keeps(name: str) -> None:
    with pytest.raises(InvalidInput, match="does not store"):
        Filter(f"{name}=x", on_metadata=True)


@pytest.mark.parametrize(
    "text",
    ["['a.b']=x", "c['d.e'][0]=x", "c.['d.e'][0]=x", "f['g,h'].i=x", "j,['k.l']=x", "['m(n)'].o=x", "['p']=x"],
)
def test_names_with_dots(text: str) -> None:
    body = (
        b'{"a.b":"x","c":{"d.e":["x"]},"f":{"g,h":{"i":"x"}},"j":[{"k.l":"y"},{"k.l":"x"}],"m(n)":{"o":"x"},"p":"x",'
        b'"a":{"b":"no"}}'
    )
    assert accepts(text, body=body)
    assert not accepts(text.replace("=x", "=z"), body=body)
    assert accepts("['Owner.Name']=me", metadata=b'{"Owner.Name":"me"}', on_metadata=True)


@pytest.mark.parametrize("text", ["['a=x", "['a.b'=x", "a['b'c=x"])
def test_names_whose_brackets_do_not_end(text: str) -> None:
    with pytest.raises(InvalidInput):
        Filter(text)


def test_half_a_surrogate_pair_somewhere_does_not_matter() -> None:
    body = b'{"other":"\\ud800","a":[{"b":"x","c":"\\ud83d\\ude00"}],"n":[1,"\\udfff"],"o":{}}'
    metadata = b'{"half":"\\ud800","Raven-Entity-Name":"As"}'
    for text in ("a,b=x", "a[0].b=x", "a,c=😀", "n[0]=1", "n.Length=2", 'a=*"b"*'):
        assert accepts(text, body=body), text
    assert accepts("@collection=As", metadata=metadata, on_metadata=True)


def test_numbers_that_python_has_no_value_for() -> None:
    body = b' {"n":%s,"e":1e999999,"a":1}' % (b"9" * 6000)
    assert accepts("a=1", body=body)
    assert accepts("n=9*", body=body)
    assert accepts("e=1E999999", body=body)
    assert not accepts("a=NaN,Infinity", body=body)


_names = st.text(st.characters(exclude_characters=".,=[]()'\\|*?", exclude_categories=["Cs"]), min_size=1, max_size=5)
_values = st.text(st.characters(exclude_characters="'|*?,", exclude_categories=["Cs"]), min_size=1)
_scalars = st.none() | st.booleans() | st.integers() | _values


@given(path=st.lists(_names.filter(str.strip), min_size=1, max_size=4), value=_scalars, other=_values)
def test_what_stands_at_a_path_is_found(path: list[str], value: Any, other: str) -> None:
    path = [name.strip() for name in path]
    document = value
    for name in reversed(path):
        document = {name: document}
    body = json.dumps(document).encode()
    text = value if isinstance(value, str) else json.dumps(value)
    if path[0].lower() != "@metadata":
        assert accepts(f"{'.'.join(path)}='{text}'", body=body)
        assert not accepts(f"{'.'.join(path)}='{text}'", body=body, negative=True)
        if type(value) is not int:  # 00 is the number 0 in another spelling
            assert accepts(f"{'.'.join(path)}='{other}{text}'", body=body) is (other == "" or other + text == text)
