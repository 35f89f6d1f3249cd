"""How a query was answered, and what indexes there are, for whoever wants to know."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """The indexes that were used, or that every document was looked at, and why.

    `unknown` are the fields that no document that was looked at has.
    """

    indexes: tuple[str, ...] = ()
    scanned: bool = False
    why: str = ""
    unknown: tuple[str, ...] = ()


class IndexFacts(msgspec.Struct, frozen=True):
    """An index: of which collection (in lower case, None for all documents), and on which field.

    `ready`: it answers queries; otherwise it is still being built. `used` is when it was made or last answered one, to
    an hour.
    """

    name: str
    collection: str | None
    field: str
    ready: bool
    used: datetime
