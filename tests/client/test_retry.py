"""What is sent again, and what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from muniment import errors
from muniment.client.retry import PAUSES, call, may_repeat
from muniment.client.wire import Request, Response, Unreachable
from muniment.errors import ServerUnavailable
from tests.client.running import Play, answer

READ = Request("GET", "/docs/a", repeatable=True)
WRITE = Request("POST", "/bulk_docs")
REFUSED = Unreachable("connection refused", sent=False)
BROKEN = Unreachable("connection reset", sent=True)
LATE = Unreachable("timed out", sent=True, late=True)
FULL = Response(503, {"Retry-After": "1"}, b"{}")
LOADING = Response(503, {"Raven-Database-Load-In-Progress": "x"}, b"{}")
OK = answer({})


@pytest.mark.parametrize(
    ("outcome", "read", "write"),
    [
        (REFUSED, True, True),
        (Unreachable("no connection in time", sent=False, late=True), True, True),
        (BROKEN, True, False),
        (LATE, False, False),
        (LOADING, True, False),
        (FULL, True, True),
        (Response(503, {}), False, False),
        (Response(500, {}), False, False),
        (Response(404, {}), False, False),
    ],
)
def test_what_may_be_sent_again(outcome: Response | Unreachable, read: bool, write: bool) -> None:
    assert may_repeat(READ, outcome) is read
    assert may_repeat(WRITE, outcome) is write


def test_an_answer_that_comes_later() -> None:
    play = Play()
    assert play.run(call(READ, 200), REFUSED, BROKEN, LOADING, OK) == replace(OK, repeated=True)
    assert play.requests == [READ] * 4
    assert play.pauses == list(PAUSES)


def test_an_answer_to_what_was_sent_once_only() -> None:
    assert Play().run(call(WRITE, 200), REFUSED, OK) == OK


def test_a_server_without_room_is_left_alone_for_as_long_as_it_says() -> None:
    play = Play()
    assert play.run(call(WRITE, 200), FULL, Response(503, {"Retry-After": "3600"}), OK) == OK
    assert play.pauses == [1.0, 5.0]
    stream = replace(WRITE, body=iter([b"x"]))
    with pytest.raises(errors.Busy):
        Play().run(call(stream, 200), FULL)


def test_it_gives_up() -> None:
    play = Play()
    with pytest.raises(ServerUnavailable, match=r"does not answer: connection refused") as error:
        play.run(call(WRITE, 200), lambda _: REFUSED)
    assert "start the server" in error.value.hint
    assert len(play.requests) == len(PAUSES) + 1


def test_a_write_that_may_have_been_done_is_not_repeated() -> None:
    play = Play()
    with pytest.raises(ServerUnavailable, match=r"broke the connection") as error:
        play.run(call(WRITE, 200), BROKEN)
    assert "look whether it was done" in error.value.hint
    assert play.pauses == []


def test_an_answer_in_time_is_not_waited_for_again() -> None:
    with pytest.raises(ServerUnavailable, match=r"took too long"):
        Play().run(call(READ, 200), LATE)


def test_a_database_that_goes_on_loading() -> None:
    with pytest.raises(errors.Busy):
        Play().run(call(READ, 200), lambda _: LOADING)


def test_statuses_that_are_expected_are_answers() -> None:
    missing = Response(404, {})
    assert Play().run(call(READ, 200, 404), missing) == missing
