"""GET and DELETE /connections: list, show and close connections."""

from __future__ import annotations

from typing import Final

from fastws.endpoints.answers import json_response
from fastws.endpoints.application import Application
from fastws.errors import BadRequest, NotFound
from fastws.wire.request import Request
from fastws.wire.response import Response

PAGE_SIZE: Final = 100
MAX_PAGE_SIZE: Final = 1000


def check_key(application: Application, request: Request) -> None:
    """Raise Unauthorized unless the request carries a broadcast key."""
    application.broadcast_keys.check(request.header("authorization"))


def has_key(application: Application, request: Request, address: str) -> bool:
    """Whether the request carries a broadcast key."""
    return application.broadcast_keys.allows(request.header("authorization"))


async def list_connections(application: Application, request: Request, **_: str) -> Response:
    """Return a page of connections, of a `user`, `client_id` or `channel`. `cursor` is null on the last page."""
    check_key(application, request)
    query = request.query
    connections, cursor = await application.cluster.page(
        user=query.get("user"),
        client_id=query.get("client_id"),
        channel=query.get("channel"),
        cursor=query.get("cursor"),
        limit=limit_of(query.get("limit")),
    )
    return json_response({"connections": connections, "cursor": cursor})


async def get_connection(application: Application, request: Request, *, id: str, **_: str) -> Response:  # noqa: A002
    check_key(application, request)
    found = await application.cluster.describe(id)
    if found is None:
        raise NotFound("no connection with this id; it may have closed")
    return json_response(found)


async def delete_connection(application: Application, request: Request, *, id: str, **_: str) -> Response:  # noqa: A002
    check_key(application, request)
    if not await application.cluster.close(id):
        raise NotFound("no connection with this id; it may have closed")
    return Response(204)


def limit_of(text: str | None) -> int:
    """Return the size of a page in the query parameter `limit`. Raises BadRequest."""
    if text is None:
        return PAGE_SIZE
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:9]) <= MAX_PAGE_SIZE:
        raise BadRequest(f"`limit` must be an integer from 1 to {MAX_PAGE_SIZE}")
    return int(text)
