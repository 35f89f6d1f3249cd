"""What was found of something longer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Generic, TypeVar

from muniment.errors import InvalidInput

PAGE: Final = 25
LONGEST: Final = (1 << 63) - 1

T = TypeVar("T")


class Page(list[T], Generic[T]):
    """A list that knows whether it was cut: `more` says that there is something after it."""

    def __init__(self, items: Iterable[T] = (), *, more: bool = False) -> None:
        super().__init__(items)
        self.more = more

    @classmethod
    def cut(cls, found: Sequence[T], limit: int) -> Page[T]:
        """The first so many of what was found when one more was asked for."""
        return cls(found[:limit], more=len(found) > limit)


def one_more(limit: int) -> int:
    """How many to ask for, so as to know whether there are more than `limit`."""
    return min(limit + 1, LONGEST)


def check_page(start: int, limit: int) -> None:
    """Raises `InvalidInput` when a page cannot be that."""
    for number in (start, limit):
        if type(number) is not int or not 0 <= number < 1 << 63:
            raise InvalidInput(
                f"a page cannot start at {start!r} or have {limit!r} documents", "use whole numbers from 0 to 2^63-1"
            )
