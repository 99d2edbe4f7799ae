"""Which upgrades are admitted: tokens, subprotocols, limits, origins; and the texts of refusals."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
import structlog
from structlog.testing import capture_logs

from fastws.server.server import Server
from tests.serving import KEY, PATIENCE_SECONDS, Join, OpenRaw, Serve

UPGRADE = {
    "Host": "127.0.0.1",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


async def knock(
    open_raw: OpenRaw, server: Server, path: str = "/", *, method: str = "GET", **headers: str | None
) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Ask for an upgrade: status, headers and error (where there is one) of the answer."""
    raw = await open_raw(server, None)
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    fields = {name: value for name, value in ({**UPGRADE, **changed}).items() if value is not None}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    await raw.send_bytes("\r\n".join([*lines, "", ""]).encode())
    head = (await asyncio.wait_for(raw.reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)).decode()
    first, *rest = head.strip().split("\r\n")
    answered = dict(line.split(": ", 1) for line in rest)
    status = int(first.split(" ")[1])
    if status == 101:
        return status, answered, {}
    body = await asyncio.wait_for(raw.reader.readexactly(int(answered["Content-Length"])), PATIENCE_SECONDS)
    assert answered["Connection"] == "close"
    assert await raw.receive_end() == b""
    raw.writer.close()
    return status, answered, json.loads(body)["error"]


