"""Processes that share a real Redis, with every step of theirs in the hands of the test, on a clock of its own.

A process sends a command, Redis runs it, the reply arrives, a published message arrives: each is one step, in any order
between processes. The scripts, RedisHistory and PlainMessages are the real ones.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

import hiredis

from fastws.brokers.envelope import encode_body, is_numbered
from fastws.brokers.history import HistoryRule, HistoryRules
from fastws.brokers.redis.history import RedisHistory
from fastws.brokers.redis.history_scripts import HistoryKeys
from fastws.brokers.redis.plain_notes import is_note
from fastws.brokers.redis.tail import HistoryLimits
from fastws.brokers.redis.wire.resp import pack
from fastws.codec.registry import decoded
from fastws.counters import Counters
from fastws.errors import FastWSError, OutcomeUnknown
from fastws.hub.ports import Receipt
from fastws.vocabulary.positions import Past, Position, Recovery
from fastws.vocabulary.publication import Publication
from tests.redis_server import RedisServer

CHANNEL = "c"
NAME = b"fastws:channel:c"
RULES = HistoryRules([(None, HistoryRule(1000, 60.0))])


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes only when a test says so."""

    now = 1000.0

    def time(self) -> float:
        return self.now


class Wire:
    """A connection to Redis that is used synchronously."""

    def __init__(self, server: RedisServer) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(server.socket_path))
        self.reader = hiredis.Reader()

    def read(self) -> Any:
        while (reply := self.reader.gets()) is False:
            data = self.socket.recv(65536)
            assert data
            self.reader.feed(data)
        return reply

    def call(self, packed: bytes) -> Any:
        self.socket.sendall(packed)
        return self.read()


