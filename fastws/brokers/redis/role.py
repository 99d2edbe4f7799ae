"""Whether the Redis that we talk to is a primary: what is published on a replica reaches nobody elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import hiredis
import structlog

from fastws.brokers.redis.wire.commander import RedisCommander
from fastws.brokers.redis.wire.handshake import primary_of
from fastws.brokers.redis.wire.resp import pack

_ROLE: Final = pack(b"ROLE")
_INFO: Final = pack(b"INFO", b"replication")
# A canary that no subscriber of the same Redis got so many times in a row was published on another Redis.
STRAYS: Final = 3

_log = structlog.get_logger("fastws.redis")


class RedisRole:
    """Asks by ROLE, by INFO where the ACL lacks that; where it lacks both, READONLY errors alone tell.

    `on_replica(reason)` hears that this Redis is one.
    """

    def __init__(self, commander: RedisCommander, on_replica: Callable[[str], None]) -> None:
        self._commander = commander
        self._on_replica = on_replica
        self._has_complained = False
        self._strays = 0
        self._may_stray = True

    def ask(self) -> None:
        """Ask now; the answer is acted upon when it comes."""
        self._commander.send(_ROLE, self._role)

    def connected(self) -> None:
        """The commands have a new connection, perhaps to another Redis."""
        self._strays = 0
        self._may_stray = True

    def is_stray(self, receivers: object) -> bool:
        """`receivers` subscribers got a canary that the listener should hear: whether it listens to another Redis.

        True once for each connection of the commands at most: a Redis behind a proxy may count in its own way.
        """
        if receivers != 0:
            self._strays = 0
            return False
        self._strays += 1
        if self._strays < STRAYS or not self._may_stray:
            return False
        self._may_stray = False
        return True

    def _role(self, reply: object) -> None:
        if isinstance(reply, hiredis.ReplyError):
            self._commander.send(_INFO, self._info)
        else:
            self._judge(reply)

    def _info(self, reply: object) -> None:
        if not isinstance(reply, hiredis.ReplyError):
            self._judge(reply)
        elif not self._has_complained:
            self._has_complained = True
            _log.warning("redis does not say whether it is a primary", reason=str(reply), remedy="ACL SETUSER … +role")

    def _judge(self, reply: object) -> None:
        primary = primary_of(reply)
        if primary is not None:
            self._on_replica(f"it is a replica of {primary}")
