"""The mailbox of a client id in the Python clients: nothing is lost and nothing comes twice, in every dialect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fastws.backend import AsyncBroadcaster
from fastws.client import Client, connect
from fastws.client.threaded import ThreadedClient
from fastws.server.server import Server
from tests.brokers.tcp_proxy import TcpProxy
from tests.end_to_end.test_presence import token
from tests.serving import KEY, PATIENCE_SECONDS, Message, Serve

# The options of a client, and its mailbox.
CLIENTS: dict[str, tuple[dict[str, Any], str]] = {
    "channels": ({}, "client:phone"),
    "channels with a token": ({"token": token("ada")}, "client:ada:phone"),
    "rooms": ({"dialect": "rooms", "token": token("ada")}, "client:ada:phone"),
    "workspaces": ({"dialect": "workspaces", "token": token("ada")}, "client:ada:phone"),
    "jobs": ({"dialect": "jobs"}, "client:phone"),
}


@pytest.fixture
async def server(serve: Serve) -> Server:
    return await serve(history=("client:**=1000/60",), allow_anonymous=True)


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(server.port) as proxy:
        yield proxy


async def publish(server: Server, channel: str, *numbers: int) -> None:
    async with AsyncBroadcaster(f"http://127.0.0.1:{server.port}", KEY) as broadcaster:
        for number in numbers:
            await broadcaster.publish(channel, "e", number)


def client_at(port: int, **options: Any) -> Client:
    fast = {"first_delay": 0.01, "longest_delay": 0.1}
    return connect(f"ws://127.0.0.1:{port}", proxy=None, client_id="phone", **fast, **options)


async def next_of(client: Client) -> Message:
    return await asyncio.wait_for(anext(client), PATIENCE_SECONDS)


@pytest.mark.parametrize("name", CLIENTS)
async def test_a_mailbox_is_continued_after_lost_connections_and_by_a_later_client(
    server: Server, proxy: TcpProxy, name: str
) -> None:
    options, mailbox = CLIENTS[name]
    numbers: list[int] = []
    async with client_at(proxy.port, **options) as client:
        for cut in range(5):
            publishing = asyncio.create_task(publish(server, mailbox, *range(10 * cut, 10 * cut + 10)))
            has_returned = False
            while not has_returned or len(numbers) < 10 * cut + 10:
                message = await next_of(client)
                if "data" in message:
                    assert message["channel"] == mailbox
                    numbers.append(message["data"])
                    if message["data"] % 10 == 3:
                        proxy.cut()
                elif "recovered" in message:
                    has_returned = True
                    assert message["recovered"][mailbox] is True
            await publishing
        positions = client.positions
    assert numbers == list(range(50))
    assert positions[mailbox]["offset"] == 50
    await publish(server, mailbox, 50, 51)
    async with client_at(server.port, positions=positions, **options) as client:
        assert [(await next_of(client))["data"] for _ in range(2)] == [50, 51]
    async with client_at(server.port, replay=1, **options) as client:
        assert (await next_of(client))["data"] == 51


@pytest.mark.parametrize("name", CLIENTS)
async def test_a_mailbox_that_was_not_recovered_is_a_gap_that_names_it(server: Server, name: str) -> None:
    options, mailbox = CLIENTS[name]
    positions = {mailbox: {"offset": 7, "epoch": "another"}}
    async with client_at(server.port, positions=positions, **options) as client:
        gap = await next_of(client)
        assert gap.get("channel", gap.get("room_id")) == mailbox
        assert gap["source"] == "reconnect"
        await publish(server, mailbox, 1)
        assert (await next_of(client))["data"] == 1


async def test_a_mailbox_without_history_is_not_recovered(serve: Serve) -> None:
    server = await serve(allow_anonymous=True)
    async with TcpProxy(server.port) as proxy, client_at(proxy.port) as client:
        proxy.cut()
        assert (await next_of(client))["type"] == "disconnected"
        assert (await next_of(client))["recovered"] == {"client:phone": False}
        assert (await next_of(client)) == {"type": "gap", "channel": "client:phone", "source": "reconnect"}


async def test_a_threaded_client_has_a_mailbox_too(server: Server) -> None:
    def receive() -> Message | None:
        with ThreadedClient(f"ws://127.0.0.1:{server.port}", client_id="phone", proxy=None, replay=1) as client:
            return client.receive(PATIENCE_SECONDS)

    await publish(server, "client:phone", 1, 2)
    message = await asyncio.to_thread(receive)
    assert message is not None
    assert (message["channel"], message["data"], message["offset"]) == ("client:phone", 2, 2)
