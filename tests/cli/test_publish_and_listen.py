"""fastws publish and fastws listen, against a running server."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import jwt
import pytest

from fastws.cli import main
from fastws.client import connect
from tests.redis_server import RedisServer
from tests.serving import KEY, PATIENCE_SECONDS, SECRET, Join, Serve


async def publish(*words: str) -> int:
    """In a thread: the command has a loop of its own."""
    return await asyncio.to_thread(main, ["publish", *words])


async def test_publish_reaches_subscribers_and_prints_how_many(
    serve: Serve, join: Join, capsys: pytest.CaptureFixture[str]
) -> None:
    server = await serve()
    client = await join(server)
    await client.ask({"action": "subscribe", "channel": "news"})
    url = f"http://127.0.0.1:{server.port}"
    assert await publish("news", "hello", '{"a":1}', "--url", url, "--key", KEY) == 0
    assert json.loads(capsys.readouterr().out) == {"sent": 1, "failed": 0, "stale": 0}
    assert await client.hear() == {"channel": "news", "event": "hello", "data": {"a": 1}}


async def test_publish_with_a_wrong_key_or_to_nobody_is_one_line_and_exit_code_1(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    server = await serve()
    for url, key, words in (
        (f"http://127.0.0.1:{server.port}", "wrong", "set --key or FASTWS_BROADCAST_KEY"),
        ("http://127.0.0.1:9", KEY, "fastws serve"),
    ):
        assert await publish("news", "hello", "1", "--url", url, "--key", key) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("fastws: ")
        assert err.count("\n") == 1
        assert key not in err
        assert words in err


async def test_publish_straight_through_redis(serve: Serve, join: Join, redis_server: RedisServer) -> None:
    server = await serve(redis_url=redis_server.url)
    client = await join(server)
    await client.ask({"action": "subscribe", "channel": "news"})
    assert await publish("news", "hello", "[1]", "--redis-url", redis_server.url) == 0
    heard = await client.hear()
    assert (heard["event"], heard["data"]) == ("hello", [1])


@pytest.mark.parametrize(
    ("query", "flags"), [("", ()), ("", ("--format", "msgpack")), ("?format=msgpack", ())], ids=str
)
async def test_listen_prints_one_line_each_and_stops_after_count(
    serve: Serve, join: Join, query: str, flags: tuple[str, ...]
) -> None:
    server = await serve()
    url = f"ws://127.0.0.1:{server.port}/{query}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fastws", "listen", url, "news", "--count", "2", *flags),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stderr is not None
    connected = await asyncio.wait_for(process.stderr.readline(), PATIENCE_SECONDS * 2)
    shown = url.removesuffix(query)  # the query may contain a token
    assert connected.decode() == f"Connected to {shown}, subscribed to news. Press Ctrl-C to stop.\n"
    sender = await join(server)
    for number in (0, 1, 2):
        await sender.say({"action": "send", "channel": "news", "event": "e", "data": number})
    assert process.stdout is not None
    out = await asyncio.wait_for(process.stdout.read(), PATIENCE_SECONDS)
    assert await process.wait() == 0
    assert [json.loads(line)["data"] for line in out.splitlines()] == [0, 1]


async def test_listen_to_nobody_is_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert await asyncio.to_thread(main, ["listen", "ws://127.0.0.1:9/", "news"]) == 1
    _, err = capsys.readouterr()
    assert err.startswith("fastws: ")
    assert err.count("\n") == 1


async def test_the_channels_of_a_server_and_what_it_keeps_of_one_are_printed(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    server = await serve(history=("plain=off", "**=10/60"))
    flags = ("--url", f"http://127.0.0.1:{server.port}", "--key", KEY)
    for number in range(3):
        assert await publish("chat:7", "said", str(number), *flags) == 0
    assert await publish("other", "said", "1", *flags) == 0
    capsys.readouterr()

    async def lines(*words: str) -> list[dict[str, object]]:
        assert await asyncio.to_thread(main, [*words, *flags]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert await lines("channels", "--prefix", "chat:") == [{"channel": "chat:7", "subscribers": 0, "offset": 3}]
    assert [each["channel"] for each in await lines("channels")] == ["chat:7", "other"]
    assert [each["data"] for each in await lines("history", "chat:7")] == [0, 1, 2]
    newest = await lines("history", "chat:7", "--limit", "1", "--reverse")
    assert [(each["offset"], each["data"]) for each in newest] == [(3, 2)]
    assert await asyncio.to_thread(main, ["history", "plain", *flags]) == 1
    assert "history" in capsys.readouterr().err


async def test_the_members_of_a_channel_are_printed(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    server = await serve(presence=("plain=off", "counted=count", "**"), allow_anonymous=True)
    flags = ("--url", f"http://127.0.0.1:{server.port}", "--key", KEY)
    claims = {"sub": "ada", "exp": time.time() + 60, "channels": ["**"]}
    token = jwt.encode(claims, SECRET, "HS256")

    async def lines(*words: str) -> list[dict[str, object]]:
        assert await asyncio.to_thread(main, ["presence", *words, *flags]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    async with connect(f"ws://127.0.0.1:{server.port}", ["chat:7", "counted"], token, proxy=None) as client:
        assert await lines("chat:7") == [{"connection_id": client.connection_id, "user": "ada"}]
        assert await lines("chat:7", "--count") == [{"channel": "chat:7", "count": 1, "users": 1}]
        assert await lines("counted") == [{"channel": "counted", "count": 1, "users": 1}]
    assert await asyncio.to_thread(main, ["presence", "plain", *flags]) == 1
    assert "presence" in capsys.readouterr().err
