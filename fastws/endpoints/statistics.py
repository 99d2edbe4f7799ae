"""The statistics of seeds 001 and 003, with their keys."""

from __future__ import annotations

from fastws.endpoints.answers import json_response
from fastws.endpoints.application import Application
from fastws.vocabulary.clock import timestamp
from fastws.wire.request import Request
from fastws.wire.response import Response


async def job_clients(application: Application, request: Request, **_: str) -> Response:
    """GET /ws/stats (seed 003)."""
    clients = await application.cluster.dialect_connections("jobs")
    return json_response({"connected_clients": clients, "timestamp": timestamp()})


async def room_statistics(application: Application, request: Request, **_: str) -> Response:
    """GET /api/v1/ws/stats (seed 001): the user's own connections, and all."""
    identity = application.identify(request.header("authorization"))
    totals = await application.cluster.totals()
    return json_response(
        {
            "total_connections": totals.connections,
            "user_connections": await application.cluster.connections_of(identity.user),
            "active_rooms": len(totals.channels),
        }
    )


async def rooms(application: Application, request: Request, **_: str) -> Response:
    """GET /api/v1/ws/rooms (seed 001)."""
    application.identify(request.header("authorization"))
    channels = (await application.cluster.totals()).channels
    return json_response({"active_rooms": channels, "total_rooms": len(channels)})
