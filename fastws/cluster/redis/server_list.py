"""Notices that processes were started with different lists of Redis servers: their channels would lie apart."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from fastws.brokers.redis.broker import RedisBroker
from fastws.codec.msgpack_binary import MSGPACK
from fastws.throttled_log import ThrottledLog

# Interval at which a process announces its list on the servers that do not hold its registry.
ANNOUNCE_SECONDS: Final = 5.0

_log = structlog.get_logger("fastws.redis")


class ServerListCheck:
    """Compares the fingerprint of the list of this process with those of the other processes.

    Processes with the same first server find the fingerprint in each message of the registry, on `channel` there. With
    another first server they have a registry of their own: for these, the fingerprint is published on all other
    servers.
    """

    def __init__(self, broker: RedisBroker, channel: bytes) -> None:
        # Empty if the processes do not need the same list.
        self.fingerprint = broker.topology.servers
        self._broker = broker
        self._channel = channel
        self._announced_at = float("-inf")
        self._failures = ThrottledLog(_log)

    def announce(self) -> None:
        """Publish the fingerprint on the servers that do not hold the registry, if that is due."""
        now = asyncio.get_running_loop().time()
        if not self.fingerprint or now - self._announced_at < ANNOUNCE_SECONDS:
            return
        self._announced_at = now
        message = {"node": self._broker.node_id, "seq": 0, "servers": self.fingerprint, "registry": "elsewhere"}
        for node in self._broker.nodes:
            if node is not self._broker.topology.home and node.commander.is_up:
                node.commander.publish(self._channel, MSGPACK.dumps(message), _ignored)

    def check(self, message: Mapping[str, object]) -> bool:
        """Log it if the list of the sender differs. Returns whether the sender belongs to the registry of this node."""
        if message.get("servers", "") != self.fingerprint:
            self._failures.error("redis_url differs between processes", node=message["node"])
        return message.get("registry") != "elsewhere"


def _ignored(reply: object) -> None:
    """Nothing follows: it is published again."""
