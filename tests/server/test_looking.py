"""A long query ends when its client goes away, and holds up nothing else."""

from __future__ import annotations

import json
import re
import socket

from muniment.errors import Cancelled
from tests.server.running import Database, Server
from tests.waiting import until

CLIENTS = 20


def test_queries_whose_clients_are_gone(server: Server, shop: Database) -> None:
    # Without a space, since what stands between spaces is cut once and remembered: a query takes a second.
    text, metadata = "a-b-" * 16_000, {"Raven-Entity-Name": "Items"}
    documents = [{"Method": "PUT", "Key": f"i/{n}", "Document": {"T": text}, "Metadata": metadata} for n in range(30)]
    assert shop.batch(documents).status_code == 200
    body = json.dumps({"Rql": "from Items where id() = 'i/1' or search(T, 'none')"})
    assert shop.request("POST", "/query", content=body).json()["TotalResults"] == 1
    head = f"POST {shop.root}/query HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    before = stopped(server)
    clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(CLIENTS)]
    for client in clients:
        client.sendall((head + body).encode())
    for client in clients:
        client.close()
    assert shop.request("POST", "/query", content='{"Rql": "from Items limit 1"}').json()["TotalResults"] == 30
    until(lambda: stopped(server) > before)


def stopped(server: Server) -> int:
    """How many requests were given up."""
    told = server.client.get("/metrics").text
    counts = re.findall(rf'(?m)^muniment_http_requests_total{{method="POST",status="{Cancelled.status}"}} (.*)$', told)
    return int(sum(map(float, counts)))
