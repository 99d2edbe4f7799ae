"""The commander: sends commands to Redis, pipelined and joined per loop iteration, and returns each reply in time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import hiredis
import structlog

from fastws.brokers.redis.wire.resp import error_code, pack, refusal_text
from fastws.brokers.redis.wire.timeouts import DEFAULT_TIMEOUTS, RedisTimeouts
from fastws.errors import BrokerUnavailable, OutcomeUnknown
from fastws.throttled_log import ThrottledLog

MAX_WAITING: Final = 10_000
MAX_WAITING_BYTES: Final = 16_777_216
MAX_IN_FLIGHT: Final = 8192
# A timer that fires later than this was delayed by this process: replies may lie unread in the socket.
_HELD_UP_SECONDS: Final = 0.5
_GRACE_SECONDS: Final = 0.25

# Called with the reply of Redis, which may be a hiredis.ReplyError, or with a BrokerUnavailable if there was none.
Answered = Callable[[object], None]

_log = structlog.get_logger("fastws.redis")


class Command(NamedTuple):
    packed: bytes
    answered: Answered
    expires_at: float
    # Never sent on another connection than the one that was open when it was given.
    is_bound: bool = False


class Staying:
    """The callback of a command that must run here or not at all: in a Redis Cluster, it gets the error ASK."""

    __slots__ = ("_answered",)

    def __init__(self, answered: Answered) -> None:
        self._answered = answered

    def __call__(self, reply: object) -> None:
        self._answered(reply)


class RedisCommander(asyncio.Protocol):
    """Sends commands in the order of `send`. Each callback is called exactly once.

    A command that Redis does not answer within `timeouts.answer_seconds` is refused, and the connection is closed.
    Nothing is sent twice. A new connection first closes the old one in Redis: commands that Redis has not read yet
    must not run after those of the new connection. Commands are sent between `on_up` and `on_down(reason)`.
    `on_read_only(reason)` is called when Redis refuses a write. `scripts` are those that the connection has loaded.
    """

    def __init__(
        self,
        name: str,
        on_up: Callable[[], None],
        on_down: Callable[[str], None],
        timeouts: RedisTimeouts = DEFAULT_TIMEOUTS,
        on_read_only: Callable[[str], None] | None = None,
    ) -> None:
        self.on_ready: Callable[[], None] = _not_linked
        self.on_lost: Callable[[str], None] = _not_linked
        self.is_up = False
        self.scripts: set[bytes] = set()
        self._name = name
        self._on_up = on_up
        self._on_down = on_down
        self._on_read_only = on_read_only
        self._timeouts = timeouts
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[Command] = deque()
        self._waiting_bytes = 0
        self._in_flight: deque[Command] = deque()
        self._client_id: int | None = None
        self._stale_client_id: int | None = None
        self._down_since = float("inf")
        self._is_flush_scheduled = False
        self._is_write_paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._reason = ""
        self._refusals = ThrottledLog(_log)

    def publish(self, name: bytes, payload: bytes, answered: Answered) -> None:
        """PUBLISH `payload`. The reply is the number of Redis clients that received it."""
        packed = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (
            len(name),
            name,
            len(payload),
            payload,
        )
        self.send(packed, answered)

    def publish_word(self, name: bytes) -> bytes:
        """Return the command that publishes on the Redis channel `name`."""
        return b"PUBLISH"

    def for_key(self, key: bytes) -> RedisCommander:
        """Return the commander for commands without a key that prepare others with `key`, such as SCRIPT LOAD."""
        return self

    async def call(self, *words: bytes | str | int | float) -> object:
        """Send one command and return its reply. Raises BrokerUnavailable, also if Redis refuses the command."""
        return await self._replied(words[0], partial(self.send, pack(*words)))

    async def call_publish(self, name: bytes, payload: bytes) -> object:
        """Publish as `publish` does, and return the reply as `call` does."""
        return await self._replied(b"PUBLISH", partial(self.publish, name, payload))

    async def _replied(self, command: bytes | str | int | float, send: Callable[[Answered], None]) -> object:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        send(lambda reply: None if future.done() else future.set_result(reply))
        reply = await future
        if isinstance(reply, BrokerUnavailable):
            raise reply
        if isinstance(reply, hiredis.ReplyError):
            self.log_refusal(command, reply)
            raise BrokerUnavailable(refusal_text(reply), cause=str(reply))
        return reply

    def log_refusal(self, command: bytes | str | int | float, reply: object) -> None:
        """Log `reply` if it is an error, once per minute, command and kind of error. `call` does so by itself."""
        if isinstance(reply, hiredis.ReplyError):
            name = command.decode() if isinstance(command, bytes) else str(command)
            kind = f"{name} {error_code(reply)}"
            self._refusals.warning("redis refused a command", kind=kind, reason=str(reply))

    def send(self, packed: bytes, answered: Answered, *, is_bound: bool = False) -> None:
        """Send an encoded command at the end of this loop iteration. `answered` may be called before this returns.

        With `is_bound` it is refused if the present connection is lost before it is sent.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not self.is_up and now - self._down_since > self._timeouts.answer_seconds:
            answered(BrokerUnavailable("Redis is unavailable; nothing was published: try again"))
            return
        if len(self._waiting) >= MAX_WAITING or self._waiting_bytes + len(packed) > MAX_WAITING_BYTES:
            answered(BrokerUnavailable("too many commands wait for Redis; nothing was published: try again later"))
            return
        self._waiting.append(Command(packed, answered, now + self._timeouts.answer_seconds, is_bound))
        self._waiting_bytes += len(packed)
        if self.is_up and not self._is_flush_scheduled:
            self._is_flush_scheduled = True
            loop.call_soon(self._flush)
        self._arm()

    def flush_soon(self) -> None:
        """Write, after the callbacks that are scheduled already, what waits then."""
        if self.is_up and not self._is_flush_scheduled:
            self._is_flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def send_first(self, *words: bytes | str | int, answered: Answered) -> None:
        """Send one command before all that wait. For `on_up`."""
        self._send_now(words, answered)

    def give_up(self, reason: str) -> None:
        """Close the present connection, if any, for `reason`. The link opens another."""
        if self._transport is not None:
            self._reason = self._reason or reason
            self._transport.abort()

    def connected(self, transport: asyncio.Transport, client_id: int | None) -> None:
        self._transport = transport
        self._reader = hiredis.Reader()
        self.scripts.clear()
        self._client_id = client_id
        self._is_write_paused = False
        # Another Redis, or one that has restarted, may have given this connection the number of the old one.
        if self._stale_client_id in (None, client_id):
            self._open()
        else:
            self._send_now(("CLIENT", "LIST", "ID", self._stale_client_id), self._fence)

    def connection_lost(self, exc: Exception | None) -> None:
        reason = self._reason or (str(exc) if exc else "closed by Redis")
        self._reason = ""
        self._transport = None
        was_up, self.is_up = self.is_up, False
        if was_up:
            self._stale_client_id = self._client_id
            self._down_since = asyncio.get_running_loop().time()
        refusal = OutcomeUnknown("Redis did not answer; it may or may not have been published")
        in_flight, self._in_flight = self._in_flight, deque()
        for command in in_flight:
            self._answer(command, refusal)
        self._refuse_bound()
        if was_up:
            self._on_down(reason)
        self.on_lost(reason)

    def _refuse_bound(self) -> None:
        """Refuse the waiting commands that belong to the lost connection, also those that are sent meanwhile."""
        while bound := [command for command in self._waiting if command.is_bound]:
            self._waiting = deque(command for command in self._waiting if not command.is_bound)
            self._waiting_bytes -= sum(len(command.packed) for command in bound)
            for command in bound:
                self._answer(command, BrokerUnavailable("the connection to Redis was lost; nothing was published"))

    def pause_writing(self) -> None:
        self._is_write_paused = True

    def resume_writing(self) -> None:
        self._is_write_paused = False
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                if isinstance(reply, hiredis.PushNotification):
                    continue
                self._answer(self._in_flight.popleft(), reply)
                if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("READONLY"):
                    self._read_only(str(reply))
        except (hiredis.ProtocolError, IndexError):
            self.give_up("the server at this address is not Redis")
            return
        if self._waiting:
            self._flush()

    def _read_only(self, reason: str) -> None:
        if self._on_read_only is not None:
            self._on_read_only(reason)

    def _fence(self, reply: object) -> None:
        """Close the old connection if Redis still has it. The name proves that the id has not been reused."""
        if isinstance(reply, bytes) and b"name=" + self._name.encode() + b" " in reply:
            self._send_now(("CLIENT", "KILL", "ID", self._stale_client_id or 0), lambda _: self._open())
        else:
            self._open()

    def _open(self) -> None:
        if self._transport is None:
            return
        self._stale_client_id = None
        self.is_up = True
        self.on_ready()
        self._on_up()
        self._flush()

    def _send_now(self, words: tuple[bytes | str | int, ...], answered: Answered) -> None:
        if self._transport is None:
            return
        expires_at = asyncio.get_running_loop().time() + self._timeouts.answer_seconds
        self._in_flight.append(Command(b"", answered, expires_at))
        self._transport.write(pack(*words))
        self._arm()

    def _flush(self) -> None:
        """Write the waiting commands, unless Redis has stalled: what was not sent was certainly not published."""
        self._is_flush_scheduled = False
        if not self.is_up or self._is_write_paused or self._transport is None or self._is_stalled():
            return
        count = min(len(self._waiting), MAX_IN_FLIGHT - len(self._in_flight))
        if count <= 0:
            return
        commands = [self._waiting.popleft() for _ in range(count)]
        self._in_flight.extend(commands)
        data = b"".join([command.packed for command in commands])
        self._waiting_bytes -= len(data)
        self._transport.write(data)

    def _is_stalled(self) -> bool:
        if not self._in_flight:
            return False
        asked_at = self._in_flight[0].expires_at - self._timeouts.answer_seconds
        return asyncio.get_running_loop().time() - asked_at > self._timeouts.stall_seconds

    def _arm(self) -> None:
        """Set the timer for the command that expires first. Both queues are in the order of expiry."""
        if self._timer is None:
            heads = [queue[0].expires_at for queue in (self._in_flight, self._waiting) if queue]
            if heads:
                self._wake_up_at(min(heads))

    def _wake_up_at(self, due: float) -> None:
        # uvloop's handle does not know its time once that has passed.
        self._due = due
        self._timer = asyncio.get_running_loop().call_at(due, self._expire)

    def _expire(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._due > _HELD_UP_SECONDS:
            self._wake_up_at(now + _GRACE_SECONDS)
            return
        self._timer = None
        if self._in_flight and self._in_flight[0].expires_at <= now:
            self.give_up(f"no answer within {self._timeouts.answer_seconds} s")
        while self._waiting and self._waiting[0].expires_at <= now:
            command = self._waiting.popleft()
            self._waiting_bytes -= len(command.packed)
            self._down_since = min(self._down_since, now) if not self.is_up else self._down_since
            self._answer(command, BrokerUnavailable("Redis did not answer; nothing was published: try again"))
        self._arm()

    def _answer(self, command: Command, reply: object) -> None:
        try:
            command.answered(reply)
        except Exception:  # noqa: BLE001 a bug in one callback must not cost the replies after it
            _log.exception("bug while handling a reply from redis")


def _not_linked(reason: str = "") -> None:
    """The callback before a link has set its own."""
