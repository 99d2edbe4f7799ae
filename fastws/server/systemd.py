"""The protocols of systemd: state notifications (sd_notify(3)) and inherited sockets (sd_listen_fds(3)).

Their variables are removed from the environment, so that processes that hooks start do not speak for the server.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from dataclasses import replace

import structlog

from fastws.access.local_peers import is_loopback
from fastws.config import Config

log = structlog.stdlib.get_logger("fastws.server")

FIRST_SOCKET = 3


class Notifier:
    """Sends the state of the service to `NOTIFY_SOCKET`; does nothing if systemd did not start this process.

    `watchdog_seconds` is the interval between two calls of `watchdog`, half of the limit; None without a watchdog.
    Never blocks and never raises.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        # A leading @ stands for the abstract namespace of Linux.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        limit, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        is_watched = self._address and limit.isdecimal() and pid in ("", str(os.getpid()))
        self.watchdog_seconds = int(limit) / 2_000_000 if is_watched else None
        self._watchdog_at = 0.0

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """Report that a reload has begun; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1\nSTATUS=draining")

    def watchdog(self) -> None:
        """Report that the process is alive, at most once in `watchdog_seconds`. Call it often."""
        now = time.monotonic()
        if self.watchdog_seconds is not None and now >= self._watchdog_at:
            self._watchdog_at = now + self.watchdog_seconds / 2
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.setblocking(False)  # noqa: FBT003 its only form
                notify.sendto(text.encode(), self._address)
        except OSError as error:
            log.warning("state not reported to systemd", state=text.partition("\n")[0], error=str(error))


def take_sockets(environment: MutableMapping[str, str]) -> list[socket.socket]:
    """Return the listening sockets that systemd passes to this process (a unit fastws.socket), if any."""
    pid, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
    environment.pop("LISTEN_FDNAMES", "")
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    sockets = [socket.socket(fileno=FIRST_SOCKET + number) for number in range(int(count))]
    for each in sockets:
        each.set_inheritable(False)
    return sockets


def with_address_of(config: Config, sockets: list[socket.socket]) -> Config:
    """Return `config` with the address of inherited `sockets`: it decides which clients are local.

    Of several addresses the one that is reachable from elsewhere counts.
    """
    addresses = [each.getsockname() for each in sockets if each.family != socket.AF_UNIX]
    if not addresses:
        return replace(config, unix_socket=str(sockets[0].getsockname())) if sockets else config
    host, port = min(addresses, key=lambda address: is_loopback(address[0]))[:2]
    return replace(config, host=host, port=port, unix_socket=None)
