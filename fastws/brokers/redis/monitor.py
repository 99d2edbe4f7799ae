"""The monitor: checks every second that messages pass through Redis, and replaces connections that pass none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

import hiredis

from fastws.brokers.redis.probe import RedisProbe
from fastws.brokers.redis.refusals import RedisRefusals
from fastws.brokers.redis.role import RedisRole
from fastws.brokers.redis.wire.commander import RedisCommander
from fastws.brokers.redis.wire.listener import RedisListener
from fastws.brokers.redis.wire.timeouts import RedisTimeouts

# A beat that is later than this was delayed by this process. It proves nothing about Redis.
LATE_BEAT_SECONDS: Final = 0.5
_PROBE_LOST: Final = "Redis answers commands, but published messages do not arrive"


class RedisMonitor:
    """Publishes a probe on the Redis channel `name` every second and expects it back.

    The broker calls `commander_up`, `connected`, `listener_down`, `subscribed` (to `name`) and `received`. `sweep(now)`
    is called on each beat, for what the broker has to clean up. `observe_lag` gets the seconds that each probe took.
    """

    def __init__(
        self,
        name: bytes,
        commander: RedisCommander,
        listener: RedisListener,
        refusals: RedisRefusals,
        timeouts: RedisTimeouts,
        observe_lag: Callable[[float], None],
        sweep: Callable[[float], None],
    ) -> None:
        self.name = name
        # Set when the first probe has come back.
        self.first_received = asyncio.Event()
        self.role = RedisRole(commander, self.leave_replica)
        self._commander = commander
        self._listener = listener
        self._refusals = refusals
        self._timeouts = timeouts
        self._observe_lag = observe_lag
        self._sweep = sweep
        self._probe: RedisProbe | None = None
        self._may_publish = True
        self._is_subscribed = False
        self._role_asked_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    @property
    def is_up(self) -> bool:
        """Whether a probe has come back in the last 3 seconds."""
        return self._probe is not None and self._probe.is_fresh

    @property
    def is_forbidden(self) -> bool:
        """Whether the ACL of Redis forbids to publish or receive the probe."""
        return not self._may_publish or (self.name,) in self._refusals

    def start(self) -> None:
        self._probe = RedisProbe(asyncio.get_running_loop().time, self._observe_lag, self._timeouts)
        self._schedule()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def commander_up(self) -> None:
        """The commander has a new connection, perhaps to another Redis."""
        self.role.connected()
        self._send_probe()

    def connected(self) -> None:
        """One of the connections is up. When both are, the probe is expected."""
        if self._probe is not None and self._listener.is_up and self._commander.is_up:
            self._probe.connected()

    def listener_down(self) -> None:
        self._is_subscribed = False

    def subscribed(self) -> None:
        """Redis has confirmed the subscription to `name`."""
        self._is_subscribed = True
        self._send_probe()

    def received(self, payload: bytes) -> None:
        """A probe, or what another client has published on `name`, has arrived."""
        if self._probe is not None:
            self._probe.received(payload)
            self.first_received.set()

    def leave_replica(self, reason: str) -> None:
        """Close both connections: messages that are published on a replica do not reach other processes.

        The handshake accepts no replica, so both connections will end on a primary. Not up until a probe comes back.
        """
        if self._probe is not None:
            self._probe.forget()
        self._commander.give_up(reason)
        self._listener.give_up(reason)

    def beat(self) -> None:
        """Runs every second: send a probe, ask for the role, clean up, check both connections."""
        now = asyncio.get_running_loop().time()
        was_late = now - self._due > LATE_BEAT_SECONDS
        self._schedule()
        self._send_probe()
        if self._commander.is_up and now - self._role_asked_at >= self._timeouts.role_seconds:
            self._role_asked_at = now
            self.role.ask()
        self._sweep(now)
        if not was_late:
            self._check_connections(now)

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + self._timeouts.probe_seconds
        self._timer = loop.call_at(self._due, self.beat)

    def _send_probe(self) -> None:
        if self._probe is not None and self._listener.is_up and self._commander.is_up:
            answered = partial(self._probe_answered, self._is_subscribed)
            self._commander.publish(self.name, self._probe.payload(), answered)

    def _probe_answered(self, is_subscribed: bool, reply: object) -> None:  # noqa: FBT001 partial binds it
        """Check whether the probe was published at all, and on the Redis that the listener is connected to."""
        if is_subscribed and self.role.is_stray(reply):
            self._listener.give_up("it is connected to another Redis than the commands")
        self._may_publish = not (isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOPERM"))
        if not self._may_publish:
            self._refusals.log("PUBLISH", self.name, str(reply))

    def _check_connections(self, now: float) -> None:
        if not self._listener.is_up:
            return
        silence_seconds = now - self._listener.heard_at
        if silence_seconds > self._timeouts.silence_seconds:
            self._listener.give_up(f"silent for {silence_seconds:.0f} s")
        elif silence_seconds > self._timeouts.ping_seconds:
            self._listener.ping()
        if self.is_forbidden:
            return  # new connections would not bring the probe back either
        if self._commander.is_up and self._probe is not None and self._probe.is_lost():
            self._listener.give_up(_PROBE_LOST)
            self._commander.give_up(_PROBE_LOST)
