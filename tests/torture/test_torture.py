"""A dozen faults of each kind, the same ones every time; `make torture` injects others as long as one likes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.__main__ import COLUMNS, KINDS, Tally, prepared, run_case, table, why_not
from tests.torture.verdict import DEFECTS, Outcome

SEED = 1
CASES = dict.fromkeys(KINDS, 12) | {"kills": 6, "faults of a server": 4}


@pytest.mark.parametrize("kind", KINDS)
def test_no_fault_does_harm(kind: str, tmp_path: Path) -> None:
    if reason := why_not(kind):
        pytest.skip(reason)
    with prepared(kind, tmp_path / "place") as case:
        verdicts = [run_case(case, kind, SEED, number, tmp_path / "place") for number in range(CASES[kind])]
    assert [verdict for verdict in verdicts if verdict.outcome in DEFECTS] == []


def test_the_table_has_a_row_for_each_kind() -> None:
    tally = Tally("flips", 7)
    tally.outcomes.update([Outcome.FOUND, Outcome.FOUND, Outcome.LOST])
    lines = table([tally]).splitlines()
    assert [cell.strip() for cell in lines[0].split("|")] == list(COLUMNS)
    assert [cell.strip() for cell in lines[2].split("|")] == ["flips", "7", "3", "2", "0", "0", "1", "0"]
