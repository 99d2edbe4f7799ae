"""Processes with presence that lose Redis in every way know, after a while, exactly who is there."""

from __future__ import annotations

import asyncio
import random

import pytest

from fastws.cluster.redis.presence import DOUBT
from tests.brokers.small_cluster import QUICK
from tests.cluster.redis.present import Present, present
from tests.redis_server import RedisServer

KEY = b"fastws:{c}:presence"
NODES = ("nodeAA", "nodeBB", "nodeCC")
STEPS = 60
# Beats after which nothing may be wrong any more: less than 15 s.
BEATS = int(15 / QUICK.presence_seconds)
# What happens, and how often.
EVENTS = {"join": 10, "leave": 8, "beat": 6, "turn": 6, "flush": 1, "lose": 2, "restore": 1, "kill": 1, "refuse": 1}


class Run:
    """Processes, their members by connection id, and a dump of an earlier state of the hash."""

    def __init__(self, server: RedisServer, processes: list[Present], seed: int) -> None:
        # Connections that never leave, so that their processes always have subscribers: with even seeds.
        self.stays: set[str] = set()
        self.server = server
        self.processes = processes
        self.choose = random.Random(seed)
        self.present: dict[str, tuple[Present, str]] = {}
        self.dump: dict[bytes, bytes] = {}

    async def step(self, event: str) -> None:
        process = self.choose.choice(self.processes)
        if event == "join":
            user = self.choose.choice(["ann", "bob", ""])
            self.present[process.join(user)] = (process, user)
        elif event == "leave" and (ids := sorted(self.present.keys() - self.stays)):
            connection_id = self.choose.choice(ids)
            process, _ = self.present.pop(connection_id)
            process.table.left(connection_id, "c")
        elif event == "beat" and process.broker.commander.is_up:
            await process.beat()
        elif event == "turn":
            await asyncio.sleep(0.02)
        else:
            self.hurt(event)

    def hurt(self, event: str) -> None:
        """Change the hash behind the back of the processes, or cut their connections."""
        with self.server.client() as client:
            if event == "flush":
                self.dump = client.hgetall(KEY)
                client.flushdb()
            elif event == "lose" and (fields := client.hkeys(KEY)):
                client.hdel(KEY, self.choose.choice(sorted(fields)))
            elif event == "restore" and self.dump and self.stays:
                # An earlier state. Where a process has subscribers it finds entries that their node does not know.
                client.config_set("maxmemory", 0)
                client.hset(KEY, mapping=self.dump)  # type: ignore[arg-type] # bytes, as it returned them
            elif event == "refuse":
                client.config_set("maxmemory", self.choose.choice([0, 1]))
        if event in ("kill", "restore"):
            self.server.kill_clients("pubsub" if event == "restore" else self.choose.choice(["normal", "pubsub"]))

    async def settle(self) -> None:
        """Everything works again; then let time pass."""
        with self.server.client() as client:
            client.config_set("maxmemory", 0)
        for process in self.processes:
            async with asyncio.timeout(30):
                while not (process.broker.commander.is_up and process.broker.listener.is_up):
                    await asyncio.sleep(0.01)
        # Listeners that subscribe again and reads that are under way are not bound to beats.
        await asyncio.sleep(0.1)
        for _ in range(BEATS):
            for process in self.processes:
                await process.beat()
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("seed", range(8))
async def test_after_a_while_all_know_the_same_members_and_their_subscribers_too(
    own_redis_server: RedisServer, seed: int
) -> None:
    assert DOUBT * QUICK.presence_seconds < BEATS * QUICK.presence_seconds <= 15
    async with present(own_redis_server.url, *NODES) as processes:
        run = Run(own_redis_server, processes, seed)
        for process in processes:
            run.present[process.join("first")] = (process, "first")
        await asyncio.gather(*(process.knows(*run.present) for process in processes))
        if seed % 2 == 0:
            run.stays = set(run.present)
        known = [dict.fromkeys(run.present, True) for _ in processes]
        for event in run.choose.choices(list(EVENTS), list(EVENTS.values()), k=STEPS):
            await run.step(event)
        await run.settle()
        members = {key for key, (_, user) in run.present.items() if user}
        users = {user for _, user in run.present.values() if user}
        for process in processes:
            page = await process.page()
            assert {one.connection_id for one in page.members or ()} == members
            assert (page.count, page.users) == (len(run.present), len(users))
        for process, shown in zip(processes, known, strict=True):
            for update in process.told:
                for left in update.left or ():
                    shown.pop(left.connection_id, None)
                shown.update((joined.connection_id, True) for joined in update.joined or ())
            assert not run.stays or set(shown) == members
        with own_redis_server.client() as client:
            assert {field.decode() for field in client.hkeys(KEY)} == set(run.present)
