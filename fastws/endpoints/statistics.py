"""Statistics endpoints, with the paths and keys that existing clients expect."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from fastws.endpoints.answers import json_response
from fastws.endpoints.application import Application
from fastws.vocabulary.values import timestamp
from fastws.wire.request import Request
from fastws.wire.response import Response

MAX_ROOMS: Final = 1_000


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
            "active_rooms": totals.channels,
        }
    )


async def rooms(application: Application, request: Request, **_: str) -> Response:
    """GET /api/v1/ws/rooms: the first MAX_ROOMS rooms with subscribers that the token allows, and the number of all.

    Only one such list at a time, because it looks at every channel. With an `authorizer`, which cannot be asked about
    every channel, the list has the user's own channel and workspaces only.
    """
    identity = await application.identify(request.header("authorization"))
    if application.has_authorizer:
        identity = replace(identity, channels=())
    may_subscribe = application.permissions.may_subscribe
    async with application.listing:
        rooms = await application.cluster.channels(
            lambda name: may_subscribe(identity, name, needs_token=True), MAX_ROOMS
        )
    return json_response({"active_rooms": rooms.names, "total_rooms": rooms.total})
