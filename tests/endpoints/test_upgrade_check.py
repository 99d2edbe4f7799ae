"""POST to the path of a WebSocket: the same verdict as the gate's on an upgrade, readable for pages of all origins."""

from __future__ import annotations

import time

import jwt
import pytest

from fastws.endpoints.upgrade_check import MAX_BODY_BYTES
from tests.endpoints.conftest import Ask
from tests.serving import SECRET, OpenRaw, Serve

PLAIN = {"protocols": ["fastws.json"]}


def with_token(**claims: object) -> dict[str, list[str]]:
    token = jwt.encode({"sub": "ada", "exp": time.time() + 86_400, **claims}, SECRET, algorithm="HS256")
    return {"protocols": ["fastws.json", f"fastws.token.{token}"]}


@pytest.mark.parametrize("path", ["/", "/production", "/ws", "/api/v1/ws", "/ws/", "/live?x=1"])
async def test_a_client_that_would_be_admitted_gets_204_on_every_websocket_path(
    serve: Serve, ask: Ask, path: str
) -> None:
    server = await serve(mounts=("/live=channels",))
    answer = await ask(server, "POST", path, with_token(workspace_id="w"), key=None)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("settings", "path", "body", "refusal"),
    [
        ({"allow_anonymous": False}, "/", PLAIN, (401, "unauthorized")),
        ({}, "/", {"protocols": ["fastws.token.bad"]}, (401, "unauthorized")),
        ({}, "/?token=bad", PLAIN, (401, "unauthorized")),
        ({}, "/", with_token(exp=1), (401, "unauthorized")),
        ({"allowed_origins": ("https://mine.example",)}, "/", PLAIN, (403, "forbidden")),
        ({}, "/ws?workspace_id=other", with_token(workspace_id="w"), (403, "forbidden")),
        ({"enable_realtime": False}, "/", PLAIN, (503, "unavailable")),
        ({"mounts": ("/=none",)}, "/", PLAIN, (404, "not_found")),
    ],
)
async def test_a_refusal_is_the_one_of_the_upgrade(
    serve: Serve, ask: Ask, settings: dict[str, object], path: str, body: dict[str, list[str]], refusal: tuple[int, str]
) -> None:
    server = await serve(**{"allowed_origins": ("*",), **settings})
    origin = {"Origin": "https://page.example"}
    upgrade = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Protocol": ", ".join(body["protocols"]),
    }
    answer = await ask(server, "POST", path, body, key=None, **origin)
    assert answer.error[:2] == refusal
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.error == (await ask(server, "GET", path, key=None, **origin, **upgrade)).error


async def test_revoked_tokens_are_refused_within_the_budget_of_verifications(serve: Serve, ask: Ask) -> None:
    server = await serve()
    body = with_token(jti="j")
    assert (await ask(server, "POST", "/", body, key=None)).status == 204
    await ask(server, "POST", "/revocations", {"jti": "j"})
    assert (await ask(server, "POST", "/", body, key=None)).error[0] == 401


async def test_nothing_is_opened_counted_or_taken_from_a_share(serve: Serve, ask: Ask) -> None:
    server = await serve(max_connections_per_user=1)
    for _ in range(3):
        assert (await ask(server, "POST", "/", with_token(), key=None)).status == 204
        assert (await ask(server, "POST", "/?token=bad", PLAIN, key=None)).status == 401
    metrics = (await ask(server, "GET", "/metrics", key=None)).body.decode()
    counts = [
        float(line.rpartition(" ")[2])
        for line in metrics.splitlines()
        if line.startswith(("fastws_handshakes_refused_total", "fastws_connections_total", "fastws_connections{"))
    ]
    assert sum(counts) == 0, metrics


@pytest.mark.parametrize("body", [{}, {"protocols": "fastws.json"}, {"protocols": [1]}, [], b"{"])
async def test_a_body_of_another_shape_is_refused_with_what_is_expected(serve: Serve, ask: Ask, body: object) -> None:
    answer = await ask(await serve(), "POST", "/", body, key=None)
    assert answer.error[:2] == (400, "bad_request")


async def test_a_body_as_large_as_the_head_of_an_upgrade_may_arrive_after_its_head(
    serve: Serve, open_raw: OpenRaw
) -> None:
    raw = await open_raw(await serve(), None)
    head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: {MAX_BODY_BYTES}\r\n\r\n"
    await raw.send_bytes(head.encode())
    assert (await raw.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    await raw.send_bytes(b'{"protocols":[]}'.ljust(MAX_BODY_BYTES))
    assert (await raw.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204 ")


@pytest.mark.parametrize("length", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
async def test_a_large_body_is_answered_before_it_is_sent(serve: Serve, open_raw: OpenRaw, length: str) -> None:
    raw = await open_raw(await serve(), None)
    await raw.send_bytes(f"POST /ws HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n".encode())
    answer = await raw.reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
