"""One definition is a method that gives its result, and one that is awaited."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from muniment.faces import Awaiting, Blocking, Steps, both


class Sums:
    def __init__(self, read: Callable[[str], Any]) -> None:
        self.read = read

    @both
    def total(self, names: list[str], *, start: int = 0) -> Steps[int]:
        """The sum of what these names stand for, those that stand for nothing left out."""
        for name in names:
            try:
                start += yield partial(self.read, name)
            except KeyError:
                continue
        return start


class Now(Sums, Blocking):
    pass


class Later(Sums, Awaiting):
    pass


VALUES = {"a": 1, "b": 2}


async def later(name: str) -> int:
    await asyncio.sleep(0)
    return VALUES[name]


def test_both_faces_give_the_same() -> None:
    assert Now(VALUES.__getitem__).total(["a", "none", "b"], start=4) == 7
    assert asyncio.run(Later(later).total(["a", "none", "b"], start=4)) == 7


def test_what_a_step_raises_is_raised_in_the_method_and_then_by_it() -> None:
    def broken(name: str) -> int:
        raise OSError(name)

    async def broken_later(name: str) -> int:
        return broken(name)

    with pytest.raises(OSError, match="a"):
        Now(broken).total(["a"])
    with pytest.raises(OSError, match="a"):
        asyncio.run(Later(broken_later).total(["a"]))


def test_nothing_happens_before_it_is_awaited() -> None:
    seen: list[str] = []

    async def note(name: str) -> int:
        seen.append(name)
        return 0

    waiting = Later(note).total(["a"])
    assert seen == []
    asyncio.run(waiting)
    assert seen == ["a"]


def test_a_method_can_be_looked_at() -> None:
    for face in (Now, Later):
        assert str(inspect.signature(face.total)) == "(self, names: 'list[str]', *, start: 'int' = 0) -> 'int'"
        assert (face.total.__doc__ or "").startswith("The sum of what these names stand for")
        assert face.total.__name__ == "total"
