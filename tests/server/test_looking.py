"""A long query ends when its client goes away, and holds up nothing else."""

from __future__ import annotations

import json
import select
import socket
import time
from urllib.parse import urlsplit

from tests.server.running import Database, Server


def test_queries_whose_clients_are_gone(server: Server, shop: Database) -> None:
    text, metadata = "a b " * 8_000, {"Raven-Entity-Name": "Items"}
    documents = [{"Method": "PUT", "Key": f"i/{n}", "Document": {"T": text}, "Metadata": metadata} for n in range(75)]
    assert shop.batch(documents).status_code == 200
    body = json.dumps({"Rql": "from Items where id() = 'i/1' or search(T, 'none')"})
    begun = time.monotonic()
    assert shop.request("POST", "/query", content=body).json()["TotalResults"] == 1
    alone = time.monotonic() - begun
    url = urlsplit(str(server.client.base_url))
    head = f"POST /databases/{shop.name}/query HTTP/1.1\r\nHost: {url.netloc}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    begun = time.monotonic()
    clients = [socket.create_connection((url.hostname or "", url.port or 0)) for _ in range(20)]
    for client in clients:
        client.sendall((head + body).encode())
    select.select(clients, [], [], 0.5)  # until they are under way
    for client in clients:
        client.close()
    assert shop.request("POST", "/query", content='{"Rql": "from Items limit 1"}').json()["TotalResults"] == 75
    assert time.monotonic() - begun < max(5 * alone, 3)
