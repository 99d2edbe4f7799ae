"""The listener: the connection with all subscriptions. It passes each message to a callback as soon as it is read.

Hot: `data_received` runs for every message that any process publishes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

import hiredis

from fastws.brokers.redis.wire.resp import pack

# Names in one SUBSCRIBE: with more, one command blocks Redis for too long; with fewer, there are too many commands.
BATCH: Final = 512
# Channels that are subscribed or unsubscribed in one loop iteration: about 20 ms of work, even with a million channels.
TURN: Final = 16_384
_SUBSCRIBE: Final = b"SUBSCRIBE"
_UNSUBSCRIBE: Final = b"UNSUBSCRIBE"
_PING: Final = b"PING"

# The Redis channels of one channel, subscribed in one command: no message can arrive between two of them.
Names = tuple[bytes, ...]


class Sent:
    """A command under way. Redis owes one reply for each of its names (one for PING) or a single error."""

    __slots__ = ("channels", "names", "owed", "verb")

    def __init__(self, verb: bytes, channels: list[Names], names: list[bytes]) -> None:
        self.verb = verb
        self.channels = channels
        self.names = names
        self.owed = len(names) or 1


class RedisListener(asyncio.Protocol):
    """Keeps the subscriptions of this process, on each connection that the link opens.

    `on_message(name, payload)` is called for every message, synchronously and in the order of Redis.
    `on_subscribed(name)` is called when Redis has confirmed the subscription and no later UNSUBSCRIBE of `name` is
    unanswered: all messages published from then on arrive. `on_refused(names, name, reason)` is called when the ACL
    forbids `name`, one of `names`, which then stay unsubscribed until `ask_again`; for a command that is forbidden as
    a whole, `names` is empty and `name` is the command. None of the callbacks may raise. `on_up()` and
    `on_down(reason)` are called at the start and the end of each connection.
    """

    def __init__(
        self,
        on_message: Callable[[bytes, bytes], None],
        on_subscribed: Callable[[bytes], None],
        on_up: Callable[[], None],
        on_down: Callable[[str], None],
        on_refused: Callable[[Names, bytes, str], None],
    ) -> None:
        self.on_ready: Callable[[], None] = _nobody
        self.on_lost: Callable[[str], None] = _nobody
        self.heard_at = 0.0
        self.is_up = False
        self._on_message = on_message
        self._on_subscribed = on_subscribed
        self._on_up = on_up
        self._on_down = on_down
        self._on_refused = on_refused
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._wanted: dict[Names, None] = {}
        # The subscriptions that Redis will have after all commands sent so far.
        self._asked: set[Names] = set()
        # Number of unconfirmed SUBSCRIBE and UNSUBSCRIBE commands per name. Usually empty.
        self._in_flight: dict[bytes, int] = {}
        # Unanswered commands, in the order in which Redis answers them.
        self._sent: deque[Sent] = deque()
        # Refused before. Each of their names gets its own SUBSCRIBE, so that a refusal hits no other name.
        self._alone: set[Names] = set()
        self._changed: dict[Names, None] = {}
        self._is_scheduled = False
        # Whether this connection has subscribed to any channel.
        self._is_ready = False
        self._clock: Callable[[], float] = _no_time
        self._reason = ""

    def want(self, names: Names) -> None:
        """Subscribe to `names`, at once or on the next connection. `on_subscribed` is called for each name."""
        self._wanted[names] = None
        self._change(names)

    def drop(self, names: Names) -> None:
        """Unsubscribe from `names`."""
        self._wanted.pop(names, None)
        self._alone.discard(names)
        self._change(names)

    def ask_again(self, names: Names) -> None:
        """Try again to subscribe to `names`, which were refused."""
        if names in self._wanted and names not in self._asked:
            self._change(names)

    def accepted(self, names: Names) -> None:
        """Redis has accepted `names`: subscribe them together with others from now on."""
        if self._alone:
            self._alone.discard(names)

    def give_up(self, reason: str) -> None:
        """Close the present connection, if any, for `reason`. The link opens another."""
        if self._transport is not None:
            self._reason = self._reason or reason
            self._transport.abort()

    def ping(self) -> None:
        """Send PING. Any data that arrives updates `heard_at`."""
        if self._transport is not None:
            self._transport.write(self._command(_PING, [], []))

    def connected(self, transport: asyncio.Transport, client_id: int | None) -> None:
        """Use a new connection: subscribe to all wanted names again."""
        self._clock = asyncio.get_running_loop().time
        self.heard_at = self._clock()
        self._reader = hiredis.Reader()
        self._transport = transport
        self._asked.clear()
        self._in_flight.clear()
        self._sent.clear()
        self._changed = dict.fromkeys(self._wanted)
        self.is_up = True
        self._is_ready = False
        self._on_up()
        self._schedule()

    def connection_lost(self, exc: Exception | None) -> None:
        reason = self._reason or (str(exc) if exc else "closed by Redis")
        self._reason = ""
        self._transport = None
        if self.is_up:
            self.is_up = False
            self._on_down(reason)
        self.on_lost(reason)

    def data_received(self, data: bytes) -> None:
        """Pass each message in `data` to `on_message`. Cost: 0.4 µs per message, not counting the callback.

        It has more local names than other code because it runs for every message (benchmarks/test_redis_listener.py).
        """
        self.heard_at = self._clock()
        reader = self._reader
        reader.feed(data)
        gets = reader.gets
        on_message = self._on_message
        try:
            reply = gets()
            while reply is not False:
                if isinstance(reply, list) and reply[0] == b"message":
                    on_message(reply[1], reply[2])
                else:
                    self._confirm(reply)
                reply = gets()
        except (hiredis.ProtocolError, IndexError):
            self.give_up("the server at this address is not Redis")

    def _confirm(self, reply: object) -> None:
        """Handle a reply that is not a message: a confirmation, PONG or an error. Redis answers in command order."""
        sent = self._sent
        if isinstance(reply, list):
            kind = reply[0]
            if kind == b"subscribe":
                self._subscribed(reply[1])
            elif kind == b"unsubscribe":
                self._is_last(reply[1])
            elif kind != b"pong":
                return
        elif isinstance(reply, hiredis.ReplyError):
            self._failed(sent.popleft() if sent else None, str(reply))
            return
        elif reply != b"PONG":
            return
        if sent:
            self._count_answer(sent[0])

    def _count_answer(self, command: Sent) -> None:
        command.owed -= 1
        if not command.owed:
            self._sent.popleft()

    def _subscribed(self, name: bytes) -> None:
        if not self._is_ready:
            self._is_ready = True
            self.on_ready()
        if self._is_last(name):
            self._on_subscribed(name)

    def _is_last(self, name: bytes) -> bool:
        """Count one command with `name` as answered. Return whether no other is unanswered."""
        in_flight = self._in_flight
        outstanding = in_flight.pop(name, 1) - 1
        if outstanding:
            in_flight[name] = outstanding
        return not outstanding

    def _failed(self, command: Sent | None, error: str) -> None:
        """Handle an error: NOPERM concerns `command` alone; any other error, or one without a command, reconnects."""
        if command is None or not error.startswith("NOPERM"):
            self.give_up(error)
            return
        for name in command.names:
            self._is_last(name)
        if command.verb.endswith(_UNSUBSCRIBE):
            # The messages continue to arrive and are dropped.
            self._on_refused((), command.verb, error)
        elif command.verb != _PING and "channel" not in error:
            self.give_up(error)  # SUBSCRIBE itself is forbidden
        elif len(command.names) == 1:
            self._refuse(command.channels[0], command.names[0], error)
        elif self._transport is not None:
            # One forbidden name makes Redis refuse all names of the command. It does not name the forbidden one.
            again = [names for names in command.channels if names in self._asked]
            self._transport.write(b"".join(self._one_by_one(again)))

    def _refuse(self, names: Names, name: bytes, error: str) -> None:
        """Unsubscribe the other names of a refused channel, which gets all of its names or none."""
        if names not in self._asked:
            return
        self._asked.discard(names)
        self._alone.add(names)
        others = [other for other in names if other != name]
        if others and self._transport is not None:
            self._transport.write(self._unsubscription(names, others))
        self._on_refused(names, name, error)

    def _change(self, names: Names) -> None:
        if self._transport is not None:
            self._changed[names] = None
            self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._send_changes)

    def _send_changes(self) -> None:
        """Send the changes since the last iteration. A change that was undone in the meantime is left out."""
        self._is_scheduled = False
        if self._transport is None:
            return
        turn = list(islice(self._changed, TURN))
        for names in turn:
            del self._changed[names]
        subscribe = [names for names in turn if names in self._wanted and names not in self._asked]
        unsubscribe = [names for names in turn if names not in self._wanted and names in self._asked]
        self._asked.update(subscribe)
        self._asked.difference_update(unsubscribe)
        alone = [names for names in subscribe if names in self._alone] if self._alone else []
        if alone:
            subscribe = [names for names in subscribe if names not in self._alone]
        commands = [
            *self._commands(_SUBSCRIBE, subscribe),
            *self._one_by_one(alone),
            *self._commands(_UNSUBSCRIBE, unsubscribe),
        ]
        if commands:
            self._transport.write(b"".join(commands))
        if self._changed:
            self._schedule()
        for names in turn:
            # Dropped and wanted again within one iteration: no command was sent, so Redis will not confirm it.
            if names in self._asked and names[-1] not in self._in_flight:
                for name in names:
                    self._on_subscribed(name)

    def _commands(self, verb: bytes, channels: list[Names]) -> Iterator[bytes]:
        """Yield commands of about BATCH names each. The names of one channel always share a command."""
        for start in range(0, len(channels), BATCH):
            batch = channels[start : start + BATCH]
            yield self._command(verb, batch, [name for names in batch for name in names])

    def _one_by_one(self, channels: list[Names]) -> Iterator[bytes]:
        """Yield a SUBSCRIBE for each name, so that an error concerns exactly one name."""
        for names in channels:
            for name in names:
                yield self._command(_SUBSCRIBE, [names], [name])

    def _unsubscription(self, names: Names, some: list[bytes]) -> bytes:
        """Encode the UNSUBSCRIBE of some of `names`."""
        return self._command(_UNSUBSCRIBE, [names], some)

    def _command(self, verb: bytes, channels: list[Names], names: list[bytes]) -> bytes:
        """Encode a command and expect its replies from now on. The caller must write it at once."""
        in_flight = self._in_flight
        for name in names:
            in_flight[name] = in_flight.get(name, 0) + 1
        self._sent.append(Sent(verb, channels, names))
        return pack(verb, *names)


def _nobody(reason: str = "") -> None:
    """The callback before a link has set its own."""


def _no_time() -> float:
    return 0.0
