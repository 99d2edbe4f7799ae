"""Strangers: clients of a feed that the server's Redis user may not read. Other clients must not be affected."""

from __future__ import annotations

import asyncio
import random

import orjson
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from soaking.basic_clients import BACKOFF_SECONDS, GONE, OPEN_SECONDS
from soaking.ledger import Ledger
from soaking.redis_server import JOBS_CHANNEL, RedisServer

LONGEST_STAY_SECONDS = 3.0
PUBLISH_SECONDS = 0.5


class Stranger:
    """Opens the jobs feed, stays for a moment and leaves."""

    def __init__(self, url: str, ledger: Ledger, rng: random.Random) -> None:
        self._url, self._ledger, self._rng = url, ledger, rng
        self.is_stopping = False

    async def run(self) -> None:
        while not self.is_stopping:
            outcome = "stayed open"
            try:
                async with connect(f"{self._url}ws", proxy=None, open_timeout=OPEN_SECONDS) as client:
                    async with asyncio.timeout(self._rng.random() * LONGEST_STAY_SECONDS):
                        while True:
                            await client.recv()
            except ConnectionClosed as error:
                outcome = f"closed with {error.rcvd.code if error.rcvd else 1006}"
            except TimeoutError:
                pass  # it stayed as long as planned
            except GONE as error:
                outcome = f"refused ({type(error).__name__})"
            self._ledger.counts[f"strangers on the jobs feed: {outcome}"] += 1
            await asyncio.sleep(self._rng.random() * BACKOFF_SECONDS)


async def receives_job_updates(url: str, redis: RedisServer, seconds: float) -> bool:
    """Whether a client of the jobs feed gets what a backend publishes there, within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    if await _receives_one(url, redis):
                        return True
                except GONE:
                    pass  # it may be accepted the next time
                await asyncio.sleep(BACKOFF_SECONDS)
    except TimeoutError:
        return False


async def _receives_one(url: str, redis: RedisServer) -> bool:
    update = orjson.dumps({"event": "job_update", "job_id": "soak", "status": "running", "timestamp": 1, "data": {}})
    async with connect(f"{url}ws", proxy=None, open_timeout=OPEN_SECONDS) as client:
        for _ in range(10):
            await asyncio.to_thread(redis.command, "PUBLISH", JOBS_CHANNEL, update)
            try:
                async with asyncio.timeout(PUBLISH_SECONDS):
                    while True:
                        if orjson.loads(await client.recv()).get("job_id") == "soak":
                            return True
            except TimeoutError:
                continue
    return False
