"""The way of a subscription, compared with a model: no member misses a message without a gap notice.

A client joins as the session lets it, while the connection to Redis is lost and opened again at any step, commands and
replies wait on the wire, and channels are forbidden and allowed.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import hiredis
import pytest

from fastws.brokers.redis import subscriptions as module
from fastws.brokers.redis.channels import RedisNames
from fastws.brokers.redis.refusals import RedisRefusals
from fastws.brokers.redis.subscriptions import RedisSubscriptions
from fastws.brokers.redis.wire.listener import Names, RedisListener
from fastws.config import Config
from fastws.counters import Counters
from fastws.errors import BrokerUnavailable, FastWSError
from fastws.hub.hub import Hub
from fastws.session.joining import Joining, stop_listening
from fastws.vocabulary.positions import Past, Recovery
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Gap, Reply
from tests.hub.members import LineForm, Listener
from tests.model_runs import runs

CHANNELS = ("a", "b", "c")
# Channels with a history, which answers when the test says so.
KEPT = ("c",)
SEATS = 3
LIVES = runs(1000)
LINGER_SECONDS = 5.0
FORM = LineForm("all")


def push(*items: bytes) -> bytes:
    return b"*%d\r\n" % len(items) + b"".join(b"$%d\r\n%b\r\n" % (len(item), item) for item in items)


class Redis:
    """One connection to a Redis: commands wait until `execute`, replies and messages until `take`."""

    def __init__(self, forbidden: set[bytes]) -> None:
        self._reader = hiredis.Reader()
        self._forbidden = forbidden
        self._subscribed: set[bytes] = set()
        self._commands: deque[list[bytes]] = deque()
        self.replies: deque[bytes] = deque()
        self.is_aborted = False

    def write(self, data: bytes) -> None:
        self._reader.feed(data)
        self._commands.extend(iter(self._reader.gets, False))

    def abort(self) -> None:
        self.is_aborted = True

    @property
    def is_idle(self) -> bool:
        return not self._commands and not self.replies

    def execute(self) -> None:
        if not self._commands:
            return
        verb, *names = self._commands.popleft()
        if verb == b"SUBSCRIBE" and self._forbidden.intersection(names):
            self.replies.append(b"-NOPERM No permissions to access a channel\r\n")
            return
        for name in names:
            (self._subscribed.add if verb == b"SUBSCRIBE" else self._subscribed.discard)(name)
            self.replies.append(push(verb.lower(), name, b"0"))

    def publish(self, name: bytes, payload: bytes) -> None:
        if name in self._subscribed:
            self.replies.append(push(b"message", name, payload))


class Member(Listener):
    """A client as the session and the hub know it, and what it is owed for each channel since it has joined."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.is_waiting = False
        # Numbers that it must get, in order, or be told of as missed.
        self.owed: dict[str, deque[int]] = {}
        self.excused: dict[str, int] = {}
        self.latest: dict[str, int] = {}

    def joined(self, channel: str) -> None:
        self.owed[channel], self.excused[channel], self.latest[channel] = deque(), 0, 0

    def _take(self, data: bytes) -> bool:
        assert not self.is_gone
        for line in data.decode().splitlines():
            channel, _, number = line.split("|")
            self.receive(channel, int(number))
        return False

    def receive(self, channel: str, number: int) -> None:
        owed = self.owed[channel]
        assert number > self.latest[channel], f"{self.id} got {channel} #{number} after #{self.latest[channel]}"
        self.latest[channel] = number
        if not owed or number < owed[0]:
            return  # published before it has joined: it may arrive or not
        while owed and owed[0] < number and owed[0] <= self.excused[channel]:
            owed.popleft()
        assert owed
        assert owed.popleft() == number, f"{self.id} got {channel} #{number} and not the one before"

    def notify(self, reply: Reply) -> None:
        if isinstance(reply, Gap):
            self.excused[reply.channel] = max(self.owed[reply.channel], default=0)

    def pause_reading(self) -> None:
        self.is_waiting = True

    def resume_reading(self) -> None:
        self.is_waiting = False

    def missed(self) -> dict[str, list[int]]:
        return {
            channel: missed
            for channel, owed in self.owed.items()
            if (missed := [number for number in owed if number > self.excused[channel]])
        }


class SlowHistory:
    """Reads the past of KEPT in `answer_first`, one subscriber at a time."""

    plain = SimpleNamespace(listen_seconds=lambda channel: 0.0)

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._asked: deque[tuple[str, Callable[[Any], None]]] = deque()

    def keeps(self, channel: str) -> bool:
        return channel in KEPT

    def recover(self, channel: str, past: Past, answer: Callable[[Any], None], late: object) -> None:
        self._asked.append((channel, answer))

    def confirmed(self, channel: str) -> None:
        self._hub.gap(channel)

    def forget(self, channel: str) -> None:
        """Nobody will read it any more: its subscribers join without a position."""
        here = [answer for name, answer in self._asked if name == channel]
        self._asked = deque((name, answer) for name, answer in self._asked if name != channel)
        for answer in here:
            answer(Recovery(None, None))

    def answer_first(self) -> None:
        if self._asked:
            self._asked.popleft()[1](Recovery(None, None))

    @property
    def is_idle(self) -> bool:
        return not self._asked


