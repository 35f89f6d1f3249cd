"""Every endpoint of RavenDB 4 and later: its path, its methods, and what answers it.

Where RavenDB 3 has the same path, the version in a client's header says which of the two it means.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from muniment.raven3.messages import Object
from muniment.raven7.messages import (
    Batch,
    ClusterTopology,
    Documents,
    Done,
    Failure,
    Ids,
    Range,
    Stored,
    Topology,
    Version,
)
from muniment.raven7.queries import DocumentNamed, DocumentsWanted, Named, NextRange, ReturnedRange
from muniment.server import openapi
from muniment.server.handlers.raven7 import batches, cluster, documents, ids
from muniment.server.request import Request
from muniment.server.routes import DELETED, DONE, MISSING, READ, SOME, UNCHANGED, WRITE
from muniment.server.routing import EVERYBODY, Answer, Endpoint, Route, Table
from muniment.server.wire import Response, json_response


async def describe(request: Request) -> Response:
    """This document."""
    return json_response(document())


@cache
def document() -> dict[str, Any]:
    """These endpoints as an OpenAPI document."""
    return openapi.document(ROUTES, "RavenDB 4 to 7's words, for clients that send their version", Failure)


KNOWN: Final = {"If-None-Match": "What the client has already, by the ETag that it was answered with."}
EXPECTED: Final = {"If-Match": "The change vector that there must be now."}

ROUTES: Final = (
    Route("topology", {"GET": Endpoint(cluster.topology, (Answer(200, Topology),), Named, may=SOME)}, tenant=False),
    Route(
        "cluster/topology",
        {"GET": Endpoint(cluster.cluster, (Answer(200, ClusterTopology),), may=EVERYBODY)},
        tenant=False,
    ),
    Route("build/version", {"GET": Endpoint(cluster.version, (Answer(200, Version),), may=EVERYBODY)}, tenant=False),
    Route(
        "docs",
        {
            "GET": Endpoint(
                documents.get, (Answer(200, Documents), UNCHANGED, MISSING), DocumentsWanted, headers=KNOWN, may=READ
            ),
            "POST": Endpoint(documents.post, (Answer(200, Documents), MISSING), DocumentsWanted, Ids, may=READ),
            "HEAD": Endpoint(
                documents.head,
                (Answer(200, media=None), UNCHANGED, MISSING),
                DocumentNamed,
                headers=KNOWN,
                may=READ,
            ),
            "PUT": Endpoint(documents.put, (Answer(201, Stored),), DocumentNamed, Object, EXPECTED, may=WRITE),
            "DELETE": Endpoint(documents.delete, DELETED, DocumentNamed, headers=EXPECTED, may=WRITE),
        },
    ),
    Route("bulk_docs", {"POST": Endpoint(batches.execute, (Answer(201, Done),), body=Batch, may=WRITE)}),
    Route("hilo/next", {"GET": Endpoint(ids.take, (Answer(200, Range),), NextRange, may=WRITE)}, acts=True),
    Route("hilo/return", {"PUT": Endpoint(ids.give_back, DONE, ReturnedRange, may=WRITE)}),
    Route("openapi-raven7.json", {"GET": Endpoint(describe, (Answer(200, Object),), may=EVERYBODY)}, tenant=False),
)

TABLE: Final = Table(ROUTES)
