"""How every command comes to a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from muniment.client import DocumentStore


def store_on(url: str, database: str | None = None, *, milliseconds: int | None = None) -> DocumentStore:
    """A database of a server, or its system database; one answer may take this long, or as long as the client says."""
    from muniment.client import DocumentStore  # here: its HTTP client loads longer than most commands run
    from muniment.client.store import TIMEOUT

    return DocumentStore(url, database, timeout=TIMEOUT if milliseconds is None else milliseconds / 1000)
