"""`muniment help`: the page for 3 a.m. from the installed package, and the help of every command."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from importlib.resources import files
from typing import Annotated, Final

import typer

from muniment.cli.output import write
from muniment.errors import InvalidInput

WIDEST: Final = 100
_LINK: Final = re.compile(r"\[([^\]]+)\]\([^)]+\)")
_MARKS: Final = re.compile(r"\*\*|^#+ ", re.MULTILINE)


def help(
    topic: Annotated[
        list[str] | None, typer.Argument(metavar="TOPIC", help="recover, or a command; all commands if none.")
    ] = None,
) -> None:
    """Print how to bring back what was lost (`recover`), or the help of a command.

    It needs no network and no database: the page is in the package.

    $ muniment help recover
    $ muniment help smuggler out
    """
    if topic != ["recover"]:  # any other was turned into --help before it came here
        raise InvalidInput(
            f"there is no page {' '.join(topic or ())!r}",
            "the page is `muniment help recover`; all commands are in `muniment help`",
        )
    page = files("muniment.cli").joinpath("recover.md").read_text(encoding="utf-8")
    width = min(shutil.get_terminal_size().columns, WIDEST)
    write("\n".join(_lines(page, width)).encode(sys.stdout.encoding, "backslashreplace"))


def _lines(page: str, width: int) -> Iterator[str]:
    """A page of Markdown for a terminal: commands each on one line whatever the width, so that they can be copied."""
    for block in _LINK.sub(r"\1", page).strip().split("\n\n"):
        if block.startswith("```"):
            yield from (f"    {line}" for line in block.split("\n")[1:-1])
        elif block.startswith("|"):
            for row in block.split("\n")[2:]:
                said, do = (cell.strip() for cell in row.strip("| ").split(" | "))
                yield from textwrap.wrap(f"{said}: {do}", width, initial_indent="  ", subsequent_indent="      ")
        else:
            text = _MARKS.sub("", block)
            yield from textwrap.wrap(text.upper() if block.startswith("#") else text, width)
        yield ""
