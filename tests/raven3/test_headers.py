"""Metadata as headers, and headers as metadata."""

from __future__ import annotations

from muniment.raven3.headers import metadata_headers, metadata_of


def test_headers_are_metadata() -> None:
    headers = [
        ("raven-entity-name", "Orders"), ("x-%c3%a4", "%C3%A4"), ("list", '["a", 1]'), ("bad-list", "[1"),
        ("twice", "1"),
        ("twice", "2"), ("twice", "3"), ("content-length", "2"), ("raven-client-version", "3.5"),
        ("if-none-match", "x"),
    ]  # fmt: skip
    assert metadata_of(headers) == {
        "Raven-Entity-Name": "Orders",
        "X-Ä": "ä",
        "List": ["a", 1],
        "Bad-List": "[1",
        "Twice": ["1", "2", "3"],
    }


def test_metadata_comes_back_from_headers() -> None:
    metadata = (
        b'{"Name":"J\\u00fcrgen \\"x\\"","Percent":"50%","Blank":" x ","Text":"plain, text","Brace":"{x","Empty":""}'
    )
    assert metadata_of(metadata_headers(metadata)) == {
        "Name": 'Jürgen "x"', "Percent": "50%", "Blank": " x ", "Text": "plain, text", "Brace": "{x", "Empty": "",
    }  # fmt: skip
