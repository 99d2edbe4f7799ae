"""Bad clients behind nginx, HAProxy and Caddy as shipped reach no internal endpoint and disturb no other client."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from websockets.frames import Frame, Opcode

from tests.end_to_end.proxy_process import OUTSIDE
from tests.end_to_end.test_proxies import Site, hear, site, trusted, until_empty
from tests.serving import KEY, PATIENCE_SECONDS

__all__ = ["site", "trusted"]

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: live.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
BODY = b'{"channel":"news","event":"e","data":"forged"}'
OPERATORS = (
    *("/broadcast", "/production/broadcast", "//broadcast", "/./broadcast", "/x/../broadcast", "/broadcast/"),
    *("/%62roadcast", "/%2fbroadcast", "/a%2Fb/broadcast", "/a/b/broadcast", "/a%2F/broadcast", "/broadcast%2f"),
    *("/broadcast?x=/", "/%2e/broadcast", "/a%3f/broadcast", "/a%23/broadcast", "/a;b/broadcast", "/a\\b/broadcast"),
    *("/Broadcast", "/connections", "/connections/", "/%63onnections", "/a/%40connections/x", "/a/@connections/x"),
    *("/a%2fb/@connections/x", "/a/%2540connections/x", "/revocations", "/log-level", "/metrics", "/%6detrics"),
    *("http://live.example.com/broadcast", "http://live.example.com/a%2Fb/broadcast"),
)
MESSAGE_BYTES = 100_000


OPEN: set[asyncio.StreamWriter] = set()


@pytest_asyncio.fixture(autouse=True)
async def sockets(site: Site) -> AsyncIterator[None]:
    """Closes all sockets of the clients before the proxy ends: Caddy 2.6 waits for clients that read nothing."""
    yield
    for writer in OPEN:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    OPEN.clear()


async def dial(site: Site) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.proxy.port, local_addr=(OUTSIDE, 0))
    OPEN.add(writer)
    return reader, writer


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    """All that arrives until the proxy closes the connection."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


async def status_of(site: Site, method: str, target: str, body: bytes = b"") -> int:
    reader, writer = await dial(site)
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: live.example.com\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    answer = await until_closed(reader)
    return int(answer.split(b" ", 2)[1]) if answer else 0


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_nothing_internal_is_reached_from_outside_even_with_the_key(site: Site, method: str) -> None:
    before = [server.counters.publications["http"] for server in site.servers.values()]
    for target in OPERATORS:
        status = await status_of(site, method, target, BODY if method == "POST" else b"")
        assert status in (400, 403, 404, 405, 426), (target, status)
    assert [server.counters.publications["http"] for server in site.servers.values()] == before
    seen = {route for server in site.servers.values() for route, _ in server.counters.requests_refused}
    assert seen <= {"none", "{websocket}", "/"}, "no request has come as far as an internal endpoint"


