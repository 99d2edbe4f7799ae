"""Channels with a history on a real Redis Cluster: no failure or move loses, doubles or reorders any."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from fastws.brokers.history import HistoryRule, HistoryRules
from fastws.brokers.redis.broker import RedisBroker
from fastws.errors import FastWSError
from fastws.vocabulary.positions import Position, Recovery
from fastws.vocabulary.publication import Publication
from tests.brokers.recording_hub import RecordingHub, passes, subscribed
from tests.brokers.redis.topology.test_redis_cluster import JOBS, on_cluster, one_channel_per_shard, slot_of
from tests.redis_cluster import SLOTS, RedisCluster

RULES = [(None, HistoryRule(10_000, 600.0))]
PACE_SECONDS = 0.02


class Traffic:
    """Publishes one number after the other on each channel, until it is stopped."""

    def __init__(self, broker: RedisBroker, channels: list[str]) -> None:
        self.broker = broker
        self.channels = channels
        self.number = 0
        self.open = 0
        self.accepted: dict[str, list[int]] = defaultdict(list)
        self.refused: dict[str, list[int]] = defaultdict(list)
        self._is_over = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while not self._is_over.is_set():
            self.publish()
            await asyncio.sleep(PACE_SECONDS)

    def publish(self) -> None:
        self.number += 1
        for channel in self.channels:
            self.open += 1
            data = {"job_id": "j", "status": "done", "n": self.number}
            self.broker.publish(Publication(channel, "job_update", data), Outcome(self, channel, self.number))

    async def stop(self) -> None:
        self._is_over.set()
        await self._task
        await passes(lambda: self.open == 0)


class Outcome:
    """The receipt of one publication."""

    def __init__(self, traffic: Traffic, channel: str, number: int) -> None:
        self.traffic, self.channel, self.number = traffic, channel, number

    def kept(self, position: Position) -> None:
        """The position counts the accepted ones of this channel."""

    def done(self, sent: int, failed: int) -> None:
        self.traffic.open -= 1
        self.traffic.accepted[self.channel].append(self.number)

    def refused(self, error: FastWSError) -> None:
        self.traffic.open -= 1
        self.traffic.refused[self.channel].append(self.number)


async def joined(broker: RedisBroker, hub: RecordingHub, channels: list[str]) -> None:
    """Subscribe to channels with a history."""
    await subscribed(broker, hub, *channels)
    answers: list[Recovery | FastWSError] = []
    assert broker.history is not None
    for channel in channels:
        broker.history.recover(channel, None, answers.append, lambda _: None)
    await passes(lambda: len(answers) == len(channels))
    assert all(isinstance(answer, Recovery) and answer.position is not None for answer in answers)


def heard(hub: RecordingHub, channel: str) -> list[object]:
    return [value["n"] if isinstance(value, dict) else value for value in hub.heard[channel]]


@asynccontextmanager
async def traffic(
    redis_cluster: RedisCluster, channels: list[str]
) -> AsyncIterator[tuple[Traffic, Callable[[], object]]]:
    """Traffic from one process to another during the block. Afterwards: all that was accepted was heard, in order."""
    async with (
        on_cluster(redis_cluster, rules=HistoryRules(RULES)) as (one, here),
        on_cluster(redis_cluster, rules=HistoryRules(RULES)) as (two, there),
    ):
        await joined(one, here, channels)
        await joined(two, there, channels)
        running = Traffic(one, channels)
        await passes(lambda: running.number > 5)
        yield running, partial(_are_whole, two, channels)
        await running.stop()
        await passes(lambda: _are_whole(one, channels) and _are_whole(two, channels))
        # The last word: until it is accepted, on every channel.
        while True:
            running.publish()
            await passes(lambda: running.open == 0)
            if all(running.accepted[channel][-1] == running.number for channel in channels):
                break
        for hub in (here, there):
            for channel in channels:
                await hub.until(lambda hub=hub, channel=channel: running.number in heard(hub, channel))
                numbers = heard(hub, channel)
                unsure = [n for n in numbers if n not in running.accepted[channel]]
                assert numbers == sorted(set(running.accepted[channel]) | set(unsure)), channel
                assert set(unsure) <= set(running.refused[channel])


def _are_whole(broker: RedisBroker, channels: list[str]) -> bool:
    return all(broker.subscriptions.is_confirmed(channel) for channel in channels)


async def test_slots_that_move_with_their_keys_are_not_noticed(redis_cluster: RedisCluster) -> None:
    """1,000 slots to a new node. A channel in every hundredth of them, the jobs feed, and one on each other node."""
    source = redis_cluster.owner(slot_of(JOBS))
    mine = [slot for slot in range(SLOTS) if redis_cluster.owner(slot) is source]
    first = min(max(slot_of(JOBS) - 500, mine[0]), mine[-1] - 999)
    moving = range(first, first + 1000)
    names = [f"m{number}" for number in range(60_000) if slot_of(f"m{number}") in moving][:10]
    channels = [*names, JOBS, *one_channel_per_shard(redis_cluster)]
    async with traffic(redis_cluster, channels) as (running, _):
        target = await asyncio.to_thread(redis_cluster.add_node)
        await asyncio.to_thread(redis_cluster.move_slots, moving, target)
        await passes(lambda: running.broker.topology.node_of(JOBS).address.port == target.port)
        assert not any(running.refused.values())


async def test_manual_failover_is_not_noticed(redis_cluster: RedisCluster) -> None:
    channels = one_channel_per_shard(redis_cluster)
    async with traffic(redis_cluster, channels):
        replica = redis_cluster.replica_of(redis_cluster.owner(slot_of(channels[0])))
        await asyncio.to_thread(redis_cluster.fail_over, replica)


async def test_killed_primary_costs_refusals_and_nothing_that_was_accepted(redis_cluster: RedisCluster) -> None:
    lost, *others = channels = one_channel_per_shard(redis_cluster)
    async with traffic(redis_cluster, channels) as (running, is_whole):
        redis_cluster.owner(slot_of(lost)).kill()
        await passes(lambda: not is_whole())
        await passes(is_whole)
        assert not any(running.refused[channel] for channel in others)


async def test_publications_that_only_the_new_node_has_are_filled_in(redis_cluster: RedisCluster) -> None:
    """While the keys of a slot have been carried over, subscribers are still at the old node and hear nothing."""
    (channel, other, *_) = one_channel_per_shard(redis_cluster)
    source, target = (redis_cluster.owner(slot_of(name)) for name in (channel, other))
    async with on_cluster(redis_cluster, rules=HistoryRules(RULES)) as (broker, hub):
        await joined(broker, hub, [channel])
        running = Traffic(broker, [channel])
        await passes(lambda: len(running.accepted[channel]) > 5)
        await running.stop()
        redis_cluster.begin_move(slot_of(channel), source, target)
        redis_cluster.carry_keys(slot_of(channel), source, target)
        running.publish()
        await passes(lambda: running.open == 0)
        assert running.number not in heard(hub, channel)
        redis_cluster.end_move(slot_of(channel), source, target)
        await hub.until(lambda: running.number in heard(hub, channel))
        assert heard(hub, channel) == list(range(1, running.number + 1))
