"""Detects a replica: messages that are published there do not reach the other processes."""

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
# After this many probes in a row that reached no subscriber, the commands go to another Redis than the listener.
STRAYS: Final = 3

_log = structlog.get_logger("fastws.redis")


class RedisRole:
    """Sends ROLE, or INFO if the ACL forbids ROLE. If it forbids both, only READONLY errors show a replica.

    Calls `on_replica(reason)` if Redis is a replica.
    """

    def __init__(self, commander: RedisCommander, on_replica: Callable[[str], None]) -> None:
        self._commander = commander
        self._on_replica = on_replica
        self._has_logged = False
        self._strays = 0
        self._may_stray = True

    def ask(self) -> None:
        """Send the question. `on_replica` may be called when the reply arrives."""
        self._commander.send(_ROLE, self._role_answered)

    def connected(self) -> None:
        """The commander has a new connection, perhaps to another Redis."""
        self._strays = 0
        self._may_stray = True

    def is_stray(self, receivers: object) -> bool:
        """Return whether the listener is connected to another Redis, given that a probe reached `receivers` clients.

        At most once True per connection of the commander, because a proxy may not count receivers correctly.
        """
        if receivers != 0:
            self._strays = 0
            return False
        self._strays += 1
        if self._strays < STRAYS or not self._may_stray:
            return False
        self._may_stray = False
        return True

    def _role_answered(self, reply: object) -> None:
        if isinstance(reply, hiredis.ReplyError):
            self._commander.send(_INFO, self._info_answered)
        else:
            self._check(reply)

    def _info_answered(self, reply: object) -> None:
        if not isinstance(reply, hiredis.ReplyError):
            self._check(reply)
        elif not self._has_logged:
            self._has_logged = True
            _log.warning("cannot determine the role of redis", reason=str(reply), remedy="ACL SETUSER … +role")

    def _check(self, reply: object) -> None:
        primary = primary_of(reply)
        if primary is not None:
            self._on_replica(f"it is a replica of {primary}")
