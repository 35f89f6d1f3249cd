"""What became of one fault."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias


class Outcome(StrEnum):
    """`FOUND` and `SURVIVED` are right; the others are defects of Muniment."""

    FOUND = "found"
    """It was told as one of our errors, and what was there before is there still."""
    SURVIVED = "survived"
    """It had no effect on what is kept."""
    CRUDE = "badly told"
    """Nothing was lost, but it was told as an error of another kind, as a traceback, or never."""
    LOST = "lost"
    """Something that was acknowledged is not there, and nothing says so."""
    WRONG = "wrong"
    """Something that nobody wrote was passed on as right."""


DEFECTS = (Outcome.CRUDE, Outcome.LOST, Outcome.WRONG)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a fault, which fault it was, and what was seen."""

    outcome: Outcome
    fault: str
    seen: str = ""


Case: TypeAlias = Callable[[random.Random, Path], Verdict]
"""Inject one fault, chosen by this chance, in this empty folder. The same chance chooses the same fault."""

Kind: TypeAlias = Callable[[Path], AbstractContextManager[Case]]
"""Prepare in this folder, once, what all cases of a kind begin with."""


class Defect(Exception):
    """Raised in the middle of a case by what sees that something is not as it has to be."""

    def __init__(self, outcome: Outcome, seen: str) -> None:
        super().__init__(seen)
        self.outcome = outcome
        self.seen = seen


def judged(fault: str, work: Callable[[], tuple[Outcome, str] | Outcome]) -> Verdict:
    """The verdict of this work on this fault."""
    try:
        done: Any = work()
    except Defect as defect:
        return Verdict(defect.outcome, fault, defect.seen)
    return Verdict(done, fault) if isinstance(done, Outcome) else Verdict(done[0], fault, done[1])
