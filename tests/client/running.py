"""Runs a flow with answers that a test has made up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from muniment.client.wire import Flow, Pause, Request, Response, Unreachable
from muniment.document import encode

T = TypeVar("T")
Answer = Response | Unreachable


@dataclass
class Play:
    """The requests that a flow has made, and how long it wanted to wait."""

    requests: list[Request] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def run(self, flow: Flow[T], *answers: Answer | Callable[[Request], Answer]) -> T:
        """The result of the flow when it gets these answers, each of which it must ask for; the last one is repeated
        for ever if it is a function."""
        left = list(answers)
        outcome: Answer | None = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as end:
                assert not [answer for answer in left if not callable(answer)], "some answers were not asked for"
                result: T = end.value
                return result
            if isinstance(step, Pause):
                self.pauses.append(step.seconds)
                outcome = None
                continue
            self.requests.append(step)
            answer = left[0] if callable(left[0]) else left.pop(0)
            outcome = answer(step) if callable(answer) else answer

    def answering(self, *answers: Answer | Callable[[Request], Answer]) -> Answering:
        """What a client takes for its transport: each flow gets these answers."""
        return Answering(self, answers)


@dataclass
class Answering:
    play: Play
    answers: tuple[Answer | Callable[[Request], Answer], ...]

    def run(self, flow: Flow[T]) -> T:
        return self.play.run(flow, *self.answers)


def answer(value: Any = None, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with a value as JSON, or with these very bytes."""
    return Response(status, headers or {}, value if isinstance(value, bytes) else encode(value))
