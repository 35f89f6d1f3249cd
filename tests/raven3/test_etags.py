"""Etags are spelled in one way, and read in two: a server knows its own from others, a client takes any server's."""

from __future__ import annotations

import pytest

from muniment.raven3.etags import (
    FOREIGN,
    NO_ETAG,
    attachment_etag_text,
    combined_etag,
    etag_number,
    etag_text,
    parse_etag,
)
from muniment.server.wire import Refused, wanted_etag


@pytest.mark.parametrize(
    ("etag", "text"),
    [
        (1, "01000000-0000-0001-0000-000000000001"),
        (0xABCDEF0123456789, "01000000-0000-0001-ABCD-EF0123456789"),
        ((1 << 63) - 1, "01000000-0000-0001-7FFF-FFFFFFFFFFFF"),
    ],
)
def test_etags(etag: int, text: str) -> None:
    assert etag_text(etag) == text
    for spelled in (text, text.lower(), f'"{text}"', f' W/"{text}" ', "02" + text[2:]):
        assert parse_etag(spelled) == etag


@pytest.mark.parametrize(("text", "etag"), [(NO_ETAG, 0), ("01000000-0000-0002-0000-000000000001", FOREIGN)])
def test_other_etags(text: str, etag: int) -> None:
    assert parse_etag(text) == etag


@pytest.mark.parametrize("text", ["", "1", "x" * 36, "01000000-0000-0001-0000-00000000000g", "*"])
def test_what_is_no_etag(text: str) -> None:
    with pytest.raises(Refused):
        wanted_etag(text)


def test_combined_etags_depend_on_order() -> None:
    assert combined_etag([1, 2]) != combined_etag([2, 1])
    assert parse_etag(combined_etag([1])) == FOREIGN


@pytest.mark.parametrize(
    ("etag", "text"),
    [
        (0, "00000000-0000-0000-0000-000000000000"),
        (1, "01000000-0000-0001-0000-000000000001"),
        (4, "01000000-0000-0001-0000-000000000004"),
        (0xABCDEF0123456789, "01000000-0000-0001-ABCD-EF0123456789"),
        ((1 << 63) - 1, "01000000-0000-0001-7FFF-FFFFFFFFFFFF"),
    ],
)
def test_etags_of_writes(etag: int, text: str) -> None:
    assert etag_text(etag) == text
    assert etag_number(text) == etag
    assert etag_number(f' "{text.lower()}" ') == etag


def test_the_etag_of_an_attachment_has_another_type() -> None:
    assert attachment_etag_text(7) == "02000000-0000-0001-0000-000000000007"
    assert etag_number(attachment_etag_text(7)) == 7


@pytest.mark.parametrize(
    "text", ["", "7", "01000000-0000-0001-0000-00000000000", "01000000-0000-0001-0000-00000000000G"]
)
def test_what_is_no_etag_of_an_answer(text: str) -> None:
    with pytest.raises(ValueError, match=r"etag|invalid literal"):
        etag_number(text)
