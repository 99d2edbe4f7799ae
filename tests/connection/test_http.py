"""The HTTP side of a connection, until it is upgraded or closed."""

from __future__ import annotations

import json
from pathlib import Path

from tests.hostile.raw_client import TEXT, masked, upgrade
from tests.serving import OpenRaw, RawSocket, Serve

SUBSCRIBE = masked(TEXT, json.dumps({"action": "subscribe", "channel": "a"}).encode())
PING = masked(TEXT, json.dumps({"action": "ping"}).encode())


async def read_response(raw: RawSocket) -> tuple[str, bytes]:
    """Head and body."""
    head = (await raw.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = head.lower().partition("content-length: ")[2].partition("\r\n")[0]
    return head, await raw.reader.readexactly(int(length or 0))


async def test_an_upgrade_behind_answers_that_nobody_has_read_yet_is_answered_like_any_other(
    serve: Serve, open_raw: OpenRaw, tmp_path: Path
) -> None:
    """However much of those answers the transport still holds when the connection changes hands."""
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
