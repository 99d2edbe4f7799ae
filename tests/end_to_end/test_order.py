"""Many clients that subscribe, leave and send at once: one order in each channel, nothing missing, nothing extra."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from tests.redis_server import RedisServer
from tests.serving import PATIENCE_SECONDS, Join, Message, Serve, Talker

CHANNELS = ("a", "b", "slow:1", "slow:2")
CLIENTS = 8
STEPS = 250


async def act(client: Talker, chance: random.Random, steps: int) -> int:
    """Send various requests without waiting for replies. Returns the number of publications."""
    sent = 0
    for _ in range(steps):
        channel = chance.choice(CHANNELS)
        action = chance.choice(("subscribe", "unsubscribe", "send", "send", "send"))
        message: Message = {"action": action, "channel": channel}
        if action == "send":
            message |= {"event": "e", "data": [client.id, sent], "exclude_self": False}
            sent += 1
        await client.socket.send(json.dumps(message))
        if chance.random() < 0.05:
            await asyncio.sleep(0)
    await client.socket.send('{"action":"ping","id":"last"}')
    return sent


async def listen(client: Talker, heard: list[Message]) -> None:
    """Record every message of this client until the test cancels it."""
    while True:
        heard.append(json.loads(await client.socket.recv()))
        if heard[-1].get("id") == "over":
            return


def is_delivery(message: Message) -> bool:
    return "type" not in message


def windows(heard: list[Message], channel: str) -> tuple[list[list[tuple[str, int]]], bool]:
    """The deliveries of `channel` between each subscribe and the next unsubscribe, and whether the last one is open."""
    found: list[list[tuple[str, int]]] = []
    is_open = False
    for message in heard:
        if message.get("channel") != channel:
            continue
        if is_delivery(message):
            assert is_open, "received without a subscription"
            found[-1].append(tuple(message["data"]))
        elif message["type"] == "subscription_succeeded" and not is_open:
            is_open = True
            found.append([])
        elif message["type"] == "unsubscribe_succeeded":
            is_open = False
    return found, is_open


def is_a_stretch_of(window: list[tuple[str, int]], whole: list[tuple[str, int]]) -> bool:
    """Whether `window` is a contiguous part of `whole`. All publications differ."""
    if not window:
        return True
    start = whole.index(window[0])
    return whole[start : start + len(window)] == window


@pytest.mark.parametrize("over", ["memory", "redis"])
async def test_every_client_gets_a_contiguous_part_of_the_same_order(
    serve: Serve, join: Join, redis_server: RedisServer, over: str
) -> None:
    redis = {"redis_url": redis_server.url} if over == "redis" else {}
    server = await serve(flush_interval=("slow:*=10",), max_queue_messages=100_000, **redis)
    reference = await join(server)
    for channel in CHANNELS:
        await reference.ask({"action": "subscribe", "channel": channel})
    clients = [await join(server) for _ in range(CLIENTS)]
    talks: list[tuple[Talker, list[Message]]] = [(client, []) for client in (reference, *clients)]
    listening = [asyncio.create_task(listen(client, heard)) for client, heard in talks]
    chance = random.Random(20261121)
    sent = sum(await asyncio.gather(*(act(c, random.Random(chance.random()), STEPS) for c in clients)))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while sum(map(is_delivery, talks[0][1])) < sent:
            await asyncio.sleep(0)
        for client, _ in talks:
            await client.say({"action": "ping", "id": "over"})
        await asyncio.gather(*listening)
    (_, whole), *others = talks
    orders = {c: [tuple(m["data"]) for m in whole if is_delivery(m) and m["channel"] == c] for c in CHANNELS}
    for client, heard in others:
        for channel, order in orders.items():
            stretches, is_open = windows(heard, channel)
            assert all(is_a_stretch_of(stretch, order) for stretch in stretches)
            if is_open and stretches[-1]:
                assert stretches[-1][-1] == order[-1]
            own = [number for sender, number in order if sender == client.id]
            assert own == sorted(own)
        answers = [message for message in heard if message.get("type") in ("send_success", "error")]
        assert len(answers) == sum(sender == client.id for order in orders.values() for sender, _ in order)
        assert all(answer["type"] == "send_success" and answer["failed"] == 0 for answer in answers)
