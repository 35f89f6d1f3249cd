"""The beginning of a dump, which tells a dump from any other file."""

from __future__ import annotations

import re
from typing import Final

from muniment.errors import UnknownFormat
from muniment.json_bytes import WHITESPACE

# Every section that some RavenDB has written, in lower case: RavenDB does not mind the case either.
_SECTIONS: Final = frozenset(
    """
    buildversion databaserecord docs results revisiondocuments tombstones conflicts indexes identities subscriptions
    compareexchange cmpxchg compareexchangetombstones counters countergroups timeseries timeseriesdeletedranges
    replicationhubcertificates attachments transformers docsdeletions attachmentsdeletions
    """.split()
)
_begins = re.compile(rb'%s\{%s"(\w+)"%s:%s(?:(\d{1,18})%s[,}])?' % ((WHITESPACE,) * 5)).match


def build_version(head: bytes) -> int | None:
    """The RavenDB build that a dump begins with, if it does; raises `UnknownFormat` if this is not how a dump begins.

    A dump begins with an object whose first member is a section that is known. Later ones may be of any name.
    """
    begins = _begins(head)
    section = begins[1].decode().lower() if begins else ""
    if not begins or section not in _SECTIONS:
        raise _not_a_dump(head)
    return int(begins[2]) if begins[2] and section == "buildversion" else None


def is_dump(head: bytes) -> bool:
    """Whether a dump begins so."""
    begins = _begins(head)
    return begins is not None and begins[1].decode().lower() in _SECTIONS


def _not_a_dump(head: bytes) -> UnknownFormat:
    hint = "give a .ravendbdump or .ravendump file: not encrypted; compressed with gzip or zstd, or not at all"
    if not head:
        return UnknownFormat("the dump is empty", hint)
    if head.startswith(b"PK"):
        snapshot = "if it is a snapshot backup, restore it with RavenDB and export the database from there"
        return UnknownFormat("this is a zip archive, not a dump", snapshot)
    return UnknownFormat(f"this is not a dump: it begins with {head[:16]!r}", hint)
