"""How a query was answered, for whoever wants to know."""

from __future__ import annotations

import msgspec


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """The indexes that were used, or that every document was looked at, and why.

    `unknown` are the fields that no document that was looked at has.
    """

    indexes: tuple[str, ...] = ()
    scanned: bool = False
    why: str = ""
    unknown: tuple[str, ...] = ()
