"""To which document an attachment belongs: in the id that it is stored under, and in the keys that people write.

An attachment of a document is stored under OWNER, U+001E and NAME, so that `b/c` of the document `a` and `c` of `a/b`
are two; its key is `a/b/c` in either case. One that was stored by its key alone keeps that as its id, and belongs to
the longest of the documents whose ids it begins with, as long as there is one.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

from muniment.document import MAX_ID_BYTES, SEPARATOR, check_id, decode, encode, fold
from muniment.errors import InvalidId
from muniment.page import LONGEST
from muniment.revision import ATTACHMENT, DOCUMENT, Revision
from muniment.storage.base import Storage, Write

_HASH_LENGTH: Final = 44  # 32 bytes in base64


def owned_id(owner: str, name: str) -> str:
    """The id of an attachment of a document; raises `InvalidId` for what can be none."""
    size = len(check_id(owner)) + len(check_id(name)) + 1
    if size > MAX_ID_BYTES:
        raise InvalidId(
            f"the attachment {name[:40]!r}… of {owner[:40]!r}… has {size} bytes in both; at most {MAX_ID_BYTES}",
            "use a shorter name",
        )
    return f"{owner}{SEPARATOR}{name}"


def split_id(id: str) -> tuple[str | None, str]:
    """The owner, None for an attachment that was stored by its key alone, and the name."""
    owner, found, name = id.partition(SEPARATOR)
    return (owner, name) if found else (None, id)


def key_of(id: str) -> str:
    """What people call the attachment with this id: `orders/830/photo.png`."""
    return id.replace(SEPARATOR, "/", 1)


def owners(key: str) -> Iterator[tuple[int, str]]:
    """Where a slash is in a key, and the id of the document to which the attachment may belong if it ends there."""
    at = key.find("/", 1)
    while at > 0:
        yield at, key[:at]
        at = key.find("/", at + 1)


def ids_of(key: str) -> list[str]:
    """What an attachment with this key can be stored under: the key itself, and then the longest owner first.

    Of the beginning of a key, these are the beginnings of the ids.
    """
    return [key, *reversed([f"{owner}{SEPARATOR}{key[at + 1 :]}" for at, owner in owners(key)])]


def find(storage: Storage, key: str, owner: str | None = None) -> Revision | None:
    """The attachment with this key, or with this name in that document; None when there is none.

    Where a key fits several, it is the one that was stored by the key itself, or else that of the longest owner.
    """
    if owner is not None:
        return storage.get(ATTACHMENT, owned_id(owner, key)) or storage.get(ATTACHMENT, f"{owner}/{key}")
    return next((found for id in ids_of(key) if (found := storage.get(ATTACHMENT, id))), None)


def present_owner(storage: Storage, key: str) -> str | None:
    """The longest of the documents to which an attachment that was stored by this key may belong."""
    longest_first = reversed([id for _, id in owners(key)])
    return next((owner.id for id in longest_first if (owner := storage.get(DOCUMENT, id))), None)


def by_prefix(storage: Storage, prefix: str, start: int, limit: int) -> list[Revision]:
    """Attachments whose keys begin so, in the order of their ids."""
    ranges = ids_of(prefix)
    if len(ranges) == 1:
        return storage.by_prefix(ATTACHMENT, prefix, start, limit)
    found = [each for part in ranges for each in storage.by_prefix(ATTACHMENT, part, 0, min(start + limit, LONGEST))]
    return sorted(found, key=lambda revision: fold(revision.id))[start : start + limit]


def replacing(storage: Storage, write: Write) -> list[Write]:
    """This write of an attachment of a document, with the deletion of the same one that was stored by its key alone."""
    owner, _ = split_id(write.id)
    old = storage.get(ATTACHMENT, key_of(write.id)) if owner else None
    if old is None or owner is None:
        return [write]
    if any(storage.get(DOCUMENT, id) for at, id in owners(old.id) if at > len(owner)):
        return [write]  # that one belongs to a document with a longer id
    return [write, Write(old.id, None, tombstone(storage, old), kind=ATTACHMENT)]


class ContentHash:
    """What RavenDB calls the hash of a content, BLAKE2b of 32 bytes in base64, of what has passed by."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=32)

    def passing(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        """The same parts, one by one."""
        for part in parts:
            self._digest.update(part)
            yield part

    def __str__(self) -> str:
        return base64.b64encode(self._digest.digest()).decode()

    def refutes(self, hash: str) -> bool:
        """Whether this hash is that of another content; those of betas of RavenDB 4, which are shorter, say nothing."""
        return len(hash) == _HASH_LENGTH and str(self) != hash


def content_hash(parts: Iterable[bytes]) -> str:
    """The hash of a content."""
    digest = ContentHash()
    for _ in digest.passing(parts):
        pass
    return str(digest)


def content_type(metadata: bytes) -> str:
    """What an attachment's metadata says of its type, empty if nothing."""
    found = next((value for name, value in decode(metadata).items() if name.lower() == "content-type"), "")
    return found if isinstance(found, str) else ""


def tombstone(storage: Storage, revision: Revision) -> bytes:
    """The metadata of the deletion of this attachment: what RavenDB has to know of the content that goes."""
    type = content_type(revision.metadata)
    return encode({"Hash": content_hash(storage.content(revision)), "Content-Type": type})


def deleted_content(metadata: bytes) -> tuple[str, str]:
    """The hash and the type that the metadata of a deletion tells, empty where it does not."""
    told = decode(metadata)
    hash, type = told.get("Hash", ""), told.get("Content-Type", "")
    return (hash, type) if isinstance(hash, str) and isinstance(type, str) else ("", "")
