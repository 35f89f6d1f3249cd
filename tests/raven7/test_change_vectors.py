from __future__ import annotations

import pytest

from muniment.raven3.etags import FOREIGN
from muniment.raven7.change_vectors import change_vector, expected_etag, with_files

LINEAGE = "8977e05d-12ff-4a1d-9b88-75ef22d098e4"


@pytest.mark.parametrize("etag", [1, 12, 2**63 - 2])
def test_a_change_vector_comes_back_as_its_etag(etag: int) -> None:
    vector = change_vector(etag, LINEAGE)
    assert expected_etag(vector, LINEAGE) == etag
    assert expected_etag(f' "{vector}" ', LINEAGE) == etag  # as in a header
    assert expected_etag(with_files(vector, [3, 4], LINEAGE), LINEAGE) == etag
    assert expected_etag(f"B:5-other, {vector}", LINEAGE) == etag


@pytest.mark.parametrize("text", ["A:12-other", f"B:12-{LINEAGE}", f"F:7-{LINEAGE}", f"A:{10**19 - 1}-{LINEAGE}"])
def test_one_of_another_history_or_server_fits_nothing(text: str) -> None:
    assert expected_etag(text, LINEAGE) == FOREIGN


def test_none_is_any_and_an_empty_one_is_none_yet() -> None:
    assert expected_etag(None, LINEAGE) is None
    assert expected_etag("", LINEAGE) == 0
    assert expected_etag('""', LINEAGE) == 0


@pytest.mark.parametrize("text", ["12", "A:12", "A:x-y", f"A:12-{LINEAGE},", "A:1-x, nonsense", "A:-1-x", "A:１-x"])
def test_what_is_no_change_vector(text: str) -> None:
    with pytest.raises(ValueError, match="is not a change vector"):
        expected_etag(text, LINEAGE)


def test_attachments_change_what_stands_for_a_document() -> None:
    vector = change_vector(1, LINEAGE)
    found = {with_files(vector, files, LINEAGE) for files in ([], [2], [3], [2, 3])}
    assert len(found) == 4
    assert vector in found
