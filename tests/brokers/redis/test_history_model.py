"""History over Redis in two processes, whatever happens in whatever order: what is promised holds or is not claimed."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fastws.brokers.history import HistoryRule
from fastws.errors import Unrecoverable
from fastws.vocabulary.positions import Page, Position
from tests.brokers.redis.history_cluster import CHANNEL, Client, Cluster, Process
from tests.model_runs import runs

SIDES = st.integers(0, 1)


class HistoryOverRedis(RuleBasedStateMachine):
    """Clients check what they hear: tests/brokers/redis/history_cluster.py."""

    cluster: Cluster

    @initialize(
        limit=st.sampled_from([1, 2, 3, 100]),
        seconds=st.sampled_from([1.5, 60.0]),
        recover_limit=st.sampled_from([0, 2, 1000]),
        history_bytes=st.sampled_from([0, 1000, 10**9]),
    )
    def begin(self, limit: int, seconds: float, recover_limit: int, history_bytes: int) -> None:
        rule = HistoryRule(limit, seconds)
        self.cluster = Cluster(rule, recover_limit=recover_limit, history_bytes=history_bytes)
        self.clients: list[tuple[Process, Client]] = []
        self.published = 0
        self.saved: dict[bytes, Any] = {}

    def process(self, side: int) -> Process:
        return self.cluster.processes[side]

    @rule(side=SIDES, count=st.integers(1, 4))
    def publish(self, side: int, count: int) -> None:
        for _ in range(count):
            self.published += 1
            number = self.published
            self.cluster.step(lambda number=number: self.process(side).publish(number))

    @rule(side=SIDES, count=st.integers(2, 4))
    def publish_together(self, side: int, count: int) -> None:
        """In one loop iteration."""
        numbers = range(self.published + 1, self.published + count + 1)
        self.published += count
        self.cluster.step(lambda: [self.process(side).publish(number) for number in numbers])

    @rule(side=SIDES, count=st.integers(1, 3))
    def execute(self, side: int, count: int) -> None:
        for _ in range(count):
            self.cluster.step(self.process(side).execute)

    @rule(side=SIDES, count=st.integers(1, 3))
    def answer(self, side: int, count: int) -> None:
        for _ in range(count):
            self.cluster.step(self.process(side).answer)

    @rule(side=SIDES, count=st.integers(1, 3))
    def hear(self, side: int, count: int) -> None:
        for _ in range(count):
            self.cluster.step(self.process(side).hear)

    @rule()
    def settle(self) -> None:
        self.cluster.settle()

    @rule(side=SIDES, data=st.data())
    def join(self, side: int, data: st.DataObject) -> None:
        known = [client.position for _, client in self.clients if client.position is not None]
        # In the order of their numbering: the names of epochs are random, and an example must repeat.
        known += list(self.cluster.truth)
        positions = [Position(max(p.offset + by, 0), p.epoch) for p in known[-12:] for by in (0, -1, -2, 1)]
        past = data.draw(st.sampled_from([None, 0, 2, 50, Position(0, "none"), *positions]))
        made: list[Client] = []
        self.cluster.step(lambda: made.append(self.process(side).join(past)))
        self.clients.append((self.process(side), made[0]))

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        process, client = self.clients.pop(data.draw(st.integers(0, len(self.clients) - 1)))
        self.cluster.step(lambda: process.leave(client))

    @rule(side=SIDES)
    def clear(self, side: int) -> None:
        self.cluster.step(lambda: self.process(side).history.clear(CHANNEL, lambda answer: None))

    @rule(side=SIDES, back=st.integers(0, 3), limit=st.integers(1, 3), is_reverse=st.booleans())
    def page(self, side: int, back: int, limit: int, is_reverse: bool) -> None:
        top = self.cluster.top
        position = Position(max(top.offset - back, 0), top.epoch) if top is not None and back else None

        def answer(page: object) -> None:
            if not isinstance(page, Page):
                assert isinstance(page, Exception)
                assert position is not None or not isinstance(page, Unrecoverable)
                return
            offsets = [publication.offset or 0 for publication in page.publications]
            assert len(offsets) <= limit
            if offsets:
                step = -1 if is_reverse else 1
                assert offsets == list(range(offsets[0], offsets[0] + step * len(offsets), step))
                if position is not None:
                    assert offsets[0] == position.offset + step

        history = self.process(side).history
        self.cluster.step(lambda: history.page(CHANNEL, position, limit, is_reverse=is_reverse, answer=answer))

    @rule(seconds=st.sampled_from([0.05, 0.5, 1.0, 2.5]))
    def wait(self, seconds: float) -> None:
        self.cluster.advance(seconds)

    @rule(side=SIDES)
    def lose_listener(self, side: int) -> None:
        self.cluster.step(self.process(side).lose_listener)

    @rule(side=SIDES, executed=st.integers(0, 2))
    def lose_commander(self, side: int, executed: int) -> None:
        self.cluster.step(lambda: self.process(side).lose_commander(executed))

    @rule(side=SIDES)
    def connect_listener(self, side: int) -> None:
        self.cluster.step(self.process(side).connect_listener)

    @rule(side=SIDES)
    def connect_commander(self, side: int) -> None:
        self.cluster.step(self.process(side).connect_commander)

    @rule()
    def forget_scripts(self) -> None:
        self.cluster.redis.scripts.clear()

    @rule()
    def save(self) -> None:
        self.saved = self.cluster.redis.saved()

    @rule(state=st.sampled_from(["empty", "whole", "older"]))
    def restart(self, state: str) -> None:
        """Redis ends after everything that it has sent has come: what nobody has heard may be numbered again."""
        for process in self.cluster.processes:
            while process.messages is not None and process.messages.replies:
                self.cluster.step(process.hear)
        found = {"empty": {}, "whole": self.cluster.redis.saved(), "older": self.saved}[state]
        for process in self.cluster.processes:
            self.cluster.step(lambda process=process: process.lose_commander(0))
            self.cluster.step(process.lose_listener)
        self.cluster.redis.restart(found)
        self.saved = self.cluster.redis.saved()

    @rule(side=SIDES, kept=st.integers(0, 2), lost=st.integers(1, 3), new=st.integers(1, 3), do_all_leave=st.booleans())
    def lose_the_end(self, side: int, kept: int, lost: int, new: int, do_all_leave: bool) -> None:
        """Redis comes back without the last publications, which everybody has heard, and more are published."""
        self.cluster.connect()
        self.publish(side, kept)
        self.cluster.settle()
        self.save()
        self.publish(side, lost)
        self.cluster.settle()
        while do_all_leave and self.clients:
            process, client = self.clients.pop()
            self.cluster.step(lambda process=process, client=client: process.leave(client))
        self.restart("older")
        self.cluster.connect()
        self.publish(side, new)
        self.cluster.settle()

    @invariant()
    def nothing_is_broken(self) -> None:
        if hasattr(self, "cluster"):
            assert self.cluster.faults == []

    @invariant()
    def numbers_follow_each_other(self) -> None:
        if hasattr(self, "cluster"):
            tops: dict[bytes, int] = {}
            for epoch, offset, _ in self.cluster.redis.log:
                assert offset == tops.get(epoch, 0) + 1
                tops[epoch] = offset

    def teardown(self) -> None:
        """In the end everybody has everything: nothing is missing, and every receipt has heard."""
        if not hasattr(self, "cluster"):
            return
        self.cluster.rest()
        assert self.cluster.faults == []
        for process, client in self.clients:
            assert client.has_joined, "a subscriber without an answer"
            assert client in process.clients
            assert client.position == self.cluster.top, "something is missing, and nobody was told"
        for process in self.cluster.processes:
            for ticket in process.tickets:
                assert len(ticket.outcomes) == 1, "a receipt without an outcome"
            assert process.history.bytes >= 0


TestHistoryOverRedis = HistoryOverRedis.TestCase
TestHistoryOverRedis.settings = settings(
    max_examples=runs(150), stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
