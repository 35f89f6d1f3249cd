"""The line on a terminal that shows how far a job is."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING, Final

from muniment.cli.interrupts import interrupts
from muniment.cli.output import aside, speed_text
from muniment.later import Later
from muniment.progress import Progress

if TYPE_CHECKING:
    from rich import live as rich_live
    from rich import progress_bar as rich_bar
    from rich import table as rich_table
    from rich import text as rich_text
else:
    rich_live, rich_bar = Later("rich.live"), Later("rich.progress_bar")
    rich_table, rich_text = Later("rich.table"), Later("rich.text")

REFRESHES_PER_SECOND: Final = 8


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
    live = rich_live.Live(Bar(progress), console=console, refresh_per_second=REFRESHES_PER_SECOND, transient=True)
    live.start()
    try:
        yield say
    finally:
        live.stop()


class Bar:
    """Draws a `Progress` as it is at this moment: stage, bar, documents, MB/s and the time left."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __rich__(self) -> rich_table.Table:
        progress = self._progress
        line = rich_table.Table.grid(padding=(0, 2), expand=False)
        stage = "stopping" if interrupts.received else progress.stage or "starting"
        bar = rich_bar.ProgressBar(1.0, self.fraction or 0.0, width=24, pulse=self.fraction is None)
        line.add_row(
            rich_text.Text(f"{stage:19}", no_wrap=True),
            bar,
            *(rich_text.Text(text, no_wrap=True) for text in self.texts()),
        )
        return line

    @property
    def fraction(self) -> float | None:
        """How much is done, from 0 to 1, None while nobody knows how much there is."""
        progress = self._progress
        if progress.total_bytes:
            return min(progress.bytes / progress.total_bytes, 1.0)
        if progress.total_documents:
            return min(progress.documents / progress.total_documents, 1.0)
        return None

    def texts(self) -> list[str]:
        """What stands behind the bar."""
        progress = self._progress
        total = "" if progress.total_documents is None else f"/{progress.total_documents:,}"
        texts = [f"{progress.documents:,}{total} documents"]
        if rate := speed_text(progress.bytes, progress.seconds):
            texts.append(rate)
        if self.fraction and self.fraction < 1:
            left = ceil(progress.seconds * (1 / self.fraction - 1))
            texts.append(f"{left // 60}:{left % 60:02} left")
        return texts
