"""The HTTP side of a connection, until it is upgraded or closed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from fastws.server.server import Server
from tests.hostile.raw_client import TEXT, masked, upgrade
from tests.serving import KEY, PATIENCE_SECONDS, OpenRaw, RawSocket, Serve

SUBSCRIBE = masked(TEXT, json.dumps({"action": "subscribe", "channel": "a"}).encode())
PING = masked(TEXT, json.dumps({"action": "ping"}).encode())


async def read_response(raw: RawSocket) -> tuple[str, bytes]:
    """Head and body."""
    head = (await raw.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = head.lower().partition("content-length: ")[2].partition("\r\n")[0]
    return head, await raw.reader.readexactly(int(length or 0))


async def test_an_upgrade_after_unread_responses_is_answered_like_any_other(
    serve: Serve, open_raw: OpenRaw, tmp_path: Path
) -> None:
    """However much of the responses is still in the transport when the WebSocket connection takes it over."""
    server = await serve(unix_socket=str(tmp_path / "socket"), allow_anonymous=True)
    request = b"GET /client/fastws.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for count in range(1, 16):
        raw = await open_raw(server, None, limit=4096)
        await raw.send_bytes(request * count + upgrade())
        health = await open_raw(server, None)
        for _ in range(count + 2):  # so many loop turns of the server, at least
            await health.send_bytes(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await read_response(health)
        for _ in range(count):
            assert (await read_response(raw))[0].startswith("HTTP/1.1 200 ")
        assert (await read_response(raw))[0].startswith("HTTP/1.1 101 ")
        await raw.receive()
        await raw.send_bytes(SUBSCRIBE)
        assert b"subscription_succeeded" in (await raw.receive())[1]
        await raw.send_bytes(PING)
        assert b"pong" in (await raw.receive())[1]


# --- idle between two requests

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def asked(server: Server, open_raw: OpenRaw) -> RawSocket:
    """A connection that has had an answer."""
    raw = await open_raw(server, None)
    await raw.send_bytes(HEALTH)
    head, _ = await read_response(raw)
    assert head.startswith("HTTP/1.1 200 ")
    return raw


async def test_a_connection_with_a_response_stays_longer_than_one_without_a_request(
    serve: Serve, open_raw: OpenRaw
) -> None:
    server = await serve(handshake_timeout=0.2)
    raw = await asked(server, open_raw)
    for _ in range(2):
        silent = await open_raw(server, None)
        await silent.receive_end()
    await raw.send_bytes(HEALTH)
    head, _ = await read_response(raw)
    assert "\r\nConnection: keep-alive\r\nKeep-Alive: timeout=75\r\n" in head


async def test_an_idle_connection_ends_after_its_own_timeout(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(keep_alive_timeout=0.2)
    raw = await asked(server, open_raw)
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await raw.reader.read() == b""  # a reset would raise
    while server.gate.capacity.sockets:
        await asyncio.sleep(0)
    assert server.gate.capacity._idle == {}


@pytest.mark.parametrize("beginning", [b"G", HEALTH[:-1], HEALTH + b"P", b"POST /broadcast HTTP/1.1\r\n"])
async def test_a_further_request_that_has_begun_has_the_handshakes_time(
    serve: Serve, open_raw: OpenRaw, beginning: bytes
) -> None:
    server = await serve(handshake_timeout=0.2)
    raw = await asked(server, open_raw)
    await raw.send_bytes(beginning)
    await raw.receive_end()


async def test_without_a_keep_alive_each_connection_is_for_one_request(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(keep_alive_timeout=0)
    raw = await open_raw(server, None)
    await raw.send_bytes(HEALTH)
    head, _ = await read_response(raw)
    assert "Connection: close" in head
    assert "Keep-Alive" not in head
    assert await raw.receive_end() == b""


async def test_a_drain_closes_idle_connections_and_answers_pending_requests(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve()
    idle, begun = await asked(server, open_raw), await asked(server, open_raw)
    await begun.send_bytes(HEALTH[:-1])
    while len(server.gate.capacity._idle) > 1:
        await asyncio.sleep(0)
    await server.drain()
    assert await idle.receive_end() == b""
    await begun.send_bytes(HEALTH[-1:])
    head, _ = await read_response(begun)
    assert "Connection: close" in head


async def test_a_client_that_reads_a_large_response_late_is_idle_from_then_on(
    serve: Serve, open_raw: OpenRaw, tmp_path: Path
) -> None:
    server = await serve(unix_socket=str(tmp_path / "socket"))
    raw = await open_raw(server, None, limit=4096)
    count = 30
    await raw.send_bytes(b"GET /client/fastws.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * count)
    for _ in range(count):
        await read_response(raw)
    while not server.gate.capacity._idle:
        await asyncio.sleep(0)
    await raw.send_bytes(HEALTH)
    await read_response(raw)


# --- bodies that nobody wants

LARGE = 1_000_000
KEYED = f"Authorization: Bearer {KEY}"
REFUSED_BY_THE_HEAD = {
    "no such address": ("POST /nowhere", (), 404),
    "no such method": ("PUT /broadcast", (KEYED,), 405),
    "no key": ("POST /broadcast", (), 401),
    "another key": ("POST /broadcast", ("Authorization: Bearer x",), 401),
    "no key, under the stage": ("POST /production/broadcast", (), 401),
    "no key for a revocation": ("POST /revocations", (), 401),
    "no key for the log": ("PUT /log-level", (), 401),
    "unsigned, from elsewhere": ("POST /production/@connections/x", ("X-Forwarded-For: 192.0.2.1",), 413),
    "too large for anybody": ("POST /broadcast", (KEYED, "Content-Length: 1100000"), 413),
    "another host": ("POST /broadcast", (KEYED, "Host: evil.example"), 421),
    "an answer that no body changes": ("GET /health", (), 200),
}


def head_of(line: str, *headers: str) -> bytes:
    names = {header.partition(":")[0] for header in headers}
    own = [
        header for header in ("Host: localhost", f"Content-Length: {LARGE}") if header.partition(":")[0] not in names
    ]
    if "Transfer-Encoding" in names:
        own.pop()
    return "\r\n".join([f"{line} HTTP/1.1", *own, *headers, "", ""]).encode()


@pytest.mark.parametrize(("line", "headers", "status"), REFUSED_BY_THE_HEAD.values(), ids=REFUSED_BY_THE_HEAD)
async def test_a_request_decided_by_its_head_is_answered_and_its_body_discarded(
    serve: Serve, open_raw: OpenRaw, line: str, headers: tuple[str, ...], status: int
) -> None:
    server = await serve(allowed_hosts=("localhost",))
    raw = await open_raw(server, None)
    await raw.send_bytes(head_of(line, *headers))
    head, _ = await read_response(raw)
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert "Connection: close" in head
    await raw.send_bytes(bytes(LARGE))
    raw.writer.write_eof()
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await raw.reader.read() == b""  # a reset would raise


async def test_an_unwanted_chunked_body_is_not_waited_for(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve()
    raw = await open_raw(server, None)
    await raw.send_bytes(head_of("POST /broadcast", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n")
    assert (await read_response(raw))[0].startswith("HTTP/1.1 401 ")


async def test_after_a_short_unwanted_body_the_connection_serves_the_next_request(
    serve: Serve, open_raw: OpenRaw
) -> None:
    server = await serve()
    raw = await open_raw(server, None)
    for size in (1, 65_536):
        await raw.send_bytes(head_of("POST /broadcast", f"Content-Length: {size}"))
        while not server.gate.capacity.sockets:
            await asyncio.sleep(0)
        await raw.send_bytes(bytes(size))
        assert (await read_response(raw))[0].startswith("HTTP/1.1 401 ")
    await raw.send_bytes(head_of("POST /broadcast", "Content-Length: 65537"))
    assert "Connection: close" in (await read_response(raw))[0]


@pytest.mark.parametrize(("key", "statuses"), [(KEY, ["100", "200"]), ("x", ["401"])])
async def test_expect_100_continue_is_answered_or_refused_at_once(
    serve: Serve, open_raw: OpenRaw, key: str, statuses: list[str]
) -> None:
    server = await serve()
    raw = await open_raw(server, None)
    body = b'{"channel":"a","event":"e"}'
    await raw.send_bytes(
        head_of(
            "POST /broadcast",
            f"Authorization: Bearer {key}",
            f"Content-Length: {len(body)}",
            "Expect: 100-continue",
        )
    )
    heard = [(await read_response(raw))[0].split()[1]]
    if heard == ["100"]:
        await raw.send_bytes(body)
        heard.append((await read_response(raw))[0].split()[1])
    assert heard == statuses


async def test_a_body_that_arrives_in_pieces_from_an_authorized_client_is_read(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve()
    raw = await open_raw(server, None)
    body = b'{"channel":"a","event":"e"}'
    for byte in head_of("POST /broadcast", KEYED, f"Content-Length: {len(body)}") + body:
        await raw.send_bytes(bytes((byte,)))
        await asyncio.sleep(0)
    assert (await read_response(raw))[0].startswith("HTTP/1.1 200 ")
