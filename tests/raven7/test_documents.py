"""Documents as clients of RavenDB 4 and later send them."""

from __future__ import annotations

from muniment.raven7.documents import kept, write_of


def test_long_metadata_is_not_remembered() -> None:
    before = kept.cache_info().currsize
    sent = b'{"@metadata":{"@collection":"Orders","A":"%s"}}' % (b"x" * 5000)
    write = write_of("orders/1", sent, None)
    assert write.collection == "Orders"
    assert write.metadata.count(b"x") == 5000
    assert kept.cache_info().currsize == before
