"""The routing table, and the router that finds the handler of a request."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from fastws.endpoints import aws_connections, channels, connections, console, health, revocations, statistics
from fastws.endpoints.answers import error_response
from fastws.endpoints.application import Application
from fastws.endpoints.broadcast import broadcast
from fastws.endpoints.log_level import PATH, LogLevelEndpoint
from fastws.endpoints.upgrade_check import UpgradeCheck
from fastws.errors import FastWSError, MethodNotAllowed, NotFound, TooLarge, UpgradeRequired
from fastws.wire.request import Request, check_path
from fastws.wire.response import Response

Handler = Callable[..., "Response | Awaitable[Response]"]
# (application, request, address) -> whether to read the body, decided by the head of the request.
MayReadBody = Callable[[Application, Request, str], bool]


_SLASH: Final = re.compile("%2f", re.IGNORECASE)
_USER_PATH: Final = re.compile("(/apps/[^/%]+)?/users/")
# A stage of API Gateway, `$default` included, but no dot segment, which proxies resolve.
_STAGE: Final = r"(?!\.{1,2}/)[A-Za-z0-9._~$-]+"


@dataclass(slots=True, frozen=True)
class Route:
    """A path (`{name}` matches one segment), its methods, and the condition for reading bodies by method."""

    path: str
    methods: Mapping[str, Handler]
    bodies: Mapping[str, MayReadBody] = field(default_factory=dict)
    # None: the limit of the router.
    max_body_bytes: int | None = None

    def expression(self) -> re.Pattern[str]:
        """Return a pattern for undecoded paths, in which `@` may be percent-encoded."""
        path = re.escape(self.path).replace(re.escape("{stage}"), f"(?P<stage>{_STAGE})")
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", path)
        return re.compile(pattern.replace("@", "(?:@|%40)"))


def routes(metrics: Handler, log_level: LogLevelEndpoint, upgrade_check: UpgradeCheck) -> list[Route]:
    """Return all HTTP routes. (A test compares the table of requests in docs/http-api.md with them.)"""
    return [
        Route("/", {"GET": console.page, "POST": upgrade_check}, {"POST": upgrade_check.may_read}),
        Route("/console/{file}", {"GET": console.console_file}),
        Route("/client/{file}", {"GET": console.client_file}),
        Route("/broadcast", {"POST": broadcast}, {"POST": connections.has_key}),
        Route("/{stage}/broadcast", {"POST": broadcast}, {"POST": connections.has_key}),
        Route("/connections", {"GET": connections.list_connections}),
        Route(
            "/connections/{id}",
            {"GET": connections.get_connection, "DELETE": connections.delete_connection},
        ),
        Route("/channels", {"GET": channels.list_all}),
        Route("/channels/{channel}/presence", {"GET": channels.read_presence}),
        Route("/channels/{channel}/history", {"GET": channels.read_history, "DELETE": channels.clear_history}),
        Route("/@connections/{id}", aws_connections.METHODS, {"POST": aws_connections.may_post}),
        Route("/{stage}/@connections/{id}", aws_connections.METHODS, {"POST": aws_connections.may_post}),
        Route("/revocations", {"POST": revocations.revoke}, {"POST": connections.has_key}),
        Route("/ws/stats", {"GET": statistics.job_clients}),
        Route("/api/v1/ws/stats", {"GET": statistics.room_statistics}),
        Route("/api/v1/ws/rooms", {"GET": statistics.rooms}),
        Route("/health", {"GET": health.health}),
        Route("/ready", {"GET": health.ready}),
        Route("/metrics", {"GET": metrics}),
        Route(PATH, {"GET": log_level.show, "PUT": log_level.change}, {"PUT": connections.has_key}),
    ]


# The metric label of requests to other paths.
NO_ROUTE: Final = "none"
# Served on `metrics_address`.
SCRAPE_PATHS: Final = frozenset({"/metrics", "/health", "/ready"})


class Router:
    """Routes requests to handlers. Returns errors as responses; only awaited handlers may raise FastWSError."""

    def __init__(
        self,
        application: Application,
        metrics: Handler,
        log_level: LogLevelEndpoint,
        upgrade_check: UpgradeCheck,
        *,
        only: Collection[str] | None = None,
        private: Sequence[Route] = (),
        websocket_paths: Collection[str] = (),
        max_body_bytes: int | None = None,
    ) -> None:
        """`only` restricts the paths, `private` adds some. On `websocket_paths`, POST is the upgrade check, GET 426."""
        self._application = application
        self._websocket_paths, self._max_body_bytes = websocket_paths, max_body_bytes
        self._websocket_route = Route(
            "{websocket}", {"GET": _require_upgrade, "POST": upgrade_check}, {"POST": upgrade_check.may_read}
        )
        self._exact: dict[str, Route] = {}
        self._patterns: list[tuple[re.Pattern[str], Route]] = []
        for route in (*routes(metrics, log_level, upgrade_check), *private):
            if only is not None and route.path not in only:
                continue
            if "{" in route.path:
                self._patterns.append((route.expression(), route))
            else:
                self._exact[route.path] = route

    def __call__(self, request: Request, address: str) -> Response | Awaitable[Response]:
        try:
            route, parameters = self._find(request.target.partition("?")[0])
            methods = route.methods
            method = "GET" if request.method == "HEAD" else request.method
            handler = methods.get(method)
            if handler is None:
                allow = _allow(methods)
                found = request.method[:32]
                raise MethodNotAllowed(f"method {found} is not allowed here; use {', '.join(allow)}", allow=allow)
            self._check_size(route, request)
            return handler(self._application, request, address=address, **parameters)
        except FastWSError as error:
            return error_response(error)

    def _check_size(self, route: Route, request: Request) -> None:
        """Raise TooLarge for a body that is too large for this route, but not for another one."""
        limit = self._max_body_bytes if route.max_body_bytes is None else route.max_body_bytes
        if limit is not None and len(request.body) > limit:
            raise TooLarge(f"a body has at most {limit} bytes")

    def wants_body(self, request: Request, address: str) -> bool:
        """Whether the body of `request` should be read. Only its head has been received."""
        try:
            route, _ = self._find(request.target.partition("?")[0])
        except FastWSError:
            return False
        may_read = route.bodies.get(request.method)
        return may_read is not None and may_read(self._application, request, address)

    def route_of(self, request: Request) -> str:
        """Return the path of the route of `request` as it is in the table, or NO_ROUTE."""
        try:
            return self._find(request.target.partition("?")[0])[0].path
        except FastWSError:
            return NO_ROUTE

    def _find(self, path: str) -> tuple[Route, dict[str, str]]:
        route = self._exact.get(path)
        if route is not None:
            return route, {}
        if "%" in path:
            # Names of channels and ids of users may contain slashes. No other paths are like these, so no rule is
            # bypassed.
            has_names = path.startswith("/channels/") or _USER_PATH.match(path) is not None
            check_path(_SLASH.sub("", path) if has_names else path)
        for expression, route in self._patterns:
            match = expression.fullmatch(path)
            if match is not None:
                return route, {name: unquote(value) for name, value in match.groupdict().items()}
        if path.rstrip("/") in self._websocket_paths:
            return self._websocket_route, {}
        raise NotFound("nothing is served at this path; the console is at /, the health check at /health")


def _require_upgrade(application: Application, request: Request, **_: str) -> Response:
    raise UpgradeRequired("this path serves WebSockets: connect with ws:// or wss:// instead of plain HTTP")


def _allow(methods: Mapping[str, Handler]) -> tuple[str, ...]:
    return (*sorted(methods), *(("HEAD",) if "GET" in methods else ()))
