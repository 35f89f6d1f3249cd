"""Change vectors: `A:12-LINEAGE` is our etag 12 in that history. Programs pass them back as they are."""

from __future__ import annotations

import re
from typing import Final

from muniment.raven3.etags import FOREIGN
from muniment.raven7.names import NODE

_PART: Final = re.compile(r"([A-Za-z]+):(\d{1,19})-([^,\s]+)", re.ASCII)


def change_vector(etag: int, lineage: str) -> str:
    """The change vector of a document or an attachment."""
    return f"{NODE}:{etag}-{lineage}"


def with_files(vector: str, etags: list[int], lineage: str) -> str:
    """What stands for a document with its attachments: another part follows, that changes when any of them does."""
    return f"{vector}, F:{sum(etags)}-{lineage}" if etags else vector


def expected_etag(text: str | None, lineage: str) -> int | None:
    """The etag that a write expects: None for any, 0 for "must not exist", `FOREIGN` for one of another history.

    Raises `ValueError` for what is no change vector.
    """
    if text is None:
        return None
    text = text.strip().strip('"').strip()
    if not text:
        return 0
    parts = [_PART.fullmatch(part.strip()) for part in text.split(",")]
    found = [part for part in parts if part]
    if len(found) < len(parts):
        raise ValueError(f"{text!r} is not a change vector")
    ours = (int(part[2]) for part in found if part[1] == NODE and part[3] == lineage)
    return min(next(ours, FOREIGN), FOREIGN)
