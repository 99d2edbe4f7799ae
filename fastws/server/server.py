"""The server: one process of fastws, to be started, drained and stopped."""

from __future__ import annotations

import asyncio
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
from fastws.settings import check
from fastws.standard_streams import open_closed_descriptors
from fastws.telemetry.exited_workers import SOCKET_SUFFIX
from fastws.transport.drain import drain
from fastws.vocabulary.connection_ids import new_node_id

log = structlog.stdlib.get_logger("fastws.server")


class Server:
    """One process of fastws, on the event loop that starts it; it takes no signals and leaves logging alone.

    `async with Server(config) as server:` listens until the block is left; `server.port` is the port it got. Leaving
    closes all clients at once; `await server.drain()` before that closes them over `drain_timeout`. `generated` names
    the secrets in `config` that nobody has configured.
    Raises ConfigError where the settings cannot be used, OSError where it cannot listen.
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

    # --- beginning

    async def start(self) -> None:
        """Listen. The server answers from the moment this returns; where it raises, nothing is left behind."""
        self._check_that_one_process_will_do()
        open_closed_descriptors()
        log_through_logging()
        self._assemble()
        self._is_started = True
        try:
            if self.admittance.jwks is not None:
                await self.admittance.jwks.start()
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
        """Where this worker answers for itself alone."""
        return (self._workers_folder or Path()) / f"{os.getpid()}{SOCKET_SUFFIX}"

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
        """Close all clients with 1012 over `drain_timeout`, evenly, and let nobody else in.

        `is_replaced`: another process listens on our sockets and takes new clients, so that nobody is refused.
        """
        if is_replaced:
            self._listeners.leave_inherited()
        assembly = self.assembly
        await drain(
            self.roster,
            self.hub,
            self.gate,
            assembly.tasks.until_done,
            seconds=self.config.drain_timeout,
            is_replaced=is_replaced,
        )

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
        self.assembly.tasks.cancel()
        self.assembly.connection_log.close()
        await self._close_callouts()
        if self.assembly.worker_metrics is not None:
            self.assembly.worker_metrics.keep()
            self._own_socket.unlink(missing_ok=True)

    async def _close_callouts(self) -> None:
        assembly = self.assembly
        for callout in (self.admittance.jwks, assembly.authorizer, assembly.event_hook, assembly.metrics_hook):
            if callout is not None:
                await callout.close()

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
