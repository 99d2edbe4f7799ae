"""The commander: pipelined commands to Redis, joined per loop turn, each answered or refused in time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import hiredis
import structlog

from fastws.brokers.redis.wire.resp import pack
from fastws.brokers.redis.wire.timeouts import PATIENT, RedisTimeouts
from fastws.errors import BrokerUnavailable

MAX_WAITING: Final = 10_000
MAX_WAITING_BYTES: Final = 16_777_216
MAX_IN_FLIGHT: Final = 8192
# A timer that comes later than this was held up by our own process: answers may lie in the socket unread.
_HELD_UP_SECONDS: Final = 0.5
_GRACE_SECONDS: Final = 0.25

# Hears Redis's reply, a hiredis.ReplyError, or a BrokerUnavailable where there was none.
Answered = Callable[[object], None]

_log = structlog.get_logger("fastws.redis")


class _Command(NamedTuple):
    packed: bytes
    answered: Answered
    expires_at: float


class RedisCommander(asyncio.Protocol):
    """Sends commands in the order they came and hands each its reply, exactly once.

    What is not answered in `timeouts.answer_seconds` is refused, and the connection given up: nothing is sent
    twice. A new connection first closes the old one in Redis, so that nothing that may still lie there unread
    is carried out after what is sent now. Between `on_up` and `on_down(reason)` commands flow.
    """

    def __init__(
        self,
        name: str,
        on_up: Callable[[], None],
        on_down: Callable[[str], None],
        timeouts: RedisTimeouts = PATIENT,
    ) -> None:
        self.on_lost: Callable[[str], None] = _nobody
        self.is_up = False
        self._name = name
        self._on_up = on_up
        self._on_down = on_down
        self._timeouts = timeouts
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[_Command] = deque()
        self._waiting_bytes = 0
        self._in_flight: deque[_Command] = deque()
        self._client_id: int | None = None
        self._stale_client_id: int | None = None
        self._down_since = float("inf")
        self._is_flush_scheduled = False
        self._is_write_paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._reason = ""

    def publish(self, name: bytes, payload: bytes, answered: Answered) -> None:
        """PUBLISH `payload`; the answer is the number of Redis clients that got it."""
        packed = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (
            len(name),
            name,
            len(payload),
            payload,
        )
        self.send(packed, answered)

    async def call(self, *words: bytes | str | int | float) -> object:
        """One command, its reply awaited. Raises BrokerUnavailable, also where Redis refuses the command."""
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.send(pack(*words), lambda reply: None if future.done() else future.set_result(reply))
        reply = await future
        if isinstance(reply, BrokerUnavailable):
            raise reply
        if isinstance(reply, hiredis.ReplyError):
            _log.warning("redis refused a command", command=str(words[0]), reason=str(reply))
            raise BrokerUnavailable("Redis refused the command")
        return reply

    def send(self, packed: bytes, answered: Answered) -> None:
        """Send a packed command at the end of this loop turn; `answered` may be called at once."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not self.is_up and now - self._down_since > self._timeouts.answer_seconds:
            answered(BrokerUnavailable("Redis is not there; nothing was published"))
            return
        if len(self._waiting) >= MAX_WAITING or self._waiting_bytes + len(packed) > MAX_WAITING_BYTES:
            answered(BrokerUnavailable("too much waits for Redis; nothing was published"))
            return
        self._waiting.append(_Command(packed, answered, now + self._timeouts.answer_seconds))
        self._waiting_bytes += len(packed)
        if self.is_up and not self._is_flush_scheduled:
            self._is_flush_scheduled = True
            loop.call_soon(self._flush)
        self._arm()

    def give_up(self, reason: str) -> None:
        """End the present connection, for `reason`; the link opens another."""
        self._reason = reason
        if self._transport is not None:
            self._transport.abort()

    def connected(self, transport: asyncio.Transport, client_id: int | None) -> None:
        self._transport = transport
        self._reader = hiredis.Reader()
        self._client_id = client_id
        self._is_write_paused = False
        if self._stale_client_id is None:
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
        refusal = BrokerUnavailable("Redis did not answer; it may or may not have been published")
        in_flight, self._in_flight = self._in_flight, deque()
        for command in in_flight:
            self._answer(command, refusal)
        if was_up:
            self._on_down(reason)
        self.on_lost(reason)

    def pause_writing(self) -> None:
        self._is_write_paused = True

    def resume_writing(self) -> None:
        self._is_write_paused = False
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                if not isinstance(reply, hiredis.PushNotification):
                    self._answer(self._in_flight.popleft(), reply)
        except (hiredis.ProtocolError, IndexError):
            self.give_up("what answers there is no Redis")
            return
        if self._waiting:
            self._flush()

    def _fence(self, reply: object) -> None:
        """Close our old connection if Redis still has it; the name proves that the number is ours."""
        if isinstance(reply, bytes) and b"name=" + self._name.encode() + b" " in reply:
            self._send_now(("CLIENT", "KILL", "ID", self._stale_client_id or 0), lambda _: self._open())
        else:
            self._open()

    def _open(self) -> None:
        if self._transport is None:
            return
        self._stale_client_id = None
        self.is_up = True
        self._on_up()
        self._flush()

    def _send_now(self, words: tuple[str | int, ...], answered: Answered) -> None:
        if self._transport is None:
            return
        expires_at = asyncio.get_running_loop().time() + self._timeouts.answer_seconds
        self._in_flight.append(_Command(b"", answered, expires_at))
        self._transport.write(pack(*words))
        self._arm()

    def _flush(self) -> None:
        """Write what waits, unless Redis is slow to answer what it has: then it is better kept here."""
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
        """Wake up when the oldest command expires; the queues are in the order of their ends."""
        if self._timer is None:
            heads = [queue[0].expires_at for queue in (self._in_flight, self._waiting) if queue]
            if heads:
                self._wake_up_at(min(heads))

    def _wake_up_at(self, due: float) -> None:
        # Kept here, because uvloop's handle for a time that has passed does not know it.
        self._due = due
        self._timer = asyncio.get_running_loop().call_at(due, self._expire)

    def _expire(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._due > _HELD_UP_SECONDS:
            self._wake_up_at(now + _GRACE_SECONDS)
            return
        self._timer = None
        if self._in_flight and self._in_flight[0].expires_at <= now:
            self.give_up(f"no answer in {self._timeouts.answer_seconds} s")
        while self._waiting and self._waiting[0].expires_at <= now:
            command = self._waiting.popleft()
            self._waiting_bytes -= len(command.packed)
            self._down_since = min(self._down_since, now) if not self.is_up else self._down_since
            self._answer(command, BrokerUnavailable("Redis does not answer; nothing was published"))
        self._arm()

    def _answer(self, command: _Command, reply: object) -> None:
        try:
            command.answered(reply)
        except Exception:  # noqa: BLE001 a receipt's bug must not cost the replies behind it
            _log.exception("a reply from redis was not taken well")


def _nobody(reason: str) -> None:
    """No link yet."""