class World:
    """One process with its clients, and the Redis that it is connected to at times."""

    def __init__(self) -> None:
        self.now = 0.0
        self.number = 0
        self.forbidden: set[bytes] = set()
        self.redis: Redis | None = None
        self.soon: list[Callable[[], None]] = []
        self.hub = Hub(
            counters=Counters(),
            schedule=self.soon.append,
            schedule_later=lambda _, callback: self.soon.append(callback),
            emptied=lambda name: stop_listening(self.services, name),  # type: ignore[arg-type]
        )
        self.names = RedisNames(Config())
        self.listener = RedisListener(
            self._receive,
            lambda name: self.subscriptions.confirmed(self.node, name),
            lambda: None,
            lambda _: self.subscriptions.lost(self.node),
            self._refused,
        )
        self.refusals = RedisRefusals(self.listener.ask_again, lambda: self.now, "")
        self.history = SlowHistory(self.hub)
        self.node: Any = SimpleNamespace(listener=self.listener, refusals=self.refusals, history=self.history)
        topology: Any = SimpleNamespace(node_of=lambda _: self.node, other_feed_nodes=lambda _: ())
        self.subscriptions = RedisSubscriptions(self.hub, self.names, topology, LINGER_SECONDS)
        self.services = SimpleNamespace(
            hub=self.hub,
            broker=SimpleNamespace(
                listen=self.subscriptions.listen,
                unlisten=lambda name: self.subscriptions.unlisten(name, self.now),
                refusal=self.subscriptions.refusal,
                receives_everything=False,
            ),
            pending_channels={},
            recovering={},
            config=SimpleNamespace(max_channels=1000),
            history=self.history,
            counters=Counters(),
        )
        self.seats = [Member(f"m{seat}") for seat in range(SEATS)]
        self.sessions = [self._session(member) for member in self.seats]

    def _session(self, member: Member) -> Any:
        def flush_before_reply(channel: str) -> bool:
            self.hub.flush_channel(channel)
            return not member.is_gone

        return SimpleNamespace(
            services=self.services, peer=member, form=FORM, backlog=None, flush_before_reply=flush_before_reply
        )

    def _receive(self, name: bytes, payload: bytes) -> None:
        route = self.subscriptions.routes.get(name)
        if route is not None:
            self.hub.deliver(Publication(route[0], "e", int(payload)))

    def _refused(self, names: Names, name: bytes, reason: str) -> None:
        if names:
            self.refusals.refused(names, name, reason)
            self.subscriptions.refused(names)

    # --- steps

    def join(self, seat: int, channel: str) -> None:
        member, session = self.seats[seat], self.sessions[seat]
        if member.is_waiting or channel in member.owed:
            return

        def refused(error: FastWSError) -> None:
            assert isinstance(error, BrokerUnavailable)

        Joining(session, channel, None, lambda _: member.joined(channel), refused).run()

    def leave(self, seat: int, channel: str) -> None:
        member = self.seats[seat]
        if member.is_waiting or channel not in member.owed:
            return
        self.hub.flush_channel(channel)
        self.hub.unsubscribe(member, channel)
        del member.owed[channel]

    def go(self, seat: int) -> None:
        """A client disconnects, and another takes its seat."""
        member = self.seats[seat]
        member.is_gone = True
        self.hub.leave(member)
        self.seats[seat] = Member(f"{member.id}'")
        self.sessions[seat] = self._session(self.seats[seat])

    def publish(self, channel: str) -> None:
        """Another process publishes, and Redis accepts it."""
        self.number += 1
        for member in self.seats:
            if channel in member.owed:
                member.owed[channel].append(self.number)
        if self.redis is not None:
            self.redis.publish(self._name(channel), str(self.number).encode())

    def _name(self, channel: str) -> bytes:
        return self.names.redis_channels(channel)[-1].name

    def execute(self) -> None:
        if self.redis is not None:
            self.redis.execute()

    def read(self, count: int) -> None:
        if self.redis is not None and self.redis.replies:
            replies = self.redis.replies
            self.listener.data_received(b"".join([replies.popleft() for _ in range(min(count, len(replies)))]))
            if self.redis.is_aborted:
                self.lose()

    def lose(self) -> None:
        if self.redis is not None:
            self.redis = None
            self.listener.connection_lost(None)

    def connect(self) -> None:
        if self.redis is None:
            self.redis = Redis(self.forbidden)
            self.listener.connected(self.redis, None)  # type: ignore[arg-type]

    def allow(self, channel: str) -> None:
        self.forbidden.discard(self._name(channel))

    def forbid(self, channel: str) -> None:
        """Redis closes the connections of a user that has lost rights."""
        self.forbidden.add(self._name(channel))
        self.lose()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.subscriptions.sweep(self.now)
        self.refusals.sweep(self.now)

    def flush(self) -> None:
        soon, self.soon[:] = list(self.soon), []
        for callback in soon:
            callback()

    def recover(self) -> None:
        self.history.answer_first()

    async def settle(self) -> None:
        """Redis is back and allows everything; all is read and written."""
        self.forbidden.clear()
        self.connect()
        for _ in range(20):
            self.wait(30.0)
            await asyncio.sleep(0)
            while self.redis is not None and not self.redis.is_idle:
                self.execute()
                self.read(100)
                await asyncio.sleep(0)
            while not self.history.is_idle:
                self.recover()
            while self.soon:
                self.flush()


