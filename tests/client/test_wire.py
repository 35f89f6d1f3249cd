"""Requests as they are sent: paths, ids and etags."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.client.wire import quoted, root_of, split_url, target
from muniment.errors import InvalidInput

AWKWARD = [
    *("orders/1", "50%", "a%2Fb", "a/../b", ".", "..", "what?", "#1", "a b", " lead", "trail ", "it's", '"q"', "a+b"),
    *(
        "a&b=c",
        "a;b",
        "\x00",
        "\x07\x7f\x85",
        "a\nb",
        "back\\slash",
        "Ünï/日本語",
        "🎉",
        "e\u0301",
        "<>",
        "{id}",
        "[x]",
    ),
    *("~", "@", ":", "*", "!$'(),", "/", "//a", "a//b", "/docs/x", "?id=1", "\ufeff", "\u2028", "İ", "ß"),
]


@pytest.mark.parametrize("text", AWKWARD)
def test_an_id_is_one_segment(text: str) -> None:
    path = target("docs", text)
    head, segment = path.rsplit("/", 1)
    assert head == "/docs"
    assert unquote(segment) == text
    assert not set(segment) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~%")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_quoting_is_undone_by_unquoting(text: str) -> None:
    assert unquote(quoted(text)) == text


def test_target() -> None:
    assert target() == "/"
    assert target("databases", "my shop", "docs", query=[("id", "a/1"), ("id", "ü")]) == (
        "/databases/my%20shop/docs?id=a%2F1&id=%C3%BC"
    )
    assert target("queries", "") == "/queries/"


@pytest.mark.parametrize(
    ("url", "base", "database"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", None),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080", None),
        ("https://db.example/databases/shop", "https://db.example", "shop"),
        ("https://db.example/raven/databases/my%20shop/", "https://db.example/raven", "my shop"),
        ("http://[::1]:8080/databases/", "http://[::1]:8080", None),
    ],
)
def test_the_url_of_a_server_or_a_database(url: str, base: str, database: str | None) -> None:
    assert split_url(url) == (base, database)


@pytest.mark.parametrize(
    "url", ["", "localhost:8080", "ftp://x", "http://", "http://x:port", "http://x/?a=1", "http://[::1"]
)
def test_what_is_no_url_of_a_server(url: str) -> None:
    with pytest.raises(InvalidInput) as error:
        split_url(url)
    assert error.value.hint


def test_the_root_of_a_database() -> None:
    assert root_of("shop") == ("databases", "shop")
    assert root_of(None) == root_of("<system>") == ()
