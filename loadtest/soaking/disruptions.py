"""Disruptions of the servers and their Redis, each followed by its check."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx

from soaking.ledger import Ledger
from soaking.redis_server import FEED_RIGHTS, OWN_RIGHTS, USER, RedisServer
from soaking.revoked import Door, RevocationWatch, http_url
from soaking.server import OwnServer
from soaking.strangers import receives_job_updates

REDIS_AWAY_SECONDS = 2.0
# A server must notice within this long that its Redis has become a replica, or a primary again.
ROLE_SECONDS = 15.0
REPLICA_SECONDS = 3.0
# Publishing must work again this long after Redis or the rights have been restored.
RECOVERY_SECONDS = 20.0
WITHOUT_RIGHTS_SECONDS = 5.0
# Revocations must be back in a flushed Redis within this long.
RESTORE_SECONDS = 30.0
_SYNC_SECONDS = 15.0


@dataclass(frozen=True)
class Disruption:
    """Calls `run` about every `seconds`. `kind` is its name for `--only` and `--without`."""

    kind: str
    seconds: float
    run: Callable[[], Awaitable[None]]


class Disruptions:
    """Runs one disruption at a time, so that each check sees the effect of one only."""

    def __init__(self, ledger: Ledger, rng: random.Random) -> None:
        self._ledger, self._rng = ledger, rng
        self._one_at_a_time = asyncio.Lock()
        self._is_stopping = False

    async def finish(self) -> None:
        """Start no more; returns when the present check is done."""
        self._is_stopping = True
        async with self._one_at_a_time:
            pass

    async def run(self, disruptions: list[Disruption], run_seconds: float) -> None:
        """Run until cancelled. In a short run the first of each kind comes earlier."""
        await asyncio.gather(
            *(
                self._repeat(disruption, run_seconds * (place + 0.5) / (len(disruptions) + 1))
                for place, disruption in enumerate(disruptions)
            )
        )

    async def _repeat(self, disruption: Disruption, first_seconds: float) -> None:
        await asyncio.sleep(min(first_seconds, disruption.seconds))
        while True:
            async with self._one_at_a_time:
                if self._is_stopping:
                    return
                await disruption.run()
                self._ledger.tried[disruption.kind] += 1
            await asyncio.sleep(disruption.seconds * self._rng.uniform(0.8, 1.2))


class ServerDisruptions:
    """Workers that are replaced or killed, and a Redis that is killed."""

    def __init__(self, ledger: Ledger, server: OwnServer) -> None:
        self._ledger, self._server = ledger, server

    async def roll(self) -> None:
        self._server.roll()
        self._ledger.note("rolled all workers")

    async def kill_worker(self) -> None:
        if self._server.kill_worker() is not None:
            self._ledger.killed_at = time.monotonic()
            self._ledger.note("killed a worker")

    async def kill_redis(self) -> None:
        assert self._server.redis is not None
        self._ledger.note("killed Redis")
        self._server.redis.kill()
        await asyncio.sleep(REDIS_AWAY_SECONDS)
        await asyncio.to_thread(self._server.redis.start)
        self._ledger.note("started Redis again")
        await must_recover(self._ledger, "Redis was started again")


class Rights:
    """Gives the Redis user of the servers the feeds, and takes them away again."""

    def __init__(self, ledger: Ledger, server: OwnServer) -> None:
        assert server.redis is not None
        self._ledger, self._server, self._redis = ledger, server, server.redis

    async def run(self) -> None:
        await self._change("gave the feeds to the Redis user", *FEED_RIGHTS)
        if not await receives_job_updates(self._server.url, self._redis, RECOVERY_SECONDS):
            self._ledger.fault("feed not received", f"{RECOVERY_SECONDS:g} s after its rights were given")
        channels = [right for right in OWN_RIGHTS if right.startswith("&")]
        await self._change("took the feeds from the Redis user", "resetchannels", *channels)
        await asyncio.sleep(WITHOUT_RIGHTS_SECONDS)
        await must_recover(self._ledger, "the feeds were taken away")

    async def _change(self, what: str, *rules: str) -> None:
        await asyncio.to_thread(self._redis.command, "ACL", "SETUSER", USER, *rules)
        self._ledger.note(what)


class RoleChange:
    """Makes the Redis of the servers a replica while their connections stay open, and then a primary again."""

    def __init__(self, ledger: Ledger, servers: list[OwnServer], other: RedisServer) -> None:
        first = servers[0].redis
        assert first is not None
        self._ledger, self._servers, self._redis, self._other = ledger, servers, first, other

    async def run(self) -> None:
        await self._synchronise()
        await asyncio.to_thread(self._other.replicate, None)
        await asyncio.to_thread(self._redis.replicate, self._other)
        self._ledger.note("made Redis a replica")
        if not await self._become(is_ready=False):
            self._ledger.fault("ready on a replica", f"{ROLE_SECONDS:g} s after its Redis had become one")
        await self._nothing_is_acknowledged()
        await asyncio.to_thread(self._redis.replicate, None)
        await asyncio.to_thread(self._other.replicate, self._redis)
        self._ledger.note("made Redis a primary again")
        if not await self._become(is_ready=True):
            self._ledger.fault("not ready", f"{ROLE_SECONDS:g} s after its Redis had become a primary again")
        await must_recover(self._ledger, "Redis was a primary again")

    async def _synchronise(self) -> None:
        """Wait until the other Redis is a complete replica."""
        await asyncio.to_thread(self._other.replicate, self._redis)
        for _ in range(round(_SYNC_SECONDS / 0.1)):
            role = await asyncio.to_thread(self._other.command, "ROLE")
            if role[3] == b"connected":
                return
            await asyncio.sleep(0.1)
        raise RuntimeError("the second Redis did not become a replica of the first")

    async def _become(self, *, is_ready: bool) -> bool:
        deadline = time.monotonic() + ROLE_SECONDS
        while time.monotonic() < deadline:
            # Often enough to meet each worker.
            states = [await ready(server.url) for server in self._servers for _ in range(16)]
            if all(state is is_ready for state in states):
                return True
            await asyncio.sleep(0.5)
        return False

    async def _nothing_is_acknowledged(self) -> None:
        """Nothing published now would reach clients of the new primary, so nothing may be acknowledged."""
        before = self._ledger.counts["acknowledged"]
        await asyncio.sleep(REPLICA_SECONDS)
        count = self._ledger.counts["acknowledged"] - before
        if count:
            self._ledger.fault("acknowledged on a replica", f"{count} messages in {REPLICA_SECONDS:g} s")


class Flush:
    """FLUSHDB: the running servers must restore the revocations, so that a new server knows them."""

    def __init__(
        self, ledger: Ledger, redis: RedisServer, watch: RevocationWatch, new_server: Callable[[], OwnServer]
    ) -> None:
        self._ledger, self._redis, self._watch, self._new_server = ledger, redis, watch, new_server

    async def run(self) -> None:
        while not self._watch.revoked:
            await self._watch.revoke_one()
        known = list(self._watch.revoked)
        await asyncio.to_thread(self._redis.command, "FLUSHDB")
        self._ledger.note("flushed Redis")
        await asyncio.sleep(RESTORE_SECONDS)
        server = self._new_server()
        try:
            await asyncio.to_thread(server.start)
            await _until(lambda: ready(server.url), RECOVERY_SECONDS)
            await self._check(Door(server.url), known)
        finally:
            await asyncio.to_thread(server.stop)

    async def _check(self, door: Door, known: list[str]) -> None:
        accepted = [number for number, token in enumerate(known) if await door.accepts(token)]
        if accepted:
            words = f"{len(accepted)} of {len(known)} by a server started {RESTORE_SECONDS:g} s after FLUSHDB"
            self._ledger.fault("revoked token accepted", words)
        if not await door.accepts(self._watch.valid):
            self._ledger.fault("valid token refused", "by a server started after FLUSHDB")


async def must_recover(ledger: Ledger, after: str) -> None:
    """Publications must be acknowledged and delivered again."""
    acknowledged, received = ledger.counts["acknowledged"], ledger.counts["received"]
    deadline = time.monotonic() + RECOVERY_SECONDS
    while time.monotonic() < deadline:
        if ledger.counts["acknowledged"] > acknowledged + 10 and ledger.counts["received"] > received + 10:
            return
        await asyncio.sleep(0.1)
    ledger.fault("no recovery", f"nothing was acknowledged and delivered {RECOVERY_SECONDS:g} s after {after}")


async def ready(url: str) -> bool | None:
    """Whether /ready answers 200; None without an answer."""
    try:
        async with httpx.AsyncClient(timeout=5, verify=False, trust_env=False) as client:
            return (await client.get(http_url(url, "ready"))).status_code == 200
    except httpx.HTTPError:
        return None


async def _until(probe: Callable[[], Awaitable[bool | None]], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not await probe() and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
