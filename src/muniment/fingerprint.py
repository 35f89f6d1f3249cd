"""The fingerprint of a set of documents and attachments, and the digests that it and the log are made of.

The digest of a collection is the sum, modulo 2^256, of the SHA-256 of each of its members, so it does not depend on
order and can be kept up to date by adding what comes and subtracting what goes. `docs/backup-format.md` has the
definition for readers in other languages.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain, repeat
from struct import Struct
from typing import Any, Final, NamedTuple, TypeAlias

from muniment import native
from muniment.errors import UnknownFormat
from muniment.native import DIGEST_BYTES, UNCOUNTED, Native
from muniment.revision import ATTACHMENT, DOCUMENT, Batch, Packed, Revision

MODULUS = 1 << 256
FEW: Final = 8  # rows for which a call to C takes as long
_lengths = Struct("<II").pack
_times = Struct("<qq").pack
_facts = Struct("<BBi").pack
_sha256 = hashlib.sha256
_number: Any = int.from_bytes

Group: TypeAlias = tuple[int, str]
"""What is counted together: a kind (`DOCUMENT` or `ATTACHMENT`) and a collection, "" for those that have none."""


def member_digest(id: bytes, metadata: bytes, body: bytes) -> bytes:
    """SHA-256 over the lengths of id and metadata (two unsigned 32-bit little-endian), id, metadata and body.

    The body of an attachment stands for its content as the SHA-256 of that content.
    """
    return _sha256(b"".join((_lengths(len(id), len(metadata)), id, metadata, body))).digest()


class ContentDigest:
    """The size and SHA-256 of the content of an attachment whose parts pass by."""

    def __init__(self) -> None:
        self.size = 0
        self._sha256 = hashlib.sha256()

    def add(self, part: bytes) -> None:
        """Take in the next part."""
        self._sha256.update(part)
        self.size += len(part)

    def passing(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        """The same parts, one by one, each taken in before it is given."""
        for part in parts:
            self.add(part)
            yield part

    @property
    def sha256(self) -> bytes:
        """Of what has passed so far."""
        return self._sha256.digest()

    def is_of(self, revision: Revision) -> bool:
        """Whether what has passed is the whole content of this attachment."""
        return self.size == revision.size and self.sha256 == revision.body


def row_digest(
    etag: int, kind: int, modified: int, collection: bytes | None, member: bytes, *, tombstone: bool
) -> bytes:
    """SHA-256 over all columns of a row of the log, of which `member` (`member_digest`) stands for the largest three.

    Etag and time (signed 64-bit), kind and whether it is a tombstone (a byte each), the length of the collection's name
    (signed 32-bit, -1 where there is none), all little-endian; the member's digest; the collection's name. The member's
    digest of a tombstone is that of an empty body.
    """
    length = -1 if collection is None else len(collection)
    return _sha256(_times(etag, modified) + _facts(kind, tombstone, length) + member + (collection or b"")).digest()


class Digests(NamedTuple):
    """Of each document of a batch the member's digest, None for a tombstone, and the row's."""

    members: Packed
    rows: Packed


def batch_digests(batch: Batch, members: bytes | None = None) -> Digests:
    """The digests of a batch, as `member_digest` and `row_digest` have them: in C if it is there, or else in Python.

    Those of the members may be there already, from `members_digests`.
    """
    native = in_c() if len(batch) >= FEW else None
    members, rows = native.digests(batch, members) if native else digests_in_python(batch, members)
    offsets = array("i", range(0, DIGEST_BYTES * len(batch) + 1, DIGEST_BYTES))
    return Digests(Packed(offsets, members, batch.bodies.nulls), Packed(offsets, rows))


def members_digests(ids: Packed, metadata: Packed, bodies: Packed) -> bytes:
    """The digests of documents as members of a fingerprint, in one piece."""
    native = in_c() if len(ids) >= FEW else None
    return native.members(ids, metadata, bodies) if native else b"".join(_members(ids, metadata, bodies))


def _members(ids: Packed, metadata: Packed, bodies: Packed) -> Iterator[bytes]:
    lengths = _pairs("I", ids.lengths(), metadata.lengths())
    for head, id, each, body in zip(lengths, ids.values(), metadata.values(), bodies.views(), strict=True):
        sha256 = _sha256(head + id + each)
        sha256.update(body)  # less than to bring it together with what is before it
        yield sha256.digest()


def digests_in_python(batch: Batch, given: bytes | None = None) -> tuple[bytes, bytes]:
    """The digests of all members, those of tombstones too, and of all rows, each in one piece.

    It goes by columns: for each row there is little more than the calls of SHA-256.
    """
    collections, dead = list(batch.collections), batch.bodies.nulls
    if given is None:
        given = b"".join(_members(batch.ids, batch.metadata, batch.bodies))
    members = [member for (member,) in Struct(f"{DIGEST_BYTES}s").iter_unpack(given)]
    facts = {name: _facts(DOCUMENT, False, -1 if name is None else len(name)) for name in set(collections)}
    kinds = [facts[name] for name in collections]
    for row in dead:
        name = collections[row]
        kinds[row] = _facts(DOCUMENT, True, -1 if name is None else len(name))
    names = [name or b"" for name in collections] if None in facts else collections
    rows = _hashed(_pairs("q", batch.etags, batch.modified), kinds, members, names)
    return given, b"".join(rows)


@cache
def in_c() -> Native | None:
    """What does the same in C, None where it was not compiled, or gives something else."""
    library = native.load()
    sample = Batch.of([Revision(1 << 40, DOCUMENT, "a", "B", 2, b"{}", b"x", 1)])
    try:
        return library if library and library.digests(sample) == digests_in_python(sample) else None
    except ValueError:
        return None  # there is SHA-256 in libcrypto, but it is not to be used


def _pairs(kind: str, first: Iterable[int], second: Iterable[int]) -> Iterator[bytes]:
    """Two columns of numbers as pairs of little-endian ones."""
    columns = array(kind, first), array(kind, second)
    both = array(kind, bytes(2 * columns[0].itemsize * len(columns[0])))
    both[::2], both[1::2] = columns
    if sys.byteorder == "big":
        both.byteswap()
    return chain.from_iterable(Struct(f"{2 * both.itemsize}s").iter_unpack(both))


def _hashed(*columns: Iterable[Any]) -> list[bytes]:
    """The SHA-256 of each row of these columns."""
    join, sha256 = b"".join, _sha256
    return [sha256(join(row)).digest() for row in zip(*columns, strict=True)]


def attachment_digests(revision: Revision) -> tuple[bytes, bytes]:
    """The member's digest of a revision of an attachment, for a tombstone that of an empty body, and its row's."""
    member = member_digest(revision.id.encode(), revision.metadata, revision.body or b"")
    collection = None if revision.collection is None else revision.collection.encode()
    dead = revision.body is None
    return member, row_digest(revision.etag, ATTACHMENT, revision.modified, collection, member, tombstone=dead)


def digest_sum(digests: Iterable[bytes]) -> int:
    """The sum of digests, not reduced."""
    return sum(map(_number, digests, repeat("big")))


def sums_in_python(digests: bytes, bodies: Packed, group: bytes, groups: int) -> list[tuple[int, int, int]]:
    """For each group how many of these digests it has, the bytes of their bodies, and their sum."""
    found: list[tuple[list[bytes], list[int]]] = [([], []) for _ in range(groups)]
    each = Struct(f"{DIGEST_BYTES}s").iter_unpack(digests)
    for number, (digest,), size in zip(group, each, bodies.lengths(), strict=True):
        if number != UNCOUNTED:
            members, sizes = found[number]
            members.append(digest)
            sizes.append(size)
    return [(len(members), sum(sizes), digest_sum(members)) for members, sizes in found]


def groups_of(column: Packed) -> list[tuple[bytearray, list[bytes | None]]]:
    """The different values of a column, and for each row the number of its own among them.

    They are in several lists if they are very many; then the number in all others is `UNCOUNTED`.
    """
    native = in_c() if len(column) >= FEW else None
    if native and (grouped := native.groups(column)):
        numbers, firsts = grouped
        return [(numbers, [column.value(row) for row in firsts])]
    values = list(column)
    names = list(dict.fromkeys(values))
    found = []
    for start in range(0, len(names), UNCOUNTED):
        some = names[start : start + UNCOUNTED]
        known = {name: number for number, name in enumerate(some)}
        found.append((bytearray(map(known.get, values, repeat(UNCOUNTED))), some))
    return found


def _sums(digests: bytes, bodies: Packed, group: bytes, groups: int) -> list[tuple[int, int, int]]:
    native = in_c() if len(bodies) >= FEW else None
    return native.sums(digests, bodies, group, groups) if native else sums_in_python(digests, bodies, group, groups)


def rows_sum(batch: Batch, rows: Packed) -> int:
    """The sum of the digests of a batch's rows, not reduced."""
    return _sums(rows.data, batch.bodies, bytes(len(batch)), 1)[0][2]


