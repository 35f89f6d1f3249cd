"""The names and numbers that clients of RavenDB 4 and later read in answers."""

from __future__ import annotations

from typing import Final

from muniment.version import VERSION

NODE: Final = "A"  # there is one server, and it has the tag of a cluster's first node
PRODUCT: Final = "7.2"  # of whose protocol this is
BUILD: Final = 72000
FULL_VERSION: Final = f"{PRODUCT} / muniment {VERSION}"

DATABASE_MISSING: Final = "database-missing"  # the header that tells a client which database there is not
ATTACHMENT_HASH: Final = "attachment-hash"
ATTACHMENT_SIZE: Final = "attachment-size"

LATER: Final = frozenset("456789")  # the first letters of the versions of clients that speak this protocol


def is_later(version: str | None) -> bool:
    """Whether a client of this version speaks it."""
    return version is not None and version[:1] in LATER
