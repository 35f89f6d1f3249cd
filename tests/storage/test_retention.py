"""What the settings say of history, and what may be forgotten: tables, for no file is touched."""

from __future__ import annotations

import pytest

from muniment.errors import InvalidInput
from muniment.storage.retention import History, changed_settings, check_settings, expiry_limit, history_of, purge_limit


@pytest.mark.parametrize(
    ("settings", "history"),
    [
        ({}, History(False, 0)),
        ({"Muniment/History": "true"}, History(True, 0)),
        ({"muniment/HISTORY": " True "}, History(True, 0)),
        ({"Muniment/History": "true", "Muniment/HistoryWindow": "7d"}, History(True, 7 * 86400)),
        ({"Muniment/HistoryWindow": "90 m"}, History(False, 5400)),
        ({"Raven/Esent/CircularLog": "false"}, History(True, 0)),
        ({"Raven/Esent/CircularLog": "true"}, History(False, 0)),
        ({"Raven/Voron/AllowIncrementalBackups": "true"}, History(True, 0)),
        ({"Raven/Voron/AllowIncrementalBackups": "true", "Muniment/History": "false"}, History(False, 0)),
        ({"Raven/DataDir": "~/shop"}, History(False, 0)),
        ({"Muniment/TombstoneWindow": "90d"}, History(False, 0, 90 * 86400)),
        ({"muniment/tombstonewindow": "0s", "Muniment/History": "true"}, History(True, 0, 0)),
    ],
)
def test_settings(settings: dict[str, str], history: History) -> None:
    assert history_of(settings) == history


@pytest.mark.parametrize(
    "settings",
    [{"Muniment/History": "yes"}, {"Muniment/HistoryWindow": "a week"}, {"Muniment/TombstoneWindow": "for ever"}],
)
def test_settings_that_make_no_sense(settings: dict[str, str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        history_of(settings)
    assert caught.value.hint
    assert next(iter(settings)) in caught.value.message


@pytest.mark.parametrize(
    ("settings", "said", "hint"),
    [
        ({"Muniment/Histroy": "true"}, "Muniment/Histroy", "Muniment/History?"),
        ({"Muniment.History": "true"}, "Muniment.History", "Muniment/History?"),
        ({"muniment/tombstonewindows": "7d"}, "tombstonewindows", "Muniment/TombstoneWindow?"),
        ({"Muniment/Colour": "red"}, "Muniment/Colour", "Muniment/HistoryWindow"),
        ({"Muniment/HistoryWindow": "7d"}, "Muniment/HistoryWindow", "Muniment/History=true"),
        ({"Muniment/History": "false", "Muniment/HistoryWindow": "7d"}, "no history is kept", "remove"),
        ({"Muniment/History": True}, "Muniment/History", "'true'"),
        ({"Muniment/History": "perhaps"}, "Muniment/History", "true or false"),
        ({"Muniment/History": "true", "muniment/history": "false"}, "twice", "once"),
        ({7: "true"}, "7", "write"),
    ],
)
def test_settings_that_would_do_nothing(settings: dict[str, str], said: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_settings(settings)
    assert said in caught.value.message
    assert hint in caught.value.hint


def test_settings_of_others_are_theirs() -> None:
    check_settings(
        {"Raven/DataDir": "~/shop", "Mine": "kept", "History": "of the town", "Muniment/HistoryWindow": "0s"}
    )
    check_settings({"Raven/Esent/CircularLog": "false", "Muniment/HistoryWindow": "7d"})


def test_changes_are_merged_by_names_without_case() -> None:
    present = {"Mine": "kept", "muniment/history": "true"}
    assert changed_settings(present, {"Muniment/History": "false"}) == {"Mine": "kept", "Muniment/History": "false"}
    assert changed_settings(present, {"MUNIMENT/HISTORY": None}) == {"Mine": "kept"}
    assert changed_settings(present, {"Other": "new"}, replace=True) == {"Other": "new"}
    assert changed_settings(present, {}) == present
    with pytest.raises(InvalidInput):
        changed_settings(present, {"Muniment/HistoryWindow": "7d", "muniment/history": None})


@pytest.mark.parametrize(
    ("kept", "pins", "backed_up", "before_window", "limit"),
    [
        (False, [], 0, 0, 100),
        (False, [40, 70], 0, 0, 40),
        (True, [], 0, 100, 0),
        (True, [], 60, 100, 60),
        (True, [], 60, 50, 50),
        (True, [20], 60, 50, 20),
    ],
)
def test_purge_limit(kept: bool, pins: list[int], backed_up: int, before_window: int, limit: int) -> None:
    found = purge_limit(History(kept), newest=100, pins=pins, backed_up=backed_up, before_window=before_window)
    assert found == limit


@pytest.mark.parametrize(
    ("purged_to", "backed_up", "before_window", "limit"),
    [(100, None, 100, 99), (100, None, 50, 50), (40, None, 50, 40), (100, 30, 50, 30), (100, 0, 50, 0), (-1, 9, 9, -1)],
)
def test_expiry_limit(purged_to: int, backed_up: int | None, before_window: int, limit: int) -> None:
    found = expiry_limit(purged_to=purged_to, newest=100, backed_up=backed_up, before_window=before_window)
    assert found == limit
