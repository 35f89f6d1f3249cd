"""How a query was answered, and what indexes there are, for whoever wants to know."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import msgspec

from muniment.query.model import Field


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """The indexes that were used, or that every document was looked at, and why.

    `unknown` are the fields that no document that was looked at has.
    """

    indexes: tuple[str, ...] = ()
    scanned: bool = False
    why: str = ""
    unknown: tuple[str, ...] = ()


class IndexFault(msgspec.Struct, frozen=True):
    """A document that an index could not read, and why: it is in the index as one without the field."""

    id: str
    reason: str


class FieldIndex(msgspec.Struct, frozen=True):
    """An index on one field: of which collection (in lower case, None for all documents), and on what.

    `ready`: it answers queries; otherwise `progress` is how much of it has been built, from 0 to 1. `used` is when it
    was made or last answered one, to an hour.
    """

    name: str
    collection: str | None
    field: Field
    ready: bool
    used: datetime
    progress: float = 1.0
    faults: tuple[IndexFault, ...] = ()


class Wanted(NamedTuple):
    """What an index that has a name is to have: fields of a collection, None for all documents."""

    collection: str | None
    fields: tuple[Field, ...]
