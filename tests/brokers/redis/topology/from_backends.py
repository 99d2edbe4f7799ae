"""Publishing by both backends over Redis, to a broker on the same URL."""

from __future__ import annotations

import asyncio

from fastws.backend import AsyncRedisBroadcaster, RedisBroadcaster
from fastws.brokers.redis.broker import RedisBroker
from tests.brokers.recording_hub import RecordingHub, subscribed


async def hears_both_backends(url: str, broker: RedisBroker, hub: RecordingHub) -> None:
    await subscribed(broker, hub, "a")
    with RedisBroadcaster(url) as backend:
        outcome = await asyncio.to_thread(backend.publish, "a", "e", 1)
    assert outcome["sent"] == 1
    async with AsyncRedisBroadcaster(url) as backend_in_asyncio:
        assert (await backend_in_asyncio.publish("a", "e", 2))["sent"] == 1
    await hub.until(lambda: hub.heard["a"] == [1, 2])
