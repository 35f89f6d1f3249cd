"""The sample database: exact in number, the same everywhere, and like a real shop's."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import struct
import zlib
from collections import Counter

import pytest

from muniment.sample import NORTHWIND, SIZES, attachments, documents
from tests.sampled import some


@some(4)
@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 100, 1_050, NORTHWIND, 1_052, 5_000])
def test_it_yields_as_many_as_asked_for(count: int) -> None:
    assert len(list(documents(count))) == count
    assert len(list(attachments(count))) == count


def test_the_bytes_never_change() -> None:
    # Others compare runs and machines with these; a change here invalidates every number published before it.
    digest = hashlib.sha256()
    for id, body, metadata in documents(10_000):
        digest.update(b"%b\0%b\0%b\n" % (id.encode(), body, metadata))
    assert digest.hexdigest() == "ad04c4019e2f7daecc8607220bc103b91959679607925865e4d1c0ec439d805a"
    digest = hashlib.sha256()
    for key, metadata, content in attachments(100):
        digest.update(b"%b\0%b\0%b\n" % (key.encode(), metadata, content))
    assert digest.hexdigest() == "ca6c94665276b6f0a40ea4aee7fb2200d6e727a74bb32b9344410b4c076fb3ec"


def test_another_seed_is_another_database() -> None:
    first, second = (Counter(body for _, body, _ in documents(2_000, seed=seed)) for seed in (1, 2))
    assert (first & second).total() < 30  # the categories


def test_northwind_keeps_its_proportions() -> None:
    collections = Counter(json.loads(metadata)["Raven-Entity-Name"] for _, _, metadata in documents(NORTHWIND))
    assert collections == {name: share for name, (share, _) in SIZES.items()} | {"Orders": 830}


def test_ids_are_unique_and_name_their_collection() -> None:
    seen = set()
    for id, _, metadata in documents(20_000):
        seen.add(id)
        assert metadata == b'{"Raven-Entity-Name":"%b"}' % id.partition("/")[0].capitalize().encode()
    assert len(seen) == 20_000
    assert "orders/830" in seen


def test_every_body_is_a_json_object_and_every_reference_holds() -> None:
    sample = list(documents(NORTHWIND))
    ids = {id for id, _, _ in sample}
    for _, body, _ in sample:
        assert isinstance(json.loads(body), dict)
        assert set(re.findall(r'"([a-z]+/\d+)"', body.decode())) <= ids


def test_orders_agree_with_their_products_and_companies() -> None:
    sample = {id: json.loads(body) for id, body, _ in documents(NORTHWIND)}
    for order in (sample[f"orders/{number}"] for number in range(1, 831)):
        assert order["ShipTo"] == sample[order["Company"]]["Address"]
        assert order["OrderedAt"] < order["ShippedAt"] < order["RequireAt"]
        for line in order["Lines"]:
            product = sample[line["Product"]]
            assert (line["ProductName"], line["PricePerUnit"]) == (product["Name"], product["PricePerUnit"])


def test_bodies_are_of_a_real_size_and_hardly_repeat() -> None:
    bodies = [body for _, body, _ in documents(20_000)]
    assert 1_000 < sum(map(len, bodies)) / len(bodies) < 1_300
    assert len(set(bodies)) > 19_990
    everything = b"".join(bodies)
    assert 4 < len(everything) / len(zlib.compress(everything)) < 7


def test_it_has_what_a_careless_copy_loses() -> None:
    everything = b"".join(body for _, body, _ in documents(NORTHWIND))
    assert re.search(rb'"PricePerUnit":\d+\.\d0,', everything)
    assert b"T00:00:00.0000000" in everything
    assert "São Paulo" in everything.decode()
    assert "東京" in everything.decode()


def test_attachments_are_pictures_with_keys_of_their_own() -> None:
    pictures = list(attachments(40))
    assert len({key for key, _, _ in pictures}) == 40
    assert pictures[0][0] == "categories/1/picture.png"
    for _, metadata, content in pictures:
        assert json.loads(metadata) == {"Content-Type": "image/png"}
        width, height = struct.unpack_from(">II", content, 16)
        start = content.index(b"IDAT") + 4
        (length,) = struct.unpack_from(">I", content, start - 8)
        assert len(zlib.decompress(content[start : start + length])) == height * (1 + 3 * width)


def test_fewer_attachments_are_the_first_of_more() -> None:
    assert list(attachments(5)) == list(itertools.islice(attachments(50), 5))