class Commander:
    """What RedisHistory needs of a commander. The test runs each command and hands over each reply."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.commands: deque[tuple[bytes, Callable[[object], None]]] = deque()
        self.replies: deque[tuple[object, Callable[[object], None]]] = deque()
        self.refusals: list[object] = []

    def send(self, packed: bytes, answered: Callable[[object], None], *, is_bound: bool = False) -> None:
        self.commands.append((packed, answered))

    def send_first(self, *words: bytes | str | int, answered: Callable[[object], None]) -> None:
        answered(self.wire.call(pack(*words)))

    def publish(self, name: bytes, payload: bytes, answered: Callable[[object], None]) -> None:
        self.send(pack(b"PUBLISH", name, payload), answered)

    def log_refusal(self, command: bytes, reply: object) -> None:
        if isinstance(reply, hiredis.ReplyError):
            self.refusals.append(reply)

    def run_one(self) -> None:
        packed, answered = self.commands.popleft()
        self.replies.append((self.wire.call(packed), answered))

    def hand_over_one(self) -> None:
        reply, answered = self.replies.popleft()
        answered(reply)

    def lose(self) -> None:
        """The connection is lost: nobody knows what became of the commands."""
        waiting = [answered for _, answered in [*self.replies, *self.commands]]
        self.replies.clear()
        self.commands.clear()
        for answered in waiting:
            answered(OutcomeUnknown("lost"))


class Follower:
    """A client that checks what it hears: numbers without a hole and without a double, except after a gap."""

    def __init__(self, position: Position | None, number: int | None) -> None:
        self.position = position
        self.number = number
        self.numbers: list[int] = []
        self.gaps = 0
        self.answer: Recovery | FastWSError | None = None

    def hear(self, publication: Publication) -> None:
        data = decoded(publication.data)
        assert isinstance(data, dict)
        number = data["n"]
        if self.position is None:
            return  # it joined without, and will be told
        assert publication.offset == self.position.offset + 1, (publication, self.position)
        if self.number is not None:
            assert number == self.number + 1, f"{number} came after {self.number}"
        assert not self.numbers or number > self.numbers[-1], f"{number} came twice or late: {self.numbers[-5:]}"
        self.number = number
        self.numbers.append(number)
        self.position = Position(publication.offset, self.position.epoch)

    def miss(self, position: Position | None) -> None:
        assert position is not None
        self.position, self.number = position, None
        self.gaps += 1


class Process:
    """One process: its history, its connections, and its clients on the one channel."""

    def __init__(self, world: World, node: str) -> None:
        self.world = world
        self.node = node
        self.is_paused = False
        self.is_confirmed = False
        self.followers: list[Follower] = []
        self.inbox: deque[bytes] = deque()
        self.listener: Wire | None = None
        self.commander = Commander(Wire(world.server))
        self.history = RedisHistory(
            self,
            self.commander,  # type: ignore[arg-type]  # what RedisHistory uses of it
            HistoryKeys(b"fastws:"),
            RULES,
            Counters(),
            lambda channel: self.is_confirmed,
            lambda node, number: None,
            is_feed=lambda channel: False,
            node=node,
            limits=HistoryLimits(1000, 10_000_000),
            clock=lambda: world.loop.now,
        )
        self.history.publisher.commander_up()
        self.listen()

    @property
    def has_everything(self) -> bool:
        """Whether it has heard every plain message that has no offset yet, and hears all that come."""
        watch, place = self.world.watch()
        queue = self.history.plain._queues.get(CHANNEL)
        return self.is_confirmed and queue is not None and queue.watch == watch and queue.first <= place + 1

    # --- the hub

    def deliver(self, publication: Publication, receipt: Receipt | None = None) -> None:
        for follower in self.followers:
            follower.hear(publication)

    def gap(self, channel: str, position: Position | None = None) -> None:
        for follower in self.followers:
            follower.miss(position)

    def fail(self, channel: str, error: FastWSError) -> None:
        raise AssertionError(error)

    def count(self, channel: str) -> int:
        return len(self.followers)

    def subscribe(self, past: Past, number: int | None) -> Follower:
        """A client joins; with a position it expects the number after `number` if it is told that it recovers."""
        follower = Follower(None, None)

        def answer(found: Recovery | FastWSError) -> None:
            assert isinstance(found, Recovery)
            follower.answer = found
            follower.position = found.position
            if found.is_recovered:
                assert isinstance(past, Position)
                follower.position, follower.number = past, number
            elif found.position is not None:
                follower.number = None
            self.followers.append(follower)
            if found.is_recovered:
                for publication in found.publications:
                    follower.hear(publication)

        def late(position: Position) -> None:
            follower.miss(position)
            follower.gaps = 0

        self.history.recover(CHANNEL, past, answer, late)
        return follower

    # --- the connections

    def listen(self) -> None:
        """Subscribe on a new connection."""
        self.listener = Wire(self.world.server)
        self.listener.call(pack(b"SUBSCRIBE", NAME))
        self.is_confirmed = True
        self.history.confirmed(CHANNEL)

    def lose_listener(self) -> None:
        assert self.listener is not None
        self.listener.socket.close()
        self.listener, self.is_confirmed = None, False
        self.inbox.clear()
        self.history.lost()

    def lose_commander(self) -> None:
        """The connection for commands is lost, and there is another one."""
        self.history.publisher.commander_down()
        self.commander.lose()
        self.history.publisher.commander_up()

    def fetch(self) -> None:
        """Take what Redis has sent."""
        if self.listener is not None:
            self.listener.socket.sendall(pack(b"PING"))
            while (reply := self.listener.read())[0] == b"message":
                self.inbox.append(reply[2])

    def hear_one(self) -> None:
        payload = self.inbox.popleft()
        if is_numbered(payload):
            self.history.receive(CHANNEL, payload)
        elif is_note(payload):
            self.history.plain.receive(CHANNEL, payload)
        else:
            self.history.plain.hear(Publication(CHANNEL, "e", encode_body(json.loads(payload))))

    def steps(self) -> list[Callable[[], None]]:
        """What this process, or Redis for it, may do next."""
        found: list[Callable[[], None]] = []
        if self.commander.commands:
            found.append(self.commander.run_one)
        if self.commander.replies and not self.is_paused:
            found.append(self.commander.hand_over_one)
        if self.inbox and not self.is_paused:
            found.append(self.hear_one)
        return found

    def close(self) -> None:
        if self.listener is not None:
            self.listener.socket.close()
        self.commander.wire.socket.close()


class World:
    """All processes, and a plain publisher."""

    def __init__(self, server: RedisServer, loop: VirtualLoop) -> None:
        self.server = server
        self.loop = loop
        self.wire = Wire(server)
        self.processes: list[Process] = []
        self.started = 0
        self.number = 0

    def start(self) -> Process:
        self.started += 1
        process = Process(self, f"node{self.started}")
        self.processes.append(process)
        return process

    def kill(self, process: Process) -> None:
        self.processes.remove(process)
        process.followers.clear()
        process.history.forget(CHANNEL)
        process.close()

    def watch(self) -> tuple[str, int]:
        """The watch in Redis, and the last place that is numbered."""
        key = HistoryKeys(b"fastws:").of(CHANNEL)[0]
        watch, place = self.wire.call(pack(b"HMGET", key, b"watch", b"place"))
        return ("", 0) if watch is None else (watch.decode(), int(place or 0))

    def publish(self) -> None:
        self.number += 1
        self.wire.call(pack(b"PUBLISH", NAME, b'{"n":%d}' % self.number))
        self.fetch()

    def fetch(self) -> None:
        for process in self.processes:
            process.fetch()

    def steps(self) -> list[Callable[[], None]]:
        return [step for process in self.processes for step in process.steps()]

    def take(self, step: Callable[[], None]) -> None:
        step()
        self.fetch()

    def settle(self) -> None:
        """Everything that can happen without time happens."""
        while steps := self.steps():
            self.take(steps[0])

    async def wait(self, seconds: float) -> None:
        """Time passes: timers fire, and every process sweeps."""
        self.loop.now += seconds
        for _ in range(3):
            await asyncio.sleep(0)
        for process in self.processes:
            if not process.is_paused:
                process.history.sweep(self.loop.now)
        self.fetch()

    async def quiet(self, seconds: float = 6.0) -> None:
        """Let everything come to rest."""
        for _ in range(round(seconds / 0.1)):
            self.settle()
            await self.wait(0.1)
        self.settle()

    def close(self) -> None:
        for process in self.processes:
            process.close()
        self.wire.socket.close()
