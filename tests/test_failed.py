"""Errors that come from another process."""

from __future__ import annotations

import msgspec
import pytest

from muniment.errors import ConcurrencyConflict, DamagedDump, InvalidInput, MunimentError, StorageFailure
from muniment.failed import Failed
from muniment.settings import InvalidSetting


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DamagedDump("what", "how to go on"), DamagedDump),
        (ConcurrencyConflict("a/1", 3, 4), ConcurrencyConflict),
        (InvalidSetting("what", "how to go on"), InvalidInput),
    ],
)
def test_an_error_is_the_same_again(error: MunimentError, kind: type[MunimentError]) -> None:
    again = msgspec.json.decode(msgspec.json.encode(Failed.of(error)), type=Failed).error()
    assert (type(again), again.message, again.hint) == (kind, error.message, error.hint)
    assert str(again) == error.message


def test_one_that_nobody_expected() -> None:
    error = Failed.of(RuntimeError("boom")).error()
    assert isinstance(error, StorageFailure)
    assert "boom" in error.message
    assert error.hint
