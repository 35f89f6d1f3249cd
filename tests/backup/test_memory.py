"""The memory that backup, verification and restore take does not grow with the database."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from muniment import DocumentDatabase, Put
from tests.backup import child
from tests.sampled import count, torture

LIMIT = 250 << 20
VERIFY_LIMIT = 100 << 20
DOCUMENTS = count(14_000, whole=60_000)
ATTACHMENT_MIB = count(60, whole=200)


def _content(parts: int) -> Iterator[bytes]:
    part = random.Random(1).randbytes(1 << 20)
    for number in range(parts):
        yield number.to_bytes(8, "big") + part[8:]


@torture
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_is_bounded(tmp_path: Path) -> None:
    """Documents of 4 KB, which compress little, and an attachment; each alone would be too much."""
    text = random.Random(2).randbytes(1 << 20).hex().encode()
    metadata = b'{"Raven-Entity-Name":"Orders"}'
    with DocumentDatabase(tmp_path / "shop") as database:
        for start in range(0, DOCUMENTS, 2_000):
            database.batch(
                [
                    Put(f"orders/{n}", b'{"n":%d,"text":"%b"}' % (n, text[n * 31 : n * 31 + 4000]), metadata)
                    for n in range(start, start + 2_000)
                ]
            )
        database.put_attachment("film", _content(ATTACHMENT_MIB))
        assert database.statistics().bytes > DOCUMENTS * 4000 + (ATTACHMENT_MIB << 20)
    peaks = child.run(
        "measure", source=tmp_path / "shop", destination=tmp_path / "backups", target=tmp_path / "restored"
    )
    assert set(peaks) == {"back up", "verify", "restore", "restore into", "defragment"}
    assert all(0 < peak < LIMIT for peak in peaks.values()), peaks
    assert peaks["verify"] < VERIFY_LIMIT, peaks
