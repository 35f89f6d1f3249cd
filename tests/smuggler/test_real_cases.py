"""Dumps as real servers of RavenDB wrote them, each for what once went wrong: they come in whole and go out equal."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from muniment import DocumentDatabase
from muniment.document import decode
from muniment.smuggler.dump import DumpAttachment, DumpDeletion, DumpDocument, DumpIdentity, open_dump

DATA = Path(__file__).parents[3] / "shared" / "data"
CASES = (
    "attachment-names-with-slash",
    "attachment-replaced",
    "ids-apart-by-case-rule",
    "own-metadata-entity-name",
    "own-metadata-last-modified",
)
_INTERNAL = {"@change-vector", "@flags", "@etag"}


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"shared/data/{name} is not beside the checkout")
    return path


def content_of(dump: bytes | Path) -> dict[str, Any]:
    """What a dump says of documents, attachments and identities, without what every export makes anew."""
    found: dict[str, Any] = {"documents": {}, "contents": set(), "identities": {}, "deletions": 0}
    with open_dump(dump if isinstance(dump, Path) else io.BytesIO(dump)) as opened:
        for item in opened:
            match item:
                case DumpDocument():
                    metadata = {n: v for n, v in decode(item.metadata).items() if n not in _INTERNAL}
                    assert item.id not in found["documents"]
                    found["documents"][item.id] = (item.body, metadata)
                case DumpAttachment():
                    found["contents"].add((item.hash, b"".join(item.chunks)))
                case DumpIdentity():
                    found["identities"][item.key.lower()] = item.value
                case DumpDeletion():
                    found["deletions"] += 1
    return found


def exported(database: DocumentDatabase) -> bytes:
    dump = io.BytesIO()
    database.export(dump, format="ravendbdump")
    return dump.getvalue()


@pytest.mark.parametrize("name", CASES)
def test_a_case_comes_in_whole_and_goes_out_equal(database: DocumentDatabase, name: str) -> None:
    path = real(f"cases/{name}.ravendbdump")
    was = content_of(path)
    found = database.import_dump(path)
    assert (found.documents, found.failed) == (len(was["documents"]), 0)
    assert found.attachments == len(was["contents"])
    is_now = content_of(exported(database))
    if name in ("attachment-names-with-slash", "attachment-replaced"):  # written by hand, without a time
        for _, metadata in is_now["documents"].values():
            del metadata["@last-modified"]
    assert is_now | {"deletions": 0} == was | {"deletions": 0}
