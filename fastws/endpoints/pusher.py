"""The HTTP API of Pusher: signed requests of backends to /apps/{id}."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from fastws.access.pusher_signatures import check_request
from fastws.endpoints.answers import JSON_HEADERS, error_response, json_response
from fastws.endpoints.application import Application
from fastws.endpoints.pusher_channels import ChannelReader, ReadMembers, list_channels, show_channel, show_users
from fastws.endpoints.pusher_events import publish_batch, publish_event
from fastws.endpoints.router import Route
from fastws.errors import BadRequest, FastWSError, Forbidden, NotFound, Unauthorized
from fastws.vocabulary.pusher_apps import PusherApp, PusherApps, is_user_id
from fastws.wire.request import Request
from fastws.wire.response import Response

MAX_BODY_BYTES: Final = 4_194_304
_HEALTHY: Final = Response(200, b'{"health":"OK"}', JSON_HEADERS)

# (reader, request, parameters of the path) -> answer
Call = Callable[[ChannelReader, Request, Mapping[str, str]], Awaitable[object]]


class PusherApi:
    """Checks the signature of each request, and answers it. `read_members` returns the users in a channel.

    `now` returns seconds since the epoch.
    """

    def __init__(self, apps: PusherApps, read_members: ReadMembers, now: Callable[[], float] = time.time) -> None:
        self._apps = apps
        self._read_members = read_members
        self._now = now

    def routes(self) -> list[Route]:
        """Return the routes of all apps."""
        return [
            self._route("/apps/{id}/events", "POST", "events", publish_event),
            self._route("/apps/{id}/batch_events", "POST", "batch_events", publish_batch),
            self._route("/apps/{id}/channels", "GET", "channels", list_channels),
            self._route("/apps/{id}/channels/{channel}", "GET", "channel", show_channel),
            self._route("/apps/{id}/channels/{channel}/users", "GET", "users", show_users),
            self._route("/apps/{id}/connections", "GET", "connections", _count_connections),
            self._route("/apps/{id}/users/{user}/terminate_connections", "POST", "terminate", _terminate),
            # The Python SDK calls this one: the app is that of the key.
            self._route("/users/{user}/terminate_connections", "POST", "terminate", _terminate),
            Route("/up", {"GET": _up}),
        ]

    def _route(self, path: str, method: str, name: str, call: Call) -> Route:
        async def answered(application: Application, request: Request, *, address: str, **path_: str) -> Response:
            try:
                app = self._checked(request, path_.pop("id", None), request.body)
                reader = ChannelReader(application, app, self._read_members)
                response = json_response(await call(reader, request, path_))
            except FastWSError as error:
                response = _refusal(error)
            application.counters.pusher_requests[name, response.status] += 1
            return response

        bodies = {method: self._may_read} if method == "POST" else {}
        return Route(path, {method: answered}, bodies, MAX_BODY_BYTES)

    def _checked(self, request: Request, app_id: str | None, body: bytes | None) -> PusherApp:
        """Return the app of a request. Raises NotFound, Unauthorized or Forbidden."""
        if app_id is None:
            app = self._apps.of_key(request.query.get("auth_key", ""))
            if app is None:
                raise Unauthorized("`auth_key` is missing in the query, or is not the key of an app")
        else:
            app = self._apps.get(app_id)
            if app is None:
                raise NotFound("no app with this id: it must be an ID of the setting pusher_apps")
        path = request.target.partition("?")[0]
        # The body of a request to an app that is not enabled is not read.
        read = body if app.is_enabled else None
        check_request(app, request.method, path, request.query, read, now=self._now())
        if not app.is_enabled:
            raise Forbidden("this app is not enabled: see the setting pusher_enabled")
        return app

    def _may_read(self, application: Application, request: Request, address: str) -> bool:
        """Whether the signature in the head of a request is valid; that of the body is part of it."""
        segments = request.target.partition("?")[0].split("/")
        try:
            self._checked(request, segments[2] if segments[1] == "apps" else None, None)
        except FastWSError:
            return False
        return True


def _refusal(error: FastWSError) -> Response:
    """Return `error` as a response. It is for backends only: no page of another origin may read it."""
    response = error_response(error)
    if not isinstance(error, NotFound):
        return response
    return Response(response.status, response.body, JSON_HEADERS, error)


def _up(application: Application, request: Request, **_: str) -> Response:
    return _HEALTHY


async def _count_connections(reader: ChannelReader, request: Request, path: Mapping[str, str]) -> object:
    return {"connections": await reader.connections()}


async def _terminate(reader: ChannelReader, request: Request, path: Mapping[str, str]) -> object:
    """Close the connections that have signed in as a user, on every process."""
    user = path["user"]
    if not is_user_id(user):
        raise BadRequest("the user id in the path must have 1 to 128 characters")
    await reader.application.cluster.disconnect(reader.app.id, user)
    return {}
