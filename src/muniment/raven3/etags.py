"""Etags as RavenDB spells them: GUIDs of a type, a count of restarts, and our number in the low 64 bits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final

NO_ETAG: Final = "00000000-0000-0000-0000-000000000000"
# Stands for an etag of another server; no document ever has it, so a write that expects it always conflicts.
FOREIGN: Final = (1 << 63) - 1

_GUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


def etag_text(etag: int) -> str:
    """A document's etag, of type 01; 0, for "there must be none", is all zeros."""
    if not etag:
        return NO_ETAG
    if etag < 1 << 48:  # nearly always
        return "01000000-0000-0001-0000-%012X" % etag  # noqa: UP031 (twice as quick)
    return f"01000000-0000-0001-{etag >> 48:04X}-{etag & 0xFFFFFFFFFFFF:012X}"


def attachment_etag_text(etag: int) -> str:
    """An attachment's etag, of type 02."""
    return "02" + etag_text(etag)[2:] if etag else NO_ETAG


def parse_etag(text: str) -> int:
    """Our number, `FOREIGN` for another server's etag, 0 for all zeros; raises `ValueError` for anything else."""
    guid = _guid(text)
    return _low(guid) if guid[2:19] == "000000-0000-0001-" or guid == NO_ETAG else FOREIGN


def etag_number(text: str) -> int:
    """The low 64 bits of any etag, also of another server's; raises `ValueError` for anything else."""
    return _low(_guid(text))


def combined_etag(etags: Iterable[object]) -> str:
    """One etag for several documents, which changes when any of theirs does."""
    digest = hashlib.blake2b("|".join(map(str, etags)).encode(), digest_size=16).hexdigest().upper()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"


def _guid(text: str) -> str:
    text = text.strip().removeprefix("W/").strip('"')
    if not _GUID.fullmatch(text):
        raise ValueError(f"{text!r} is not an etag")
    return text


def _low(guid: str) -> int:
    return int(guid[19:].replace("-", ""), 16)
