"""Webhooks of two workers: each event once, while workers are replaced, killed, and cut off from Redis."""

from __future__ import annotations

import asyncio
import signal

from tests.end_to_end.pusher_client import APP, Enter, PusherClient, enter
from tests.redis_server import RedisServer
from tests.webhook_receiver import receiver
from tests.workers.conftest import Supervise
from tests.workers.supervised import Supervised
from tests.workers.test_rolling import roll

__all__ = ["enter"]

CHANNELS = [f"presence-{number}" for number in range(6)]


async def _join(server: Supervised, enter: Enter, channel: str) -> PusherClient:
    client = await enter(server)
    await client.subscribe(channel, member={"user_id": "u"})
    return client


async def _joined_again(server: Supervised, enter: Enter, clients: list[PusherClient]) -> list[PusherClient]:
    """Clients that return as soon as they are closed."""

    async def again(client: PusherClient, channel: str) -> PusherClient:
        await client.end()
        return await _join(server, enter, channel)

    return list(await asyncio.gather(*map(again, clients, CHANNELS)))


async def test_each_event_comes_once_whatever_happens_to_workers_and_redis(
    supervise: Supervise, redis_server: RedisServer, enter: Enter
) -> None:
    async with receiver() as hook:
        flags = ("--pusher-apps", APP, "--pusher-webhooks", hook.url, "--pusher-webhook-grace", "8")
        server = await asyncio.to_thread(supervise, *flags)
        clients = [await _join(server, enter, channel) for channel in CHANNELS]
        await hook.until(2 * len(CHANNELS))
        # Workers are replaced.
        replaced = asyncio.create_task(asyncio.to_thread(roll, server))
        clients = await _joined_again(server, enter, clients)
        await replaced
        # The connections to Redis are cut.
        await asyncio.to_thread(redis_server.kill_clients, "normal")
        await asyncio.to_thread(redis_server.kill_clients, "pubsub")
        clients.append(await _join(server, enter, "presence-during"))
        await hook.until(2 * len(CHANNELS) + 2)
        # A worker is killed: another one sends what comes next.
        ports = {client.socket.local_address[1]: client for client in clients[: len(CHANNELS)]}
        victim = server.workers()[0]
        lost = {end.raddr.port for end in victim.net_connections() if end.raddr}
        victim.send_signal(signal.SIGKILL)
        for port in ports.keys() & lost:
            await ports[port].end()
            position = clients.index(ports[port])
            clients[position] = await _join(server, enter, CHANNELS[position])
        clients.append(await _join(server, enter, "presence-after"))
        await hook.until(2 * len(CHANNELS) + 4)
        for client in clients:
            await client.socket.close()
        everything = (*CHANNELS, "presence-during", "presence-after")
        await hook.until(4 * len(everything))
        names = ("channel_occupied", "member_added", "member_removed", "channel_vacated")
        for channel in everything:
            assert [name for name, each in hook.told if each == channel] == list(names)
