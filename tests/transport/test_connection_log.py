"""The log lines of connections: user, address and reason; limited in number; without secrets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from fastws.access.tokens import REFUSAL
from fastws.errors import Forbidden, Unauthorized
from fastws.logs import LogLevel
from fastws.transport import connection_log as connection_log
from tests.serving import Join, OpenRaw, Serve

Lines = list[Any]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """The lines of fastws from level info on."""
    ours = logging.getLogger("fastws")
    before = ours.level
    ours.setLevel(logging.INFO)
    with capture_logs() as captured:
        yield captured
    ours.setLevel(before)


def said(lines: Lines, event: str) -> Lines:
    return [line for line in lines if line["event"] == event]


async def gone(server: Any) -> None:
    async with asyncio.timeout(5):
        await server.gate.until_empty()


async def test_a_connection_is_logged_with_user_address_channels_and_why_it_ended(
    serve: Serve, join: Join, lines: Lines
) -> None:
    server = await serve()
    token = server.tokens.sign("ann", channels=["**"], publish=[], ttl_seconds=60)
    client = await join(server, token=token)
    await client.ask({"action": "subscribe", "channel": "news"})
    await client.socket.close()
    await gone(server)
    (opened,), (closed,) = said(lines, "connection opened"), said(lines, "connection closed")
    who = {"connection": client.id, "user": "ann", "address": "127.0.0.1", "dialect": "channels"}
    assert who.items() <= opened.items()
    assert {**who, "channels": ["news"], "code": 1000, "reason": "client"}.items() <= closed.items()
    assert token not in str(lines)


async def test_a_client_that_disappears_without_a_close_is_logged_as_lost(
    serve: Serve, open_raw: OpenRaw, lines: Lines
) -> None:
    server = await serve()
    raw = await open_raw(server)
    raw.writer.transport.abort()
    await gone(server)
    (closed,) = said(lines, "connection closed")
    assert (closed["code"], closed["reason"], closed["user"]) == (1006, "lost", None)


async def test_a_storm_of_connections_costs_a_bounded_number_of_lines(
    serve: Serve, open_raw: OpenRaw, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_log, "LINES_PER_SECOND", 3)
    server = await serve()
    for _ in range(10):
        (await open_raw(server)).writer.transport.abort()
    await gone(server)
    await server.stop()
    one_by_one = said(lines, "connection opened") + said(lines, "connection closed")
    summed = said(lines, "connection log sampled")
    counted = len(one_by_one) + sum(line["opened"] + line["closed"] for line in summed)
    assert counted == 20
    assert len(one_by_one) < 20


async def test_at_level_debug_every_connection_is_logged(
    serve: Serve, open_raw: OpenRaw, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_log, "LINES_PER_SECOND", 0)
    server = await serve(log_level="debug")
    for _ in range(5):
        await open_raw(server)
    assert len(said(lines, "connection opened")) == 5


async def test_a_refused_handshake_is_logged_once_and_then_summed_up(serve: Serve, lines: Lines) -> None:
    server = await serve()
    for _ in range(3):
        with pytest.raises(InvalidStatus):
            await connect(f"ws://127.0.0.1:{server.port}/?token=hunter2", proxy=None)
    (first,) = said(lines, "handshake refused")
    assert {"status": 401, "reason": "unauthorized", "address": "127.0.0.1"}.items() <= first.items()
    assert (first["answer"], first["cause"]) == (REFUSAL, "it is not a JWT")
    await server.stop()
    (summed,) = said(lines, "handshakes refused in the last minute")
    assert summed["refused"] == {"401 unauthorized (it is not a JWT)": 3}
    assert "hunter2" not in str(lines)


async def test_one_refusal_needs_no_sum(lines: Lines) -> None:
    quiet = connection_log.ConnectionLog(LogLevel("info"))
    quiet.refused(Unauthorized("no"), "192.0.2.1")
    quiet.close()
    assert [line["event"] for line in lines] == ["handshake refused"]


async def test_different_causes_of_one_status_are_distinguished(lines: Lines) -> None:
    log = connection_log.ConnectionLog(LogLevel("info"))
    for cause in ("expired", "expired", "wrong key"):
        log.refused(Unauthorized("no", cause=cause), "192.0.2.1", route="/broadcast")
    log.refused(Unauthorized("no"), "192.0.2.1")
    log.close()
    assert [line["cause"] for line in said(lines, "request refused")] == ["expired", "wrong key"]
    assert all(line["route"] == "/broadcast" for line in said(lines, "request refused"))
    (summed,) = said(lines, "requests refused in the last minute")
    assert summed["refused"] == {
        "/broadcast 401 unauthorized (expired)": 2,
        "/broadcast 401 unauthorized (wrong key)": 1,
    }
    assert not said(lines, "handshakes refused in the last minute"), "a single one is logged already"


async def test_causes_that_clients_vary_fill_neither_log_nor_memory(lines: Lines) -> None:
    log = connection_log.ConnectionLog(LogLevel("info"))
    for number in range(1000):
        log.refused(Forbidden("no", reason="origin", cause=f"origin {number}"), "192.0.2.1")
    log.refused(Unauthorized("no", cause="expired"), "192.0.2.1")
    log.close()
    assert len(said(lines, "handshake refused")) == connection_log.MAX_KINDS + 2
    assert said(lines, "handshake refused")[-1]["cause"] == "expired", "other reasons are still seen"
    (summed,) = said(lines, "handshakes refused in the last minute")
    assert summed["refused"]["403 origin"] == 1000 - connection_log.MAX_KINDS
    assert sum(summed["refused"].values()) == 1001


async def test_many_channels_are_shown_as_some_and_a_number(serve: Serve, join: Join, lines: Lines) -> None:
    server = await serve()
    client = await join(server)
    for number in range(10):
        await client.ask({"action": "subscribe", "channel": f"c{number}"})
    await client.socket.close()
    await gone(server)
    (closed,) = said(lines, "connection closed")
    assert len(closed["channels"]) == connection_log.MAX_CHANNELS_SHOWN
    assert closed["more_channels"] == 2


async def test_close_frames_that_were_not_sent_are_sampled_too(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_log, "LINES_PER_SECOND", 2)
    log = connection_log.ConnectionLog(LogLevel("info"))
    connection: Any = SimpleNamespace(id="c1", identity=None, address="192.0.2.1")
    for _ in range(5):
        log.close_undelivered(connection)
    log.close()
    assert said(lines, "close frame not delivered") == 2 * [
        {
            "event": "close frame not delivered",
            "log_level": "info",
            "connection": "c1",
            "user": None,
            "address": "192.0.2.1",
        }
    ]
    (summed,) = said(lines, "connection log sampled")
    assert (summed["opened"], summed["closed"], summed["undelivered"]) == (0, 0, 3)
