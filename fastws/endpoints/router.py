"""The table of addresses, and the way from a request to the one who answers it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from fastws.endpoints import aws_connections, connections, console, health, revocations, statistics
from fastws.endpoints.answers import error_response
from fastws.endpoints.application import Application
from fastws.endpoints.broadcast import broadcast
from fastws.endpoints.log_level import PATH, LogLevelEndpoint
from fastws.errors import FastWSError, MethodNotAllowed, NotFound, UpgradeRequired
from fastws.wire.request import Request
from fastws.wire.response import Response

Handler = Callable[..., "Response | Awaitable[Response]"]


@dataclass(slots=True, frozen=True)
class Route:
    """An address (`{name}` stands for one segment) and its methods."""

    path: str
    methods: Mapping[str, Handler]

    def expression(self) -> re.Pattern[str]:
        """Matches undecoded paths, in which `@` may stand as itself or encoded."""
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(self.path))
        return re.compile(pattern.replace("@", "(?:@|%40)"))


def routes(metrics: Handler, log_level: LogLevelEndpoint) -> list[Route]:
    """Every address that is not a WebSocket's. The README's table of endpoints is held against this one."""
    return [
        Route("/", {"GET": console.page}),
        Route("/console/{file}", {"GET": console.console_file}),
        Route("/client/{file}", {"GET": console.client_file}),
        Route("/broadcast", {"POST": broadcast}),
        Route("/{stage}/broadcast", {"POST": broadcast}),
        Route("/connections", {"GET": connections.list_connections}),
        Route(
            "/connections/{id}",
            {"GET": connections.get_connection, "DELETE": connections.delete_connection},
        ),
        Route("/@connections/{id}", aws_connections.METHODS),
        Route("/{stage}/@connections/{id}", aws_connections.METHODS),
        Route("/revocations", {"POST": revocations.revoke}),
        Route("/ws/stats", {"GET": statistics.job_clients}),
        Route("/api/v1/ws/stats", {"GET": statistics.room_statistics}),
        Route("/api/v1/ws/rooms", {"GET": statistics.rooms}),
        Route("/health", {"GET": health.health}),
        Route("/ready", {"GET": health.ready}),
        Route("/metrics", {"GET": metrics}),
        Route(PATH, {"GET": log_level.show, "PUT": log_level.change}),
    ]


# What is served at `metrics_address`: figures, and what an orchestrator asks.
FIGURES: Final = frozenset({"/metrics", "/health", "/ready"})


class Router:
    """Finds who answers a request. Raises nothing: errors are answers too, or awaitables that raise FastWSError."""

    def __init__(
        self,
        application: Application,
        metrics: Handler,
        log_level: LogLevelEndpoint,
        *,
        only: Collection[str] | None = None,
        websocket_paths: Collection[str] = (),
    ) -> None:
        """`only`: these paths and no others. `websocket_paths`: what is told to whoever comes there by plain HTTP."""
        self._application = application
        self._websocket_paths = websocket_paths
        self._exact: dict[str, Mapping[str, Handler]] = {}
        self._patterns: list[tuple[re.Pattern[str], Mapping[str, Handler]]] = []
        for route in routes(metrics, log_level):
            if only is not None and route.path not in only:
                continue
            if "{" in route.path:
                self._patterns.append((route.expression(), route.methods))
            else:
                self._exact[route.path] = route.methods

    def __call__(self, request: Request, address: str) -> Response | Awaitable[Response]:
        try:
            methods, parameters = self._find(request.target.partition("?")[0])
            method = "GET" if request.method == "HEAD" else request.method
            handler = methods.get(method)
            if handler is None:
                raise MethodNotAllowed(f"{request.method[:32]} is not served here", allow=_allow(methods))
            return handler(self._application, request, address=address, **parameters)
        except FastWSError as error:
            return error_response(error)

    def _find(self, path: str) -> tuple[Mapping[str, Handler], dict[str, str]]:
        methods = self._exact.get(path)
        if methods is not None:
            return methods, {}
        for expression, methods in self._patterns:
            match = expression.fullmatch(path)
            if match is not None:
                return methods, {name: unquote(value) for name, value in match.groupdict().items()}
        if path.rstrip("/") in self._websocket_paths:
            raise UpgradeRequired("a WebSocket is served here: connect by ws:// or wss://, not by plain HTTP")
        raise NotFound("nothing is served here; / is the console, /health says whether the server runs")


def _allow(methods: Mapping[str, Handler]) -> tuple[str, ...]:
    return (*sorted(methods), *(("HEAD",) if "GET" in methods else ()))