Life = list[tuple[Any, ...]]

# How often each step is drawn. In some lives no channel is ever forbidden, in some the loop turns more often.
OFTEN = {"join": 3, "leave": 2, "go": 1, "publish": 4, "execute": 3, "read": 4, "lose": 1, "connect": 2, "wait": 1}
OFTEN |= {"flush": 2, "turn": 2, "recover": 1}


def _random_life(seed: int) -> Life:
    rng = random.Random(seed)
    often = dict(OFTEN, turn=rng.choice((1, 3, 6)))
    if rng.random() < 0.5:
        often |= {"forbid": 1, "allow": 1}
    names = rng.choices(list(often), list(often.values()), k=rng.choice((15, 40, 150)))
    draw: dict[str, Callable[[], tuple[Any, ...]]] = {
        "join": lambda: (rng.randrange(SEATS), rng.choice(CHANNELS)),
        "leave": lambda: (rng.randrange(SEATS), rng.choice(CHANNELS)),
        "go": lambda: (rng.randrange(SEATS),),
        "publish": lambda: (rng.choice(CHANNELS),),
        "forbid": lambda: (rng.choice(CHANNELS),),
        "allow": lambda: (rng.choice(CHANNELS),),
        "read": lambda: (rng.randint(1, 5),),
        "wait": lambda: (rng.choice((0.5, 6.0)),),
    }
    return [(name, *draw[name]()) if name in draw else (name,) for name in names]


async def _live(life: Life) -> None:
    world = World()
    for name, *arguments in life:
        if name == "turn":
            await asyncio.sleep(0)
        else:
            getattr(world, name)(*arguments)
    await world.settle()
    for channel in CHANNELS:
        world.publish(channel)
    await world.settle()
    for member in world.seats:
        assert not member.is_waiting
        assert not member.missed(), f"{member.id} has missed {member.missed()}"


@pytest.fixture(autouse=True)
def _few_channels_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LINGERING", 1)


@pytest.mark.parametrize("begin", range(0, LIVES, LIVES // 10))
def test_no_member_misses_a_message_without_a_gap_notice(begin: int) -> None:
    for seed in range(begin, begin + LIVES // 10):
        try:
            asyncio.run(_live(_random_life(seed)))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


@pytest.mark.parametrize(
    "life",
    [
        [
            ("join", 2, "c"),
            ("connect",),
            ("join", 2, "a"),
            ("join", 0, "a"),
            ("turn",),
            ("execute",),
            ("go", 2),
            ("read", 5),
        ],
        [("connect",), ("join", 2, "c"), ("join", 1, "b"), ("go", 1), ("join", 1, "b"), ("go", 2)],
        [("connect",), ("join", 2, "c"), ("join", 1, "b"), ("go", 1), ("join", 1, "b"), ("go", 2), ("lose",)],
    ],
    ids=["confirmed", "confirmed-later", "lost"],
)
def test_client_that_goes_while_it_waits_leaves_the_channel_to_those_after_it(life: Life) -> None:
    asyncio.run(_live(life))


# A member of c, whose subscription Redis has confirmed.
_JOINED = (("connect",), ("join", 0, "c"), ("turn",), ("execute",), ("read", 1), ("recover",))


@pytest.mark.parametrize(
    "life",
    [
        [*_JOINED, ("join", 1, "c"), ("go", 0), ("wait", 6.0)],
        [*_JOINED, ("join", 1, "c"), ("leave", 0, "c"), ("lose",)],
        [*_JOINED[:-1], ("go", 0), ("join", 1, "c"), ("recover",), ("wait", 6.0)],
    ],
    ids=["left", "left-and-lost", "given-up"],
)
def test_channel_is_kept_for_a_client_that_waits_for_its_past(life: Life) -> None:
    asyncio.run(_live(life))
