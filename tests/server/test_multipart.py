"""Bodies of several parts, cut anywhere."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest

from muniment.errors import InvalidDocument
from muniment.server.inserting import elements
from muniment.server.multipart import Multipart, boundary_of
from muniment.server.wire import CutShort, Refused

CONTENTS = [b"", b"plain", b"\r\n--", b"--b\r\n--bb-\r\n--", b"\r\n\r\n", bytes(range(256)) * 3]
BODY = (
    b"passed over\r\n"
    + b"".join(
        b'--bound\r\nContent-Disposition: form-data; name="n%d"\r\n\r\n%s\r\n' % each for each in enumerate(CONTENTS)
    )
    + b"--bound--\r\nand this"
)


def cut(body: bytes, size: int) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 64, 5000])
def test_parts_come_out_as_they_went_in(size: int) -> None:
    chunks = cut(BODY, size)
    found = [
        (part.headers.get_param("name", header="content-disposition"), b"".join(part.chunks))
        for part in Multipart(chunks, b"bound")
    ]
    assert found == [(f"n{number}", content) for number, content in enumerate(CONTENTS)]
    assert next(chunks, None) is None  # all of it was taken


def test_parts_that_nobody_reads_are_passed_over() -> None:
    assert len(list(Multipart(cut(BODY, 5), b"bound"))) == len(CONTENTS)


@pytest.mark.parametrize("body", [b"--b\r\n\r\n1\r\n--b--\r\n", b"--b\r\nX: y\r\n\r\n1\r\n--b--"])
def test_headers_may_be_none_and_the_end_may_be_bare(body: bytes) -> None:
    assert [b"".join(part.chunks) for part in Multipart(cut(body, 4), b"b")] == [b"1"]


def test_every_cut_short_body_is_noticed() -> None:
    end = BODY.index(b"--bound--") + len(b"--bound--")
    for length in range(end):
        parts = (b"".join(part.chunks) for part in Multipart(cut(BODY[:length], 1000), b"bound"))
        with pytest.raises(CutShort):
            list(parts)


@pytest.mark.parametrize(
    "body", [b"--b!\r\n\r\n1\r\n--b--", b"--b\r\n\r\n1\r\n--bad--", b"--b\r\n" + b"X: y\r\n" * 5000]
)
def test_what_is_no_part_is_refused(body: bytes) -> None:
    with pytest.raises(Refused):
        list(Multipart(cut(body, 1000), b"b"))


def test_the_boundary_is_what_the_header_says() -> None:
    assert boundary_of('multipart/form-data; boundary="a b"') == b"a b"
    with pytest.raises(Refused, match="no boundary"):
        boundary_of("multipart/form-data")


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_the_elements_of_an_array_come_one_by_one(size: int) -> None:
    items = [b'{"a": "]}\\"[{"}', b"{}", b'{"b":[{}, {"c":null}]}']
    array = b" [ " + b" , ".join(items) + b"\n]"
    assert list(elements(cut(array, size))) == items
    assert list(elements(cut(b"[]", size))) == []
    for length in range(len(array)):
        with pytest.raises(CutShort):
            list(elements(cut(array[:length], size)))


@pytest.mark.parametrize("array", [b"{}", b"[1]", b"[{} {}]", b"[{},]", b"[,{}]"])
def test_what_is_no_array_of_objects(array: bytes) -> None:
    with pytest.raises(InvalidDocument):
        list(elements(iter([array])))


def test_white_space_between_commands_takes_no_memory() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"["
        for _ in range(256):
            yield b" " * (1 << 16)
        yield b'{"Id":"a"}'
        for _ in range(256):
            yield b"\n" * (1 << 16)
        yield b"]"

    tracemalloc.start()
    try:
        assert list(elements(chunks())) == [b'{"Id":"a"}']
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
