"""The server: one process of fastws that can be started, drained and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType

import structlog

from fastws.brokers.redis.embedded import EMBEDDED
from fastws.config import Config
from fastws.counters import Counters
from fastws.errors import ConfigError
from fastws.hub.roster import Roster
from fastws.logs import LogLevel, log_through_logging
from fastws.server.admittance import Admittance
from fastws.server.assembly import Assembly
from fastws.server.listening import Listeners
from fastws.server.sibling_revocations import learn_revocations
from fastws.settings import check
from fastws.standard_streams import open_closed_descriptors
from fastws.telemetry.siblings import SOCKET_SUFFIX
from fastws.transport.drain import ANSWER_SECONDS, drain
from fastws.vocabulary.connection_ids import new_node_id

log = structlog.stdlib.get_logger("fastws.server")

# The least time for webhooks that wait, after clients have taken all of drain_timeout.
WEBHOOK_SECONDS = 1.5


class Server:
    """One process of fastws. Runs on the event loop that starts it, handles no signals and does not configure logging.

    `async with Server(config) as server:` listens until the block ends; `server.port` is the actual port. The end of
    the block closes all clients at once; `await server.drain()` before it closes them over `drain_timeout`.
    `generated` names the secrets in `config` that were generated at start.
    Raises ConfigError for invalid settings, OSError if it cannot listen.
    """

    def __init__(
        self,
        config: Config,
        *,
        generated: Collection[str] = (),
        listening_sockets: Sequence[socket.socket] = (),
        workers_folder: Path | None = None,
    ) -> None:
        check(config)
        self.config = config
        self._listening_sockets = listening_sockets
        self._workers_folder = workers_folder
        self.node_id = new_node_id()
        self.counters = Counters()
        self.log_level = LogLevel(config.log_level)
        self.roster = Roster()
        self.admittance = Admittance(config, generated)
        self.tokens = self.admittance.tokens
        self.permissions = self.admittance.permissions
        self.mounts = self.admittance.mounts
        self.tls = self.admittance.tls
        self.port = 0
        self._listeners = Listeners()
        self._is_started = False

    # --- start

    async def start(self) -> None:
        """Start to listen. If this raises, everything that was started is stopped again."""
        self._check_single_process()
        open_closed_descriptors()
        log_through_logging()
        self._assemble()
        assembly = self.assembly
        self._is_started = True
        try:
            if self.admittance.jwks is not None:
                await self.admittance.jwks.start()
            await self.broker.start()
            if self._workers_folder is not None:
                await learn_revocations(self._workers_folder, self.admittance.revocations)
            await self.cluster.start()
            if assembly.webhooks is not None:
                await assembly.webhooks.start()
            self.heartbeat.start()
            await self._listen()
        except BaseException:
            await self.stop()
            raise

    def _check_single_process(self) -> None:
        """Raise ConfigError for settings that only `fastws serve` supports."""
        if self._workers_folder is None and self.config.workers > 1:
            raise ConfigError(
                f"workers: an embedded server is one process, not {self.config.workers}; use `fastws serve`"
            )
        if self.config.redis_url == EMBEDDED:
            raise ConfigError(
                f"redis_url: {EMBEDDED!r} is only supported by `fastws serve`; give the URL of a Redis server"
            )

    def _assemble(self) -> None:
        if self.admittance.pusher is not None:
            self.admittance.pusher.count_in(self.counters)
            self.roster.realms.update(((self.admittance.pusher.name, app.id), 0) for app in self.admittance.pusher_apps)
        self.assembly = assembly = Assembly(
            self.config,
            self.admittance,
            node_id=self.node_id,
            counters=self.counters,
            roster=self.roster,
            log_level=self.log_level,
            workers_folder=self._workers_folder,
        )
        self.hub = assembly.hub
        self.broker = assembly.broker
        self.cluster = assembly.cluster
        self.gate = assembly.gate
        self.heartbeat = assembly.heartbeat
        self.services = assembly.services
        self.broadcaster = assembly.broadcaster

    async def _listen(self) -> None:
        config, assembly, listeners = self.config, self.assembly, self._listeners
        await listeners.open(assembly.client_protocol, config, self.tls, self._listening_sockets)
        self.port = listeners.port
        if self._workers_folder is not None:
            await listeners.open_private(assembly.worker_protocol, self._own_socket)
        if config.metrics_address is not None:
            is_shared = self._workers_folder is not None
            await listeners.open_for_scrapes(assembly.scrape_protocol, config.metrics_address, is_shared=is_shared)

    @property
    def _own_socket(self) -> Path:
        """The private socket of this worker, for the other workers."""
        return (self._workers_folder or Path()) / f"{os.getpid()}{SOCKET_SUFFIX}"

    @property
    def url(self) -> str:
        """The URL for clients."""
        if self.config.unix_socket is not None:
            return f"unix:{self.config.unix_socket}"
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"{'wss' if self.tls else 'ws'}://{host}:{self.port}/"

    def reload(self) -> None:
        """Reload certificate and key for new connections. Keeps the current ones if the new ones are invalid."""
        if self.tls is None:
            log.info("nothing to reload: TLS is off")
            return
        try:
            self.tls.reload()
        except ConfigError as error:
            log.error("certificate not reloaded: the current one stays in use", error=error.message)  # noqa: TRY400
        else:
            log.info("certificate reloaded")

    # --- shutdown

    async def drain(self, *, is_replaced: bool = False) -> None:
        """Refuse new clients and close all clients with 1012, evenly over `drain_timeout`.

        `is_replaced`: another process listens on the inherited sockets and accepts the new clients instead.
        """
        if is_replaced:
            self._listeners.leave_inherited()
        assembly = self.assembly
        deadline = asyncio.get_running_loop().time() + self.config.drain_timeout
        await drain(
            self.roster,
            self.hub,
            self.gate,
            assembly.tasks.until_done,
            seconds=self.config.drain_timeout,
            is_replaced=is_replaced,
        )
        if assembly.webhooks is not None:
            await assembly.webhooks.drain(max(deadline - asyncio.get_running_loop().time(), WEBHOOK_SECONDS))

    async def stop(self) -> None:
        """Close all clients and stop at once."""
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
        # Until the loop has reported the end of each connection, so that all are counted.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                await self.gate.until_empty()
        if self.assembly.webhooks is not None:
            await self.assembly.webhooks.stop()
        await self.cluster.stop()
        await self.broker.stop()
        self.heartbeat.stop()
        self.assembly.tasks.cancel()
        self.assembly.connection_log.close()
        await self._close_callouts()
        if self.assembly.worker_metrics is not None:
            self.assembly.worker_metrics.save()
            self._own_socket.unlink(missing_ok=True)

    async def _close_callouts(self) -> None:
        assembly = self.assembly
        for callout in (self.admittance.jwks, assembly.authorizer, assembly.event_hook, assembly.metrics_hook):
            if callout is not None:
                await callout.close()

    async def __aenter__(self) -> Server:
        await self.start()
        log.info("listening", url=self.url)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