@dataclass(slots=True)
class Tally:
    """The members of one group: how many, the bytes of their bodies or contents, and the sum of their digests."""

    count: int = 0
    bytes: int = 0
    digest: int = 0

    def add(self, count: int, size: int, digest: int) -> None:
        """Count members in, or out when all three are negative."""
        self.count += count
        self.bytes += size
        self.digest = (self.digest + digest) % MODULUS


_NOTHING: Final = Tally()


class Fingerprint:
    """Tallies by group. Two are equal when every group that is not empty has the same count, bytes and digest."""

    def __init__(self, tallies: Mapping[Group, Tally] | None = None) -> None:
        self.tallies: dict[Group, Tally] = {}
        if tallies:
            self.tallies = {
                group: Tally(tally.count, tally.bytes, tally.digest) for group, tally in tallies.items() if tally.count
            }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fingerprint) and self.occupied() == other.occupied()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Fingerprint({self.occupied()})"

    def occupied(self) -> dict[Group, Tally]:
        """The groups that have members."""
        return {group: tally for group, tally in self.tallies.items() if tally.count}

    def add(self, group: Group, count: int, size: int, digest: int) -> None:
        """Count members of a group in, or out when all three numbers are negative."""
        tally = self.tallies.get(group)
        if tally is None:
            tally = self.tallies[group] = Tally()
        tally.add(count, size, digest)

    def add_batch(self, batch: Batch, digests: Packed) -> None:
        """Count the documents of a batch in; a None among the digests is a tombstone."""
        for group, names in groups_of(batch.collections):
            for row in digests.nulls:
                group[row] = UNCOUNTED
            for name, found in zip(names, _sums(digests.data, batch.bodies, bytes(group), len(names)), strict=True):
                self.add((DOCUMENT, (name or b"").decode()), *found)

    def merge(self, other: Fingerprint) -> None:
        """Count everything in that another one counted, in or out."""
        for group, tally in other.tallies.items():
            self.add(group, tally.count, tally.bytes, tally.digest)

    def changed(self, by: Fingerprint) -> Fingerprint:
        """A new one that has counted everything that `by` counted too; it shares the tallies in which they agree."""
        found = Fingerprint()
        found.tallies = {group: tally for group, tally in self.tallies.items() if tally.count}
        for group, tally in by.tallies.items():
            mine = self.tallies.get(group, _NOTHING)
            digest = (mine.digest + tally.digest) % MODULUS
            found.tallies[group] = Tally(mine.count + tally.count, mine.bytes + tally.bytes, digest)
        return found

    def copy(self) -> Fingerprint:
        """An equal one that does not change with this one."""
        return Fingerprint(self.tallies)

    def count(self, kind: int) -> int:
        """How many members of this kind there are."""
        return sum(tally.count for (of, _), tally in self.tallies.items() if of == kind)

    def size(self, kind: int) -> int:
        """The bytes of the bodies or contents of all members of this kind."""
        return sum(tally.bytes for (of, _), tally in self.tallies.items() if of == kind)

    def short(self) -> str:
        """16 hexadecimal digits for people to compare; the whole comparison is `==`."""
        text = "".join(f"{kind}/{name}/{t.count}/{t.digest:x};" for (kind, name), t in sorted(self.occupied().items()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def as_json(self) -> dict[str, Any]:
        """`{"documents": {collection: {count, bytes, digest}}, "attachments": …}`; digests are 64 hex digits."""
        return {
            name: {
                group[1]: {"count": tally.count, "bytes": tally.bytes, "digest": f"{tally.digest:064x}"}
                for group, tally in sorted(self.occupied().items())
                if group[0] == kind
            }
            for kind, name in _KINDS
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Fingerprint:
        """Read what `as_json` wrote; raises `UnknownFormat` on anything else."""
        try:
            return cls(
                {
                    (kind, collection): Tally(int(t["count"]), int(t["bytes"]), int(t["digest"], 16))
                    for kind, name in _KINDS
                    for collection, t in value[name].items()
                }
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UnknownFormat(f"the fingerprint is not one that this version reads: {error!r}") from error

    def differences(self, other: Fingerprint) -> Iterable[str]:
        """One sentence for each group in which this one (expected) and the other (found) do not agree."""
        mine, others = self.occupied(), other.occupied()
        for group in sorted(mine.keys() | others.keys()):
            expected, found = mine.get(group, Tally()), others.get(group, Tally())
            if expected != found:
                kind = dict(_KINDS).get(group[0], f"members of the unknown kind {group[0]}")
                name = f"{kind} of {group[1]!r}" if group[1] else kind
                if expected.count != found.count:
                    yield f"{name}: {found.count} where {expected.count} are expected"
                else:
                    yield f"{name}: the count is right ({found.count}) but the content is not"


class Totals:
    """Counts revisions: the fingerprint of what is alive, and the tally of all of them as rows of a log."""

    def __init__(self) -> None:
        self.fingerprint = Fingerprint()
        self.rows = Tally()

    def count(self, batch: Batch, members: bytes | None = None) -> Digests:
        """Count documents and tombstones in; returns their digests, of which those of the members may be given."""
        digests = batch_digests(batch, members)
        self.fingerprint.add_batch(batch, digests.members)
        self.rows.add(len(batch), 0, rows_sum(batch, digests.rows))
        return digests

    def count_attachment(self, revision: Revision) -> tuple[bytes, bytes]:
        """Count an attachment or its tombstone in; returns its digests, see `attachment_digests`."""
        member, row = attachment_digests(revision)
        if revision.body is not None:
            group = ATTACHMENT, revision.collection or ""
            self.fingerprint.add(group, 1, revision.size, int.from_bytes(member, "big"))
        self.rows.add(1, 0, int.from_bytes(row, "big"))
        return member, row


_KINDS = ((DOCUMENT, "documents"), (ATTACHMENT, "attachments"))
