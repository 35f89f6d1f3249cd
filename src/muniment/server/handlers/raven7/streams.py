"""Which streams RavenDB 7's clients are answered."""

from __future__ import annotations

from muniment.server.wire import Refused


def check_format(format: str | None) -> None:
    """Raises `Refused` (501) for another format than this one."""
    if format != "jsonl":
        raise Refused(501, f"streams are not answered in the format {format}", "say format=jsonl")