async def test_an_upgrade_is_answered_as_the_rfc_has_it(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve()
    status, headers, _ = await knock(open_raw, server)
    assert status == 101
    assert headers == {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",  # RFC 6455 section 1.3
    }


REFUSALS: list[tuple[Mapping[str, Any], str, Mapping[str, str | None], int, str]] = [
    ({}, "/nowhere", {}, 404, "not_found"),
    ({}, "/api/v1/ws", {}, 401, "unauthorized"),
    ({}, "/ws?token=x", {}, 401, "unauthorized"),
    ({}, "/?token=", {}, 401, "unauthorized"),
    ({}, "/", {"Authorization": "Bearer x.y.z"}, 401, "unauthorized"),
    ({}, "/", {"Sec_WebSocket_Protocol": "fastws.json, fastws.token.a.b.c"}, 401, "unauthorized"),
    ({}, "/?format=xml", {}, 400, "bad_request"),
    ({}, "/", {"Sec_WebSocket_Version": "12"}, 426, "upgrade_required"),
    ({}, "/", {"Sec_WebSocket_Version": None}, 400, "bad_request"),
    ({}, "/", {"Sec_WebSocket_Key": "short"}, 400, "bad_request"),
    ({}, "/", {"Sec_WebSocket_Key": None}, 400, "bad_request"),
    ({}, "/", {"Connection": "keep-alive"}, 400, "bad_request"),
    ({}, "/", {"Host": None}, 400, "bad_request"),
    ({"enable_realtime": False}, "/", {}, 503, "unavailable"),
    ({"allow_anonymous": False}, "/", {}, 401, "unauthorized"),
    ({}, "/", {"X_Forwarded_For": "10.0.0.1"}, 401, "unauthorized"),
    ({}, "/", {"Forwarded": "for=10.0.0.1"}, 401, "unauthorized"),
    ({"allowed_origins": ("https://good.example",)}, "/", {"Origin": "https://evil.example"}, 403, "forbidden"),
    ({"allowed_origins": ("https://good.example",)}, "/", {"Origin": "null"}, 403, "forbidden"),
    ({"allowed_origins": ("https://*.good.example",)}, "/", {"Origin": "https://good.example.evil"}, 403, "forbidden"),
]


# By status: what a client is told to do, in one of these ways.
NEXT_STEPS = {
    401: r"send it as|get a new one|ask its operator",
    403: r"allowed_origins lists|get one whose|workspace_id|ask its operator",
    404: r"by default they are /",
    426: r"update the client",
    503: r"try again|enable_realtime|connect again",
}


def hook_that_refuses(event: object, context: object) -> bool:
    return False


def hook_with_status_401(event: object, context: object) -> dict[str, int]:
    return {"statusCode": 401}


def hook_that_fails(event: object, context: object) -> None:
    raise RuntimeError


MORE_REFUSALS: list[tuple[Mapping[str, Any], str, Mapping[str, str | None], int]] = [
    *((settings, path, headers, status) for settings, path, headers, status, _ in REFUSALS if status in NEXT_STEPS),
    *(
        ({"event_hook": f"{__name__}:{hook.__name__}"}, "/", {}, status)
        for hook, status in ((hook_that_refuses, 403), (hook_with_status_401, 401), (hook_that_fails, 503))
    ),
]


@pytest.mark.parametrize(("settings", "path", "headers", "status"), MORE_REFUSALS)
async def test_a_refusal_says_what_to_do_next_and_the_log_repeats_it(
    serve: Serve,
    open_raw: OpenRaw,
    settings: Mapping[str, Any],
    path: str,
    headers: Mapping[str, str | None],
    status: int,
) -> None:
    with capture_logs() as lines:
        server = await serve(**settings)
        answered, _, error = await knock(open_raw, server, path, **headers)
    assert answered == status
    assert re.search(NEXT_STEPS[status], error["message"]), error["message"]
    (line,) = [line for line in lines if line["event"] == "handshake refused"]
    assert line["answer"] == error["message"]
    assert line["cause"] or status in (404, 426) or not server.config.enable_realtime


@pytest.mark.parametrize(("settings", "path", "headers", "status", "code"), REFUSALS)
async def test_a_refusal_says_why_and_is_counted(
    serve: Serve,
    open_raw: OpenRaw,
    settings: Mapping[str, Any],
    path: str,
    headers: Mapping[str, str | None],
    status: int,
    code: str,
) -> None:
    server = await serve(**settings)
    answered, fields, error = await knock(open_raw, server, path, **headers)
    assert (answered, error["code"]) == (status, code)
    assert error["message"]
    assert sum(server.counters.refused.values()) == 1
    assert next(iter(server.counters.refused))[0] == status
    assert len(server.roster) == 0
    if status == 426:
        assert fields["Sec-WebSocket-Version"] == "13"
    if status == 503:
        assert int(fields["Retry-After"]) > 0


async def test_allowed_and_absent_origins_come_in(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(allowed_origins=("https://good.example", "https://*.good.example"))
    for origin in ("https://good.example", "https://a.good.example", None):
        assert (await knock(open_raw, server, Origin=origin))[0] == 101


async def test_when_anonymous_use_was_allowed_it_is_so_behind_a_proxy_too(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(allow_anonymous=True)
    assert (await knock(open_raw, server, X_Forwarded_For="10.0.0.1"))[0] == 101


async def test_a_full_server_answers_503_until_a_client_leaves(serve: Serve, join: Join, open_raw: OpenRaw) -> None:
    server = await serve(max_connections=1)
    client = await join(server)
    status, headers, error = await knock(open_raw, server)
    assert (status, error["code"]) == (503, "unavailable")
    assert int(headers["Retry-After"]) > 0
    await client.socket.close()
    assert (await knock(open_raw, server))[0] == 101


async def test_over_the_connect_rate_is_503(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(connect_rate=2.0)
    assert [(await knock(open_raw, server))[0] for _ in range(3)] == [101, 101, 503]
    assert server.counters.rate_limited == {"connect": 1}


async def test_over_a_users_or_an_addresss_share_is_429(serve: Serve, join: Join, open_raw: OpenRaw) -> None:
    by_user = await serve(max_connections_per_user=1)
    token = by_user.tokens.sign("u1")
    await join(by_user, token=token)
    status, headers, error = await knock(open_raw, by_user, f"/?token={token}")
    assert (status, error["code"]) == (429, "rate_limited")
    assert int(headers["Retry-After"]) > 0
    assert (await knock(open_raw, by_user, f"/?token={by_user.tokens.sign('u2')}"))[0] == 101

    by_address = await serve(max_connections_per_ip=1)
    client = await join(by_address)
    assert (await knock(open_raw, by_address))[0] == 429
    await client.socket.close()
    async with asyncio.timeout(PATIENCE_SECONDS):
        # A socket that was refused counts until it is closed.
        while by_address.gate.capacity.sockets or by_address.gate.open_connections:
            await asyncio.sleep(0)
    assert (await knock(open_raw, by_address))[0] == 101


async def test_a_draining_server_takes_nobody_in_and_is_not_ready(serve: Serve, join: Join, open_raw: OpenRaw) -> None:
    server = await serve(drain_timeout=5.0)
    client = await join(server)
    draining = asyncio.create_task(server.drain())
    assert (await client.end())[0] == 1012
    await draining
    assert (await knock(open_raw, server))[0] == 503
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{server.port}/ready") as answer:
        assert answer.status == 503
        assert (await answer.json())["problems"] == ["draining"]


WAYS = {
    "query": lambda token: (f"/api/v1/ws?token={token}", {}),
    "header": lambda token: ("/api/v1/ws", {"Authorization": f"Bearer {token}"}),
    "subprotocol": lambda token: ("/api/v1/ws", {"Sec_WebSocket_Protocol": f"fastws.token.{token}, fastws.json"}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_good", [True, False])
async def test_a_token_opens_the_door_in_each_place_and_appears_nowhere(
    serve: Serve, open_raw: OpenRaw, way: str, is_good: bool
) -> None:
    server = await serve(log_level="debug")
    token = server.tokens.sign("u1")
    token = token if is_good else token[:-5] + "AAAAA"
    path, headers = WAYS[way](token)
    with structlog.testing.capture_logs() as lines:
        status, answered, error = await knock(open_raw, server, path, **headers)
    assert status == (101 if is_good else 401)
    assert answered.get("Sec-WebSocket-Protocol") == ("fastws.json" if is_good and way == "subprotocol" else None)
    said = json.dumps([answered, error, lines], default=str)
    assert token not in said
    assert token.rpartition(".")[2] not in said


@pytest.mark.parametrize(
    ("offered", "selected", "opcode"),
    [
        ("fastws.msgpack", "fastws.msgpack", 2),
        ("fastws.json", "fastws.json", 1),
        ("other, fastws.msgpack, fastws.json", "fastws.msgpack", 2),
        ("other", None, 1),
    ],
)
async def test_the_subprotocol_chooses_the_codec(serve: Serve, offered: str, selected: str | None, opcode: int) -> None:
    server = await serve()
    url = f"ws://127.0.0.1:{server.port}/"
    async with aiohttp.ClientSession() as http, http.ws_connect(url, protocols=offered.split(", ")) as client:
        assert client.protocol == selected
        assert int((await client.receive(PATIENCE_SECONDS)).type) == opcode


async def test_the_console_page_is_what_a_plain_get_sees(serve: Serve) -> None:
    server = await serve()
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{server.port}/") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/html"
        assert KEY not in await answer.text()
