"""Our clients over lost connections, with a checker of the sequence: nothing lost, nothing twice, every gap told."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from fastws.backend import AsyncBroadcaster
from fastws.client import Client, connect
from fastws.client.threaded import ThreadedClient
from fastws.config import Config
from fastws.errors import Unrecoverable
from fastws.server.server import Server
from tests.brokers.tcp_proxy import TcpProxy
from tests.hostile.server_process import ServerProcess, token_of
from tests.node_packages import STATIC, node
from tests.serving import PATIENCE_SECONDS

SECRET = "a secret of at least thirty-two bytes"
FEED = "botrix:jobs:updates"
TOKEN = token_of("u1", channels=["execution:*"], workspaces=["w1"])
# The options of a client, and the channel whose deliveries it gets, in each dialect.
DIALECTS: dict[str, tuple[dict[str, Any], str]] = {
    "channels": ({"channels": ["c"]}, "c"),
    "rooms": ({"channels": ["execution:1"], "dialect": "rooms", "token": TOKEN}, "execution:1"),
    "own room": ({"dialect": "rooms", "token": TOKEN}, "user:u1"),
    "workspaces": ({"dialect": "workspaces", "token": TOKEN, "workspace_id": "w1"}, "workspace:w1"),
    "jobs": ({"dialect": "jobs"}, FEED),
}
NOTICES = ("disconnected", "reconnected", "gap", "lag", "error")

Message = dict[str, Any]
Publish = Callable[..., Awaitable[None]]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    given = {"jwt_secret": SECRET, "broadcast_key": ("key",), "allow_anonymous": True, "max_queue_bytes": 1_048_576}
    async with Server(Config(port=0, history=("plain=off", "**=5000/60"), **given)) as server:
        yield server


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def publish(server: Server) -> AsyncIterator[Publish]:
    async with AsyncBroadcaster(f"http://127.0.0.1:{server.port}", "key") as broadcaster:

        async def numbers(channel: str, first: int, last: int, event: str = "e", **more: Any) -> None:
            """Publish the numbers from `first` to `last`, one after the other."""
            for n in range(first, last + 1):
                data = {"job_id": f"j{n}", "status": event, "n": n, **more}
                await broadcaster.publish(channel, event, data)

        yield numbers


def client_at(port: int, **options: Any) -> Client:
    return connect(f"ws://127.0.0.1:{port}", **{"proxy": None, "first_delay": 0.01, "longest_delay": 0.1, **options})


def kind_of(message: Message) -> str | None:
    kind = message.get("type") if message.get("type") in NOTICES else message.get("event")
    return kind if "data" not in message else None


async def next_of(client: Client) -> Message:
    return await asyncio.wait_for(anext(client), PATIENCE_SECONDS)


async def numbers_of(client: Client, last: int) -> tuple[list[int], list[Message]]:
    """The numbers heard up to `last`, and the notices in between."""
    numbers, notices = [], []
    while not numbers or numbers[-1] < last:
        message = await next_of(client)
        if kind_of(message) is None:
            numbers.append(message["data"]["n"])
        else:
            notices.append(message)
    return numbers, notices


@pytest.mark.parametrize("form", ["json", "msgpack"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_over_twenty_cuts_nothing_is_lost_and_nothing_comes_twice(
    proxy: TcpProxy, publish: Publish, dialect: str, form: str
) -> None:
    options, channel = DIALECTS[dialect]

    numbers: list[int] = []
    async with client_at(proxy.port, format=form, **options) as client:
        for cut in range(1, 21):
            publishing = asyncio.create_task(publish(channel, 10 * cut - 9, 10 * cut))
            kinds = []
            while "reconnected" not in kinds or numbers[-1] < 10 * cut:
                message = await next_of(client)
                if kind_of(message) is None:
                    numbers.append(message["data"]["n"])
                    if numbers[-1] % 10 == 3:
                        proxy.cut()
                else:
                    kinds.append(kind_of(message))
                    assert all(message.get("recovered", {channel: True}).values())
            assert kinds == ["disconnected", "reconnected"]
            await publishing
        assert numbers == list(range(1, 201))
        assert client.positions[channel]["offset"] == 200


NODE_CLIENT = """
import { connect } from "./client/fastws.js";
const [url, options] = process.argv.slice(2);
const say = (kind, value) => console.log(JSON.stringify([kind, value]));
const client = connect({ url, firstDelay: 20, longestDelay: 200, ...JSON.parse(options) });
client.on("message", ({ data }) => say("n", data.n));
client.on("gap", (gap) => say("gap", gap));
client.on("reconnected", ({ recovered }) => say("recovered", Object.values(recovered).every(Boolean)));
await client.ready;
await new Promise((go) => setTimeout(go, 100)); // the feed of jobs has no confirmation to wait for
say("ready", true);
process.stdin.on("data", () => { say("positions", client.positions); client.close(); process.exit(); });
"""


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_javascript_client_loses_nothing_over_cuts_either(
    proxy: TcpProxy, publish: Publish, tmp_path: Path, dialect: str
) -> None:
    options, channel = DIALECTS[dialect]
    shutil.copytree(STATIC, tmp_path, dirs_exist_ok=True)
    (tmp_path / "script.mjs").write_text(NODE_CLIENT)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    given = {"workspaceId": options.get("workspace_id"), **options}
    process = await asyncio.create_subprocess_exec(
        *(node(), "--experimental-websocket", "script.mjs", f"ws://127.0.0.1:{proxy.port}", json.dumps(given)),
        cwd=tmp_path,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    async def next_line() -> tuple[str, Any]:
        assert process.stdout is not None
        kind, value = json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS))
        return kind, value

    assert await next_line() == ("ready", True)
    numbers: list[int] = []
    for cut in range(1, 11):
        publishing = asyncio.create_task(publish(channel, 10 * cut - 9, 10 * cut))
        recovered: list[bool] = []
        while not recovered or numbers[-1] < 10 * cut:
            kind, value = await next_line()
            assert kind != "gap", value
            (numbers if kind == "n" else recovered).append(value)
            if kind == "n" and value % 10 == 3:
                proxy.cut()
        assert recovered == [True]
        await publishing
    process.stdin.write(b"end\n")
    kind, positions = await next_line()
    await process.wait()
    assert numbers == list(range(1, 101))
    assert (kind, positions[channel]["offset"]) == ("positions", 100)


@pytest.mark.parametrize(
    ("dialect", "channel", "wanted"), [("workspaces", "workspace:w1", "alert"), ("jobs", FEED, None)]
)
async def test_a_filtered_client_recovers_what_it_wants_and_nothing_else(
    proxy: TcpProxy, publish: Publish, dialect: str, channel: str, wanted: str | None
) -> None:
    options = {"channels": [wanted], "token": TOKEN, "workspace_id": "w1"} if wanted else {"statuses": ["alert"]}
    async with client_at(proxy.port, dialect=dialect, **options) as client:
        await publish(channel, 1, 1, event="alert")
        await numbers_of(client, 1)
        await publish(channel, 2, 3, event="e")
        await client.ping()
        assert client.positions[channel]["offset"] == 3
        proxy.cut()
        assert kind_of(await next_of(client)) == "disconnected"
        await publish(channel, 4, 4, event="alert")
        await publish(channel, 5, 5, event="e")
        await publish(channel, 6, 6, event="alert")
        numbers, notices = await numbers_of(client, 6)
        assert numbers == [4, 6]
        assert [notice["recovered"] for notice in notices] == [{channel: True}]


async def test_closes_of_the_server_are_recovered_and_a_plain_channel_is_told(server: Server, publish: Publish) -> None:
    async with client_at(server.port, channels=["c", "plain"]) as client:
        await publish("c", 1, 2)
        await numbers_of(client, 2)
        for connection in list(server.roster):
            connection.end(1012, "restart", label="drain")
        assert kind_of(await next_of(client)) == "disconnected"
        await publish("c", 3, 4)
        messages = [await next_of(client) for _ in range(4)]
        assert messages[0]["recovered"] == {"c": True, "plain": False}
        assert [message["data"]["n"] for message in messages if message.get("channel") == "c"] == [3, 4]
        assert {"type": "gap", "channel": "plain", "source": "reconnect"} in messages


async def test_a_program_that_returns_continues_where_it_has_stopped(server: Server, publish: Publish) -> None:
    async with client_at(server.port, channels=["c"]) as client:
        await publish("c", 1, 5)
        await numbers_of(client, 3)
        kept = json.loads(json.dumps(client.positions))
        async with httpx.AsyncClient(headers={"Authorization": "Bearer key"}, trust_env=False) as http:
            await http.delete(f"http://127.0.0.1:{server.port}/connections/{client.connection_id}")
        assert [message["data"]["n"] async for message in client] == [4, 5]
    assert kept["c"]["offset"] == 3
    async with client_at(server.port, channels=["c"], positions=kept) as client:
        assert await numbers_of(client, 5) == ([4, 5], [])
    async with client_at(server.port, positions=kept) as client:
        await client.subscribe("c")
        assert await numbers_of(client, 5) == ([4, 5], [])


async def test_a_program_that_reads_slowly_loses_nothing_though_the_server_closes_it(
    server: Server, publish: Publish
) -> None:
    async with client_at(server.port, channels=["c", "plain"], max_queue=5) as client:
        ballast = "x" * 50_000
        await publish("c", 1, 400, ballast=ballast)
        assert client.dropped == 0
        numbers, notices = await numbers_of(client, 400)
        assert numbers == list(range(1, 401))
        back = [notice["recovered"]["c"] for notice in notices if kind_of(notice) == "reconnected"]
        assert back
        assert all(back)


async def test_a_call_is_answered_while_a_full_queue_waits_for_the_program(server: Server, publish: Publish) -> None:
    async with client_at(server.port, channels=["c"], max_queue=10) as client:
        await publish("c", 1, 30)
        assert await client.ping() > 0
        assert await numbers_of(client, 30) == (list(range(1, 31)), [])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_restart_without_the_memory_is_told_as_a_gap_and_never_as_recovered(how: signal.Signals) -> None:
    flags = ("--allow-anonymous", "true", "--history", "**=1000/60", "--drain-timeout", "0.2")
    process = ServerProcess(*flags)
    try:
        async with client_at(process.port, channels=["c"]) as client:
            for n in range(1, 4):
                await asyncio.to_thread(process.publish, "c", {"n": n})
            numbers, _ = await numbers_of(client, 3)
            process.signal(how)
            await asyncio.to_thread(process.wait)
            assert kind_of(await next_of(client)) == "disconnected"
            again = await asyncio.to_thread(ServerProcess, *flags, "--port", str(process.port))
            try:
                back, gap = await next_of(client), await next_of(client)
                assert back["recovered"] == {"c": False}
                assert (gap["type"], gap["channel"], gap["offset"]) == ("gap", "c", 0)
                for n in range(4, 9):
                    await asyncio.to_thread(again.publish, "c", {"n": n})
                more, notices = await numbers_of(client, 8)
                assert (numbers, more, notices) == ([1, 2, 3], [4, 5, 6, 7, 8], [])
                assert client.positions["c"] == {"offset": 5, "epoch": gap["epoch"]}
            finally:
                await asyncio.to_thread(again.close)
    finally:
        await asyncio.to_thread(process.close)


async def test_threads_recover_too_and_their_positions_are_those_of_messages_read(
    proxy: TcpProxy, publish: Publish
) -> None:
    def use(loop: asyncio.AbstractEventLoop) -> tuple[list[int], list[int]]:
        url = f"ws://127.0.0.1:{proxy.port}"
        numbers, offsets = [], []
        with ThreadedClient(url, ["c"], proxy=None, first_delay=0.01, longest_delay=0.1) as client:
            publishing = asyncio.run_coroutine_threadsafe(publish("c", 1, 100), loop)
            while not numbers or numbers[-1] < 100:
                message = client.receive(PATIENCE_SECONDS)
                assert message is not None
                if kind_of(message) is None:
                    numbers.append(message["data"]["n"])
                    offsets.append(client.positions["c"]["offset"])
                    if numbers[-1] % 10 == 0:
                        loop.call_soon_threadsafe(proxy.cut)
            publishing.result()
        return numbers, offsets

    numbers, offsets = await asyncio.to_thread(use, asyncio.get_running_loop())
    assert numbers == offsets == list(range(1, 101))


async def test_a_callback_of_a_thread_sees_the_position_of_its_message(server: Server, publish: Publish) -> None:
    seen: asyncio.Queue[tuple[int, object]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def use() -> None:
        def on_message(message: Message) -> None:
            position = clients[0].positions["c"]["offset"]
            loop.call_soon_threadsafe(seen.put_nowait, (message["data"]["n"], position))

        clients = []
        client = ThreadedClient(f"ws://127.0.0.1:{server.port}", proxy=None, on_message=on_message)
        clients.append(client)
        with client:
            client.subscribe("c")
            asyncio.run_coroutine_threadsafe(publish("c", 1, 5), loop).result()
            deadline = time.monotonic() + PATIENCE_SECONDS
            while client.positions["c"]["offset"] != 5 and time.monotonic() < deadline:
                client.ping()

    await asyncio.to_thread(use)
    assert [await asyncio.wait_for(seen.get(), PATIENCE_SECONDS) for _ in range(5)] == [(n, n) for n in range(1, 6)]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_client_begins_with_a_replay_and_reads_pages(server: Server, publish: Publish, dialect: str) -> None:
    options, channel = DIALECTS[dialect]
    await publish(channel, 1, 9)
    async with client_at(server.port, replay=3, **options) as client:
        assert await numbers_of(client, 9) == ([7, 8, 9], [])
        page = await client.history(channel, limit=2, reverse=True)
        assert ([message["data"]["n"] for message in page["messages"]], page["offset"]) == ([9, 8], 9)
        after = await client.history(channel, offset=7, epoch=page["epoch"])
        assert [message["data"]["n"] for message in after["messages"]] == [8, 9]
        if "dialect" not in options:
            with pytest.raises(Unrecoverable):
                await client.history(channel, offset=99, epoch=page["epoch"])
            await client.send(channel, "typing", {"n": 10}, ephemeral=True)
            assert await numbers_of(client, 10) == ([10], [])
            assert client.positions[channel]["offset"] == 9
