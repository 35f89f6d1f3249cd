"""Where a database is: on this one server, whatever it is asked by."""

from __future__ import annotations

from muniment.raven7.messages import ClusterTopology, Members, Node, Topology, Version
from muniment.raven7.names import NODE
from muniment.raven7.queries import Named
from muniment.security.access import Right
from muniment.server.permission import require
from muniment.server.request import Request
from muniment.server.wire import Response, json_response


async def topology(request: Request) -> Response:
    """The server that has a database: this one, by the address that it is asked by."""
    name = request.asked(Named).name or ""
    require(request, name, *Right)
    request.server.databases.known(name)
    return json_response(Topology([Node(request.root, name)]))


async def cluster(request: Request) -> Response:
    """The servers of the cluster: this one alone."""
    address = {NODE: request.root}
    return json_response(ClusterTopology(Members(address, address, request.server.databases.system.lineage)))


async def version(request: Request) -> Response:
    """Which version this is, in RavenDB's terms and ours."""
    return json_response(Version())
