"""What a shell is told that could be typed next: nothing that takes longer than a moment, and no error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import typer

from muniment.cli.profile import address
from muniment.errors import MunimentError

PATIENCE: Final = 0.1  # seconds
_KINDS: Final = (".full", ".incremental")


def backup_names(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """The backups in the folder that stands on the line."""
    for place in _named(ctx):
        with suppress(OSError):
            for each in sorted(Path(place).iterdir()):
                if each.name.startswith(incomplete) and each.name.endswith(_KINDS):
                    yield each.name


def database_names(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """The databases of the server that stands on the line, or of the usual one; only of one that asks for no key."""
    from http.client import HTTPConnection, HTTPException  # here: it loads as long as all else that completes a line

    with suppress(MunimentError, OSError, ValueError, HTTPException):
        parts = urlsplit(next((each for each in _named(ctx) if "://" in each), None) or address())
        if parts.scheme == "http" and parts.hostname:
            connection = HTTPConnection(parts.hostname, parts.port or 80, timeout=PATIENCE)
            try:
                connection.request("GET", f"{parts.path.partition('/databases')[0].rstrip('/')}/databases")
                names = json.loads(connection.getresponse().read(1 << 20))
            finally:
                connection.close()
            yield from (name for name in names if isinstance(name, str) and name.startswith(incomplete))


def _named(ctx: typer.Context) -> list[str]:
    """What stands on the line for a place: typer parses it up to the option that still wants its value."""
    parsed: list[Any] = [ctx.params.get(name) for name in ("source", "dest", "place", "folder", "url")]
    return [str(each) for each in (*parsed, *ctx.args) if each]


def policies(incomplete: str) -> Iterator[str]:
    """What --on-conflict may say."""
    yield from (each for each in ("skip", "overwrite", "fail") if each.startswith(incomplete))
