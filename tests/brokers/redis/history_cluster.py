"""Processes with real brokers on a Redis in memory, a test that decides every step, and clients that check it all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any

from fastws.brokers.envelope import decode_numbered
from fastws.brokers.history import HistoryRule, HistoryRules
from fastws.brokers.redis.broker import RedisBroker
from fastws.codec.registry import decoded
from fastws.config import Config
from fastws.errors import FastWSError
from fastws.hub.ports import Receipt
from fastws.vocabulary.positions import Past, Position, Recovery
from fastws.vocabulary.publication import Publication
from tests.brokers.redis.fake_redis import FakeRedis, Pipe, resp
from tests.brokers.redis.stepped_loop import SteppedLoop

CHANNEL = "c"
LOOKS = 1.0


def noted(check: Callable[..., None]) -> Callable[..., None]:
    """Keep what `check` finds in the faults of the cluster: the broker logs what its hub raises, and goes on."""

    @wraps(check)
    def checked(self: Client | Ticket, *arguments: Any) -> None:
        try:
            check(self, *arguments)
        except Exception as error:
            self.cluster.faults.append(error)
            raise

    return checked


@dataclass(eq=False)
class Client:
    """A subscriber that notices whatever breaks the promise of history."""

    cluster: Cluster
    past: Past
    position: Position | None = None
    has_joined = False
    outcome: str | None = None
    gaps: list[Position] = field(default_factory=list)
    heard: set[Position] = field(default_factory=set)

    @noted
    def answered(self, recovery: Recovery) -> None:
        self.outcome = recovery.outcome
        offsets = [publication.offset for publication in recovery.publications]
        position = self.position = recovery.position
        if position is None:
            assert not offsets
            return
        if recovery.outcome == "recovered":
            assert isinstance(self.past, Position)
            assert self.past.epoch == position.epoch
            assert offsets == list(range(self.past.offset + 1, position.offset + 1)), "recovered, but not everything"
        else:
            assert isinstance(self.past, int) or not offsets
            assert offsets == list(range(position.offset + 1 - len(offsets), position.offset + 1))
        for publication in recovery.publications:
            self._check(publication, position.epoch)

    @noted
    def deliver(self, publication: Publication) -> None:
        assert self.position is not None, "a delivery before the position is known"
        assert publication.offset == self.position.offset + 1, f"{publication.offset} follows {self.position}"
        self.position = Position(publication.offset, self.position.epoch)
        self._check(publication, self.position.epoch)

    @noted
    def gap(self, position: Position | None) -> None:
        assert position is not None
        assert position != self.position, "a gap where nothing is missing"
        self.gaps.append(position)
        self.position = position

    @noted
    def late(self, position: Position) -> None:
        assert self.position is None, "a position for a client that has one"
        self.position = position

    def _check(self, publication: Publication, epoch: str) -> None:
        assert publication.offset is not None
        position = Position(publication.offset, epoch)
        assert position not in self.heard, "heard twice"
        self.heard.add(position)
        assert decoded(publication.data) == self.cluster.truth[position], "another publication than was numbered"


class Ticket:
    """A receipt that hears once, and the right position."""

    def __init__(self, process: Process, number: int) -> None:
        self.cluster = process.cluster
        self.number = number
        self.position: Position | None = None
        self.outcomes: list[object] = []
        process.tickets.append(self)

    @noted
    def kept(self, position: Position) -> None:
        assert self.cluster.truth[position] == {"n": self.number}
        self.position = position

    @noted
    def done(self, sent: int, failed: int) -> None:
        self.outcomes.append((sent, failed))
        assert len(self.outcomes) == 1

    @noted
    def refused(self, error: FastWSError) -> None:
        self.outcomes.append(error)
        assert len(self.outcomes) == 1


class Process:
    """A broker without links, and its hub."""

    def __init__(self, cluster: Cluster, name: str, rule: HistoryRule, recover_limit: int, history_bytes: int) -> None:
        self.cluster = cluster
        self.clients: list[Client] = []
        self.joining: list[Client] = []
        self.gone: list[Client] = []
        self.tickets: list[Ticket] = []
        self.commands: Pipe | None = None
        self.messages: Pipe | None = None
        self.subscribed: set[bytes] = set()
        config = Config(redis_url="redis://fake", recover_limit=recover_limit, history_bytes=history_bytes)
        self.broker = RedisBroker(self, config, node_id=name, rules=HistoryRules([(None, rule)]))
        assert self.broker.history is not None
        self.history = self.broker.history

    # What the broker needs of a hub.

    def deliver(self, publication: Publication, receipt: Receipt | None = None) -> None:
        clients = list(self.clients)
        for client in clients:
            client.deliver(publication)
        if receipt is not None:
            receipt.done(len(clients), 0)

    def gap(self, channel: str, position: Position | None = None) -> None:
        for client in list(self.clients):
            client.gap(position)

    def fail(self, channel: str, error: FastWSError) -> None:
        raise AssertionError(error)

    def count(self, channel: str) -> int:
        return len(self.clients)

    # What sessions do.

    def publish(self, number: int) -> Ticket:
        ticket = Ticket(self, number)
        self.broker.publish(Publication(CHANNEL, "e", {"n": number}), ticket)
        return ticket

    def join(self, past: Past) -> Client:
        client = Client(self.cluster, past)
        self.joining.append(client)
        if self.clients:
            self._ask(client)
        else:
            self.broker.listen(CHANNEL, partial(self._ask, client))
        return client

    def _ask(self, client: Client) -> None:
        def answered(recovery: Recovery | FastWSError) -> None:
            assert isinstance(recovery, Recovery)
            self.joining.remove(client)
            if client not in self.gone:
                client.answered(recovery)
                client.has_joined = True
                self.clients.append(client)
            self._stop_listening()

        def late(position: Position) -> None:
            if client in self.clients:
                client.late(position)

        self.history.recover(CHANNEL, client.past, answered, late)

    def leave(self, client: Client) -> None:
        if client in self.joining:
            # It is gone when its answer comes.
            self.gone.append(client)
        else:
            self.clients.remove(client)
            self._stop_listening()

    def _stop_listening(self) -> None:
        if not self.clients and not self.joining:
            self.broker.unlisten(CHANNEL)

    # Steps of the connections.

    def connect_commander(self) -> None:
        if self.commands is None:
            soon = self.cluster.loop.call_soon
            self.commands = Pipe(lambda: soon(self.lose_commander, 0))
            self.broker.commander.connected(self.commands, None)  # type: ignore[arg-type]

    def connect_listener(self) -> None:
        if self.messages is None:
            soon = self.cluster.loop.call_soon
            self.messages = Pipe(lambda: soon(self.lose_listener))
            self.broker.listener.connected(self.messages, None)  # type: ignore[arg-type]

    def lose_commander(self, executed: int) -> None:
        """Lose the connection after Redis has run `executed` more of its commands."""
        if self.commands is not None:
            for _ in range(executed):
                self.execute()
            self.commands = None
            self.broker.commander.connection_lost(None)

    def lose_listener(self) -> None:
        if self.messages is not None:
            self.messages = None
            self.subscribed.clear()
            self.broker.listener.connection_lost(None)

    def execute(self) -> bool:
        """Redis runs the next command of either connection. Returns False if there is none."""
        if self.messages is not None and self.messages.commands:
            self._subscribe(self.messages, self.messages.commands.popleft())
            return True
        if self.commands is None or not self.commands.commands:
            return False
        self.commands.replies.append(resp(self.cluster.redis.execute(self.commands.commands.popleft())))
        return True

    def _subscribe(self, pipe: Pipe, words: list[bytes]) -> None:
        for name in words[1:]:
            verb = words[0].lower()
            if verb == b"subscribe":
                self.subscribed.add(name)
            else:
                self.subscribed.discard(name)
            pipe.replies.append(resp([verb, name, len(self.subscribed)]))

    def answer(self) -> bool:
        """The next reply to a command arrives."""
        if self.commands is None or not self.commands.replies:
            return False
        self.broker.commander.data_received(self.commands.replies.popleft())
        return True

    def hear(self) -> bool:
        """The next message arrives."""
        if self.messages is None or not self.messages.replies:
            return False
        self.broker.listener.data_received(self.messages.replies.popleft())
        return True


class Cluster:
    """Two processes and a Redis. `truth` is what was numbered."""

    def __init__(self, rule: HistoryRule, *, recover_limit: int = 1000, history_bytes: int = 10**9) -> None:
        self.loop = SteppedLoop()
        self.redis = FakeRedis(self.loop.time)
        self.redis.published = self._published
        self.truth: dict[Position, Any] = {}
        # Broken promises.
        self.faults: list[Exception] = []
        self.processes: list[Process] = []
        with self.loop.running():
            for name in ("one", "two"):
                self.processes.append(Process(self, name, rule, recover_limit, history_bytes))
        self.connect()

    def step(self, action: Callable[[], object]) -> None:
        """Do one thing, and everything that follows from it at once."""
        with self.loop.running():
            action()

    def connect(self) -> None:
        with self.loop.running():
            for process in self.processes:
                process.connect_commander()
                process.connect_listener()

    def settle(self) -> None:
        """Let everything under way arrive."""
        with self.loop.running():
            is_busy = True
            while is_busy:
                is_busy = False
                for process in self.processes:
                    for step in (process.execute, process.answer, process.hear):
                        while step():
                            is_busy = True
                            self.loop.run_soon()

    def advance(self, seconds: float) -> None:
        """Let time pass, with a look of each broker after things that wait every second."""
        with self.loop.running():
            while seconds > 0:
                self.loop.advance(min(seconds, LOOKS))
                seconds -= LOOKS
                for process in self.processes:
                    process.broker.topology.home.sweep(self.loop.now)

    def rest(self) -> None:
        """Connect everything, and let everything arrive that ever will."""
        for _ in range(12):
            self.connect()
            self.settle()
            self.advance(0.5)
        self.settle()

    def _published(self, name: bytes, payload: bytes) -> int:
        found = decode_numbered(payload, CHANNEL) if payload[:2] == b"\xc1\x02" else None
        if found is not None and hasattr(found, "publication"):
            assert found.position not in self.truth, "two publications at one position"
            self.truth[found.position] = decoded(found.publication.data)
        for process in self.processes:
            if name in process.subscribed and process.messages is not None:
                process.messages.replies.append(resp([b"message", name, payload]))
        return 1

    @property
    def top(self) -> Position | None:
        for numbering in self.redis.numberings.values():
            return Position(numbering.top, numbering.epoch.decode())
        return None
