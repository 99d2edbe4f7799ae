"""Statistics endpoints, with the paths and keys that existing clients expect."""

from __future__ import annotations

from fastws.endpoints.answers import json_response
from fastws.endpoints.application import Application
from fastws.vocabulary.values import timestamp
from fastws.wire.request import Request
from fastws.wire.response import Response


async def job_clients(application: Application, request: Request, **_: str) -> Response:
    """GET /ws/stats: the number of connections with the jobs dialect."""
    clients = await application.cluster.dialect_connections("jobs")
    return json_response({"connected_clients": clients, "timestamp": timestamp()})


async def room_statistics(application: Application, request: Request, **_: str) -> Response:
    """GET /api/v1/ws/stats: numbers of connections, own connections and rooms."""
    identity = await application.identify(request.header("authorization"))
    totals = await application.cluster.totals()
    return json_response(
        {
            "total_connections": totals.connections,
            "user_connections": await application.cluster.connections_of(identity.user),
            "active_rooms": len(totals.channels),
        }
    )


async def rooms(application: Application, request: Request, **_: str) -> Response:
    """GET /api/v1/ws/rooms: the names of the rooms with subscribers, and their number."""
    await application.identify(request.header("authorization"))
    channels = (await application.cluster.totals()).channels
    return json_response({"active_rooms": channels, "total_rooms": len(channels)})