async def upgraded(site: Site, *frames: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Upgrade, read the greeting, send `frames`."""
    reader, writer = await dial(site)
    writer.write(UPGRADE)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await reader.readuntil(b"connection_id")
    for frame in frames:
        writer.write(frame)
    return reader, writer


def masked(opcode: Opcode, payload: bytes) -> bytes:
    return Frame(opcode, payload).serialize(mask=True)


async def unmasked(site: Site) -> None:
    reader, _ = await upgraded(site, Frame(Opcode.TEXT, b"{}").serialize(mask=False))
    assert b"\x88" in await until_closed(reader)


async def too_large(site: Site) -> None:
    reader, _ = await upgraded(site, b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0")
    assert (1009).to_bytes(2, "big") in await until_closed(reader)


async def bad_text(site: Site) -> None:
    reader, _ = await upgraded(site, masked(Opcode.TEXT, b"\xff\xfe"))
    assert (1007).to_bytes(2, "big") in await until_closed(reader)


async def reset_amid_a_frame(site: Site) -> None:
    _, writer = await upgraded(site, masked(Opcode.TEXT, b"x" * 1000)[:500])
    await writer.drain()
    writer.transport.abort()


async def smuggled(site: Site) -> None:
    """A second request in the body of a request with two lengths must get no answer."""
    inner = b"POST /broadcast HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + KEY.encode() + b"\r\nContent-Length: "
    inner += str(len(BODY)).encode() + b"\r\n\r\n" + BODY
    reader, writer = await dial(site)
    writer.write(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        % (len(inner) + 5)
        + inner
    )
    writer.write_eof()
    assert b'"sent"' not in await until_closed(reader)


async def pipelined_behind_a_refused_upgrade(site: Site) -> None:
    """After a refused upgrade the proxy must not pass on further bytes as if it had opened a tunnel."""
    request = b"GET /connections HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + KEY.encode() + b"\r\n\r\n"
    reader, writer = await dial(site)
    writer.write(UPGRADE.replace(b"GET / ", b"GET /nowhere ") + request)
    writer.write_eof()
    assert b'"connections"' not in await until_closed(reader)


async def garbage(site: Site) -> None:
    reader, writer = await dial(site)
    writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) + b"\r\n\r\n")
    writer.write_eof()
    assert b"101" not in await until_closed(reader)


BAD: tuple[Callable[[Site], Awaitable[None]], ...] = (
    *(unmasked, too_large, bad_text, reset_amid_a_frame),
    *(smuggled, pipelined_behind_a_refused_upgrade, garbage),
)


async def publish_everywhere(site: Site, data: object) -> None:
    for server in site.servers.values():
        await server.broadcaster.publish("news", "e", data)


async def test_clients_that_break_every_rule_end_and_the_others_hear_everything(site: Site) -> None:
    async with site.dial() as good:
        await hear(good)
        await good.send(json.dumps({"action": "subscribe", "channel": "news"}))
        await hear(good)
        for number, bad in enumerate(BAD):
            await bad(site)
            await publish_everywhere(site, number)
            assert (await hear(good))["data"] == number, bad.__name__
        async with asyncio.timeout(PATIENCE_SECONDS):
            while sum(len(server.roster) for server in site.servers.values()) > 1:
                await asyncio.sleep(0.01)
        assert all(not server.counters.publications["http"] for server in site.servers.values())
    for server in site.servers.values():
        await until_empty(server)


async def test_a_client_that_reads_nothing_is_removed_and_the_others_hear_everything(site: Site) -> None:
    subscribe = masked(Opcode.TEXT, b'{"action":"subscribe","channel":"news"}')
    async with site.dial() as good:
        await hear(good)
        await good.send(json.dumps({"action": "subscribe", "channel": "news"}))
        await hear(good)
        stalled = [await upgraded(site, subscribe) for _ in range(2)]
        for reader, writer in stalled:
            await reader.readuntil(b"subscription_succeeded")
            writer.transport.pause_reading()  # type: ignore[attr-defined] # the transport of a socket reads, too
        removed = 0
        for number in range(1000):
            await publish_everywhere(site, f"{number}:" + "x" * MESSAGE_BYTES)
            assert str((await hear(good))["data"]).startswith(f"{number}:")
            removed = sum(server.counters.closed[(1013, "slow_consumer")] for server in site.servers.values())
            if removed == len(stalled):
                break
        assert removed == len(stalled), "they were never removed"


async def test_a_head_that_never_ends_holds_no_server(site: Site) -> None:
    """nginx, HAProxy and Caddy wait for the whole head before they connect to a server."""
    for _ in range(20):
        _, writer = await dial(site)
        writer.write(UPGRADE[:-2])
    async with site.dial() as good:
        await hear(good)
        assert sum(len(server.roster) for server in site.servers.values()) == 1
        assert sum(server.counters.opened["channels"] for server in site.servers.values()) >= 1
