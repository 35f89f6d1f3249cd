"""One definition for what is called from threads and for what is awaited in asyncio.

Such a method is written once, as a generator of steps that returns its result, and decorated with `both`. In a class
that is `Blocking` a call of it gives the result, in one that is `Awaiting` it has to be awaited.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Generator
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeAlias, TypeVar, cast, overload

P = ParamSpec("P")
R = TypeVar("R")

Steps: TypeAlias = Generator[Callable[[], Any], Any, R]
"""Gives what is to be called, gets its result, or its error thrown in, and returns what all of it comes to."""


class Blocking:
    """Its methods give their results."""

    def _run(self, steps: Steps[R]) -> R:
        try:
            step = next(steps)
            while True:
                try:
                    answer = step()
                except Exception as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            result: R = end.value
            return result


class Awaiting:
    """Its methods have to be awaited, and so has what a step gives."""

    async def _run(self, steps: Steps[R]) -> R:
        try:
            step = next(steps)
            while True:
                try:
                    answer = await step()
                except Exception as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            result: R = end.value
            return result


class Both(Generic[P, R]):
    """What a type checker sees of a method that `both` has decorated; really it is a function."""

    @overload
    def __get__(self, face: Blocking, owner: object = None) -> Callable[P, R]: ...

    @overload
    def __get__(self, face: Awaiting, owner: object = None) -> Callable[P, Coroutine[Any, Any, R]]: ...

    @overload
    def __get__(self, face: None, owner: object = None) -> Callable[Concatenate[Any, P], Any]: ...

    def __get__(self, face: object, owner: object = None) -> Any:
        raise NotImplementedError


def both(steps: Callable[Concatenate[Any, P], Generator[Any, Any, R]]) -> Both[P, R]:
    """A method that carries out these steps with the `_run` of its class."""

    @wraps(steps)
    def method(self: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
        return self._run(steps(self, *args, **kwargs))

    # In help() it gives what the steps return: Flow[int] is an int there.
    result = str(steps.__annotations__["return"]).partition("[")[2][:-1]
    method.__annotations__ = {**steps.__annotations__, "return": result}
    method.__signature__ = inspect.signature(steps).replace(return_annotation=result)  # type: ignore[attr-defined]
    return cast("Both[P, R]", method)
