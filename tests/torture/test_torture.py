"""Some faults of each kind, the same ones every time; `make torture` injects others as long as one likes."""

from __future__ import annotations

from pathlib import Path

import pytest

from muniment.errors import StorageFailure
from tests.sampled import count, some, torture
from tests.torture import preload
from tests.torture.__main__ import COLUMNS, KINDS, Tally, prepared, run_case, table, why_not
from tests.torture.commands import COMMANDS, Command, make_template, run
from tests.torture.verdict import DEFECTS, Outcome

SEED = 1
CASES = dict.fromkeys(KINDS, count(2, whole=12)) | {"kills": count(2, whole=6), "faults of a server": count(1, whole=4)}


@torture
@pytest.mark.parametrize("kind", KINDS)
def test_no_fault_does_harm(kind: str, tmp_path: Path) -> None:
    if reason := why_not(kind):
        pytest.skip(reason)
    with prepared(kind, tmp_path / "place") as case:
        verdicts = [run_case(case, kind, SEED, number, tmp_path / "place") for number in range(CASES[kind])]
    assert [verdict for verdict in verdicts if verdict.outcome in DEFECTS] == []


def command(beginning: str) -> Command:
    return next(command for command in COMMANDS if command.arguments.startswith(beginning))


@some(2)
@pytest.mark.skipif(not preload.COMPILER, reason=why_not("faults of commands"))
@pytest.mark.parametrize(
    ("beginning", "call", "first"),
    [  # faults that were badly told once
        ("sample", "ftruncate", 1),
        ("restore backups --to again", "pwrite", 1),
        ("restore backups --to again --defrag", "pwrite", 1),
        ("restore backups --to again --defrag", "pwrite", 40),
        ("restore backups --to shop", "pwrite", 1),
    ],
)
def test_a_disk_that_fails_is_told(beginning: str, call: str, first: int, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    make_template(place)
    fault = preload.Fault(call, place, first, preload.FOREVER)
    ended = run(command(beginning), place, fault, tmp_path / "state")
    assert ended.happened.failed
    assert ended.code == StorageFailure.exit_code
    assert "could not be read or written" in ended.err


def test_the_table_has_a_row_for_each_kind() -> None:
    tally = Tally("flips", 7)
    tally.outcomes.update([Outcome.FOUND, Outcome.FOUND, Outcome.LOST])
    lines = table([tally]).splitlines()
    assert [cell.strip() for cell in lines[0].split("|")] == list(COLUMNS)
    assert [cell.strip() for cell in lines[2].split("|")] == ["flips", "7", "3", "2", "0", "0", "1", "0"]
