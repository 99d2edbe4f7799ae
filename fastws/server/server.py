"""The server: puts the rooms together, listens, drains."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

import structlog

from fastws.access.broadcast_key import BroadcastKeys, bearer
from fastws.access.hosts import AllowedHosts
from fastws.access.origins import AllowedOrigins
from fastws.access.permissions import Permissions
from fastws.access.proxies import TrustedProxies
from fastws.access.rate_limit import Bucket
from fastws.access.revocation import Revocations
from fastws.access.sigv4 import AwsCredentials
from fastws.access.tokens import Tokens
from fastws.admission.capacity import CapacityRules, free_descriptors
from fastws.admission.gate import Gate, GateRules
from fastws.brokers.memory import MemoryBroker
from fastws.brokers.redis.broker import RedisBroker
from fastws.brokers.redis.embedded import EMBEDDED
from fastws.callouts.authorizer import Authorizer, check_loads, load_function
from fastws.callouts.event_hook import EventHook
from fastws.callouts.jwks import Jwks
from fastws.callouts.metrics_hook import MetricsHook
from fastws.cluster.one_process import OneProcess
from fastws.cluster.redis.cluster import RedisCluster
from fastws.config import Config
from fastws.counters import Counters
from fastws.dialects.mount import Mounts
from fastws.endpoints.answers import error_response
from fastws.endpoints.application import Application, Totals
from fastws.endpoints.log_level import LogLevelEndpoint
from fastws.endpoints.router import FIGURES, Handler, Router
from fastws.errors import ConfigError, Unauthorized
from fastws.hub.hub import Hub
from fastws.hub.roster import Roster
from fastws.hub.rules import Rules
from fastws.logs import LogLevel, log_through_logging
from fastws.server.embedding import InProcessBroadcaster
from fastws.server.listening import Listeners
from fastws.server.tls import Tls
from fastws.session.services import Limits, Services
from fastws.settings import check, flush_intervals, slow_policies
from fastws.telemetry.all_workers import AllWorkerMetrics, WorkerMetrics
from fastws.telemetry.exited_workers import SOCKET_SUFFIX
from fastws.telemetry.exposition import Exposition, not_on_this_port
from fastws.transport.connection_log import ConnectionLog
from fastws.transport.drain import drain
from fastws.transport.heartbeat import Heartbeat
from fastws.transport.http import HttpConnection
from fastws.vocabulary.identity import Identity

log = structlog.stdlib.get_logger("fastws.server")

NODE_ID_BYTES: Final = 4  # 6 characters
MAX_SIBLING_BODY_BYTES: Final = 4096


class Server:
    """One process of fastws, on the event loop that starts it; it takes no signals and leaves logging alone.

    `async with Server(config) as server:` listens until the block is left; `server.port` is the port it got. Leaving
    closes all clients at once; `await server.drain()` before that sends them away over `drain_timeout`.
    Raises ConfigError where the settings cannot be used, OSError where it cannot listen.
    """

    def __init__(
        self,
        config: Config,
        *,
        is_key_made_up: bool = False,
        listening_sockets: Sequence[socket.socket] = (),
        workers_folder: Path | None = None,
    ) -> None:
        check(config)
        self.config = config
        self._listening_sockets = listening_sockets
        self._workers_folder = workers_folder
        self.node_id = secrets.token_urlsafe(NODE_ID_BYTES)
        self.counters = Counters()
        self.log_level = LogLevel(config.log_level)
        self.roster = Roster()
        self.jwks = Jwks(config.jwt_jwks_url) if config.jwt_jwks_url else None
        self.tokens = Tokens(config, self.jwks)
        # A key made up for one run protects no rooms: whoever tries the server out has no tokens yet.
        self.permissions = Permissions(config, self.tokens.key_configured and not is_key_made_up)
        self.mounts = Mounts(
            config.mounts, workspace_channel=config.workspace_channel, jobs_channel=config.jobs_channel
        )
        self.revocations = Revocations(leeway_seconds=config.jwt_leeway)
        self.broadcast_keys = BroadcastKeys(config.broadcast_key)
        self._allowed_origins = AllowedOrigins(config.allowed_origins)
        self._allowed_hosts = AllowedHosts(config.allowed_hosts)
        self._trusted_proxies = TrustedProxies(config.trusted_proxies)
        if config.proxy_protocol and not self._trusted_proxies:
            raise ConfigError("proxy_protocol: it is read from trusted_proxies only, and there are none")
        self.tls = Tls.of(config)
        # Loaded once more where they are called: here a wrong name ends the start before anything has begun.
        check_loads(config.authorizer, setting="authorizer")
        check_loads(config.event_hook, setting="event_hook")
        if config.metrics_hook is not None:
            load_function(config.metrics_hook, setting="metrics_hook")
        self.port = 0
        self._listeners = Listeners()
        self._is_started = False

    # --- beginning

    async def start(self) -> None:
        """Listen. The server answers from the moment this returns; where it raises, nothing is left behind."""
        self._check_that_one_process_will_do()
        log_through_logging()
        self._assemble()
        self._is_started = True
        try:
            if self.jwks is not None:
                await self.jwks.start()
            await self.broker.start()
            await self.cluster.start()
            self.heartbeat.start()
            await self._listen()
        except BaseException:
            await self.stop()
            raise

    def _check_that_one_process_will_do(self) -> None:
        """Raise ConfigError for settings that only `fastws serve` can follow."""
        if self._workers_folder is None and self.config.workers > 1:
            raise ConfigError("workers: a server is one process; `fastws serve` starts several, or start it in each")
        if self.config.redis_url == EMBEDDED:
            raise ConfigError(f"redis_url: only `fastws serve` starts a Redis of its own ({EMBEDDED}); leave it out")

    def _assemble(self) -> None:
        config, loop = self.config, asyncio.get_running_loop()
        self.heartbeat = Heartbeat(
            self.roster, self.counters, ping_seconds=config.ping_interval, idle_seconds=config.idle_timeout
        )
        self._metrics_hook = self._make_metrics_hook()
        self.hub = Hub(
            counters=self.counters,
            schedule=loop.call_soon,
            schedule_later=loop.call_later,
            rules=Rules(slow_policies(config), flush_intervals(config)),
            after_flush=lambda: self.services.write_batched(),
            emptied=lambda name: self.broker.unlisten(name),
            failed=lambda error: log.error("error of ours while writing a channel", exc_info=error),
        )
        self.broker = self._make_broker()
        self.cluster = self._make_cluster()
        self.services = Services(
            limits=Limits.of(config),
            hub=self.hub,
            broker=self.broker,
            roster=self.roster,
            counters=self.counters,
            permissions=self.permissions,
            token_verifier=self.tokens,
            revocations=self.revocations,
            authorizer=self._authorizer(),
            heartbeat=self.heartbeat,
            send_elsewhere=self.cluster.send,
            metrics_source=self._answer_metrics,
            connection_log=ConnectionLog(self.log_level),
            hook=None if config.event_hook is None else EventHook(config.event_hook, self.counters),
        )
        self.broadcaster = InProcessBroadcaster(
            config,
            hub=self.hub,
            broker=self.broker,
            roster=self.roster,
            cluster=self.cluster,
            counters=self.counters,
        )
        self.gate = Gate(self.services, self.mounts, self._gate_rules())
        self.services.left = self.gate.left
        self.application = Application(
            hub=self.hub,
            broker=self.broker,
            roster=self.roster,
            counters=self.counters,
            cluster=self.cluster,
            status=self,
            tokens=self.tokens,
            revocations=self.revocations,
            broadcast_keys=self.broadcast_keys,
            aws_credentials=AwsCredentials(config.aws_credentials),
            broadcast_bucket=Bucket(config.broadcast_rate, max(config.broadcast_rate, 1.0))
            if config.broadcast_rate
            else None,
            identify=self._identify,
            max_message_bytes=config.max_message_bytes,
        )
        exposition = Exposition(self.application)
        metrics: Handler = exposition
        log_level = LogLevelEndpoint(self.log_level)
        if self._workers_folder is not None:
            self._figures = WorkerMetrics(exposition, self._workers_folder)
            self._own_router = Router(self.application, self._figures, log_level)
            metrics = workers = AllWorkerMetrics(self._figures, self._workers_folder)
            log_level = LogLevelEndpoint(self.log_level, workers.tell)
        self._figures_router = Router(self.application, metrics, log_level, only=FIGURES)
        public = metrics if config.metrics_address is None else not_on_this_port
        self.router = Router(self.application, public, log_level, websocket_paths=self.mounts.table)

    def _make_metrics_hook(self) -> MetricsHook | None:
        where, template = self.config.metrics_hook, self.config.workspace_channel
        return None if where is None else MetricsHook(where, template, self.heartbeat.spawn)

    def _make_broker(self) -> MemoryBroker | RedisBroker:
        if self.config.redis_url is None:
            return MemoryBroker(self.hub, self.config)
        return RedisBroker(self.hub, self.config, node_id=self.node_id, counters=self.counters)

    def _make_cluster(self) -> OneProcess | RedisCluster[Totals]:
        here = OneProcess(self.hub, self.roster, self.revocations)
        if isinstance(self.broker, MemoryBroker):
            return here
        return RedisCluster(self.broker, here, self.hub, self.roster, self.revocations, Totals)

    def _authorizer(self) -> Authorizer | None:
        if self.config.authorizer is None:
            return None
        return Authorizer(self.config.authorizer, timeout_seconds=self.config.authorizer_timeout)

    def _gate_rules(self) -> GateRules:
        config = self.config
        return GateRules(
            node_id=self.node_id,
            allow_anonymous=self.permissions.allow_anonymous,
            anonymous_was_set=config.allow_anonymous is not None,
            enable_realtime=config.enable_realtime,
            allowed_origins=self._allowed_origins,
            allowed_hosts=self._allowed_hosts,
            trusted_proxies=self._trusted_proxies,
            proxy_protocol=config.proxy_protocol,
            capacity=CapacityRules.of(config),
            descriptors=free_descriptors(),
            handshake_seconds=config.handshake_timeout,
            is_tls=self.tls is not None,
            compression=config.compression == "on",
            compression_level=config.compression_level,
            compression_min_bytes=config.compression_min_bytes,
        )

    def _identify(self, authorization: str | None) -> Identity:
        """The user of a plain request's bearer token. Raises Unauthorized."""
        token = bearer(authorization)
        if token is None:
            raise Unauthorized("`Authorization: Bearer <JWT>` is needed here")
        identity = self.tokens.verify(token)
        if self.revocations.is_revoked(identity):
            raise Unauthorized("the token does not hold")
        return identity

    def _answer_metrics(self, channel: str, metric_type: str, answer: Callable[[object], None]) -> None:
        """What `request_metrics` is answered: `connections` by ourselves, the rest by the hook or the last update."""
        if metric_type == "connections":
            answer({"connections": self.hub.count(channel) + self.broker.remote_count(channel)})
        elif self._metrics_hook is not None:
            self._metrics_hook.ask(channel, metric_type, answer)
        else:
            self.broker.find_metrics(channel, metric_type, answer)

    def _protocol(self) -> HttpConnection:
        return HttpConnection(
            self.services, self.gate, self.router, error_response, self.config.max_message_bytes + 4096
        )

    async def _listen(self) -> None:
        config = self.config
        await self._listeners.open(self._protocol, config, self.tls, self._listening_sockets)
        self.port = self._listeners.port
        if self._workers_folder is not None:
            await self._listeners.open_private(self._own_figures, self._own_socket)
        if config.metrics_address is not None:
            is_shared = self._workers_folder is not None
            await self._listeners.open_for_scrapes(self._for_scrapes, config.metrics_address, is_shared=is_shared)

    def _for_scrapes(self) -> HttpConnection:
        return HttpConnection(
            self.services, self.gate, self._figures_router, error_response, MAX_SIBLING_BODY_BYTES, is_internal=True
        )

    @property
    def _own_socket(self) -> Path:
        """Where this worker answers for itself alone."""
        return (self._workers_folder or Path()) / f"{os.getpid()}{SOCKET_SUFFIX}"

    def _own_figures(self) -> HttpConnection:
        return HttpConnection(
            self.services, self.gate, self._own_router, error_response, MAX_SIBLING_BODY_BYTES, is_internal=True
        )

    # --- what endpoints ask

    @property
    def is_draining(self) -> bool:
        return self.gate.is_leaving

    @property
    def is_full(self) -> bool:
        return self.gate.is_full

    @property
    def is_broker_up(self) -> bool:
        return self.broker.is_up

    @property
    def url(self) -> str:
        """Where clients connect."""
        if self.config.unix_socket is not None:
            return f"unix:{self.config.unix_socket}"
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"{'wss' if self.tls else 'ws'}://{host}:{self.port}/"

    def reload(self) -> None:
        """Read certificate and key again, for connections from now on. A pair that cannot be used changes nothing."""
        if self.tls is None:
            log.info("nothing to reload: no TLS is served")
            return
        try:
            self.tls.reload()
        except ConfigError as error:
            log.error("not reloaded: the certificate before stays in use", error=error.message)  # noqa: TRY400
        else:
            log.info("certificate reloaded")

    # --- end

    async def drain(self, *, is_replaced: bool = False) -> None:
        """Send everybody away over `drain_timeout`, evenly (close 1012), and take nobody new.

        `is_replaced`: another process listens on our sockets and takes who comes, so that nobody is refused.
        """
        if is_replaced:
            self._listeners.leave_inherited()
        await drain(self.services, self.gate, seconds=self.config.drain_timeout, is_replaced=is_replaced)

    async def stop(self) -> None:
        """Close everything at once."""
        if not self._is_started:
            return
        self._is_started = False
        self.gate.is_draining = self.gate.is_leaving = True
        self._listeners.close()
        self.hub.tick.flush_all()
        for client in list(self.roster):
            client.end(1012, "restart", label="stop")
        await asyncio.sleep(0)
        self.heartbeat.abort_all()
        await self.cluster.stop()
        await self.broker.stop()
        self.heartbeat.stop()
        self.services.connection_log.close()
        if self.jwks is not None:
            await self.jwks.close()
        if self.services.authorizer is not None:
            await self.services.authorizer.close()
        if self.services.hook is not None:
            await self.services.hook.close()
        if self._metrics_hook is not None:
            self._metrics_hook.close()
        if self._workers_folder is not None:
            self._figures.keep()
            self._own_socket.unlink(missing_ok=True)

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
