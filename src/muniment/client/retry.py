"""When a request is sent again, and how long that is waited for.

Sent again is what the server cannot have got (the connection was refused, or could not be made), what it had no room
for and asks to be sent again (503 with Retry-After), and what may be done twice (`Request.repeatable`: reads, and
writes that name the etag they expect) when the connection broke, or the server says that the database is being
loaded. A request that took too long is not: it would only add to the load.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from muniment.client.failure import failure
from muniment.client.wire import Flow, Pause, Request, Response, Unreachable
from muniment.errors import ServerUnavailable
from muniment.raven3.headers import LOADING

RETRY_AFTER: Final = "Retry-After"
LONGEST: Final = 5.0
PAUSES: Final = (0.1, 0.3, 0.9)  # seconds, before the second, third and fourth time

_log = logging.getLogger("muniment.client")


def call(request: Request, *statuses: int) -> Flow[Response]:
    """Have a request answered with one of these statuses, sending it again where that is safe.

    Raises the error that any other status means, or `ServerUnavailable`.
    """
    pauses, sent = iter(PAUSES), False
    while True:
        outcome = yield request
        assert outcome is not None
        if isinstance(outcome, Response) and outcome.status in statuses:
            return replace(outcome, repeated=sent)
        sent = sent or (isinstance(outcome, Unreachable) and outcome.sent)
        pause = next(pauses, None) if may_repeat(request, outcome) else None
        if pause is None:
            raise failure(request, outcome) if isinstance(outcome, Response) else unavailable(request, outcome)
        _log.info("%s %s again in %.1f s: %s", request.method, request.target, pause, _reason(outcome))
        yield Pause(max(pause, _wish(outcome)))


def may_repeat(request: Request, outcome: Response | Unreachable) -> bool:
    """Whether this request may be sent again after that came of it."""
    if isinstance(outcome, Response):
        if outcome.status == 503 and RETRY_AFTER in outcome.headers:
            return request.body is None or isinstance(request.body, bytes)
        return request.repeatable and outcome.status == 503 and LOADING in outcome.headers
    return not outcome.sent or (request.repeatable and not outcome.late)


def unavailable(request: Request, outcome: Unreachable) -> ServerUnavailable:
    """The error for a request without an answer."""
    what = "took too long to answer" if outcome.late else "broke the connection" if outcome.sent else "does not answer"
    hint = "start the server, or check the URL"
    if outcome.sent:
        hint = "try again" if request.repeatable else "look whether it was done before you repeat it: that is not known"
    return ServerUnavailable(f"the server {what}: {outcome.reason}", hint)


def _wish(outcome: Response | Unreachable) -> float:
    """How long the server wants to be left alone, in seconds."""
    text = outcome.headers.get(RETRY_AFTER, "") if isinstance(outcome, Response) else ""
    return min(float(text), LONGEST) if text.isascii() and text.isdigit() else 0.0


def _reason(outcome: Response | Unreachable) -> str:
    return f"status {outcome.status}" if isinstance(outcome, Response) else outcome.reason
