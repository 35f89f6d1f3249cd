"""The line on a terminal that shows how far a job is."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from muniment.amounts import count_text, speed_text
from muniment.cli.interrupts import interrupts
from muniment.cli.output import aside
from muniment.later import Later
from muniment.progress import Counts, Progress

if TYPE_CHECKING:
    from rich import console as rich_console
    from rich import live as rich_live
    from rich import progress as rich_progress
    from rich import text as rich_text
else:
    rich_live, rich_progress, rich_text = Later("rich.live"), Later("rich.progress"), Later("rich.text")

REFRESHES_PER_SECOND: Final = 8
BAR_WIDTH: Final = 24
WIDE: Final = 90  # columns that everything fits into


@contextmanager
def job(progress: Progress, *, quiet: bool) -> Iterator[None]:
    """Within it, the job is shown if stderr is a terminal, and Ctrl-C asks it to stop."""
    with interrupts.cancel(progress), showing(progress, quiet=quiet):
        yield


@contextmanager
def showing(progress: Progress, *, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Within it, the line is there; after it, it is gone and the result can be printed in its place.

    Gives what prints a message on stderr, above the line if there is one.
    """
    if quiet:
        yield lambda _: None
        return
    console = aside()

    def say(message: str) -> None:
        console.print(rich_text.Text(message))

    if not sys.stderr.isatty() or os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        yield say
        return
    bar = Bar(progress, console.width)
    live = rich_live.Live(bar, console=console, refresh_per_second=REFRESHES_PER_SECOND, transient=True)
    live.start()
    try:
        yield say
    finally:
        live.stop()


class Bar:
    """Draws a `Progress` as it is at this moment: stage, bar, documents, speed and the time left.

    Where the line has no room for all of it, bar and speed are what can be done without.
    """

    def __init__(self, progress: Progress, width: int) -> None:
        self._progress = progress
        texts = [rich_progress.TextColumn(f"{{task.fields[{name}]}}") for name in ("stage", "count", "speed", "left")]
        stage, count, speed, left = texts
        wide = (stage, rich_progress.BarColumn(BAR_WIDTH), count, speed, left)
        self._drawn = rich_progress.Progress(*(wide if width >= WIDE else (stage, count, left)))
        self._task = self._drawn.add_task("", stage="", count="", speed="", left="")

    def __rich__(self) -> rich_console.RenderableType:
        counts = self._progress.counts
        done, total = counts.bytes, counts.total_bytes
        if not total:  # and it is counted in documents; while nobody knows how many there are, the bar pulses
            done, total = counts.documents, counts.total_documents
        seconds = self._drawn.tasks[self._task].time_remaining
        self._drawn.update(
            self._task,
            completed=done,
            total=total or None,
            stage=f"{'stopping' if interrupts.received else self._progress.stage or 'starting':19}",
            count=_count(counts),
            speed=speed_text(counts.bytes, self._progress.seconds),
            left="" if not seconds else f"{int(seconds // 60)}:{int(seconds % 60):02} left",
        )
        return self._drawn.get_renderable()


def _count(counts: Counts) -> str:
    if counts.total_documents is None:
        return count_text(counts.documents, "document") if counts.documents else ""
    return f"{counts.documents:,}/{count_text(counts.total_documents, 'document')}"
