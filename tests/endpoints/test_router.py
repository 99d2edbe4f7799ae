"""Every path: access, methods, and the requirements of HTTP."""

from __future__ import annotations

import asyncio
import json
import re

import aiohttp
import pytest
from structlog.testing import capture_logs

from tests.endpoints.conftest import Ask
from tests.ports import free_port
from tests.serving import KEY, PATIENCE_SECONDS, UPGRADE, OpenRaw, RawSocket, Serve

# path: methods
ADDRESSES = {
    "/": {"GET", "POST"},
    "/ws": {"GET", "POST"},
    "/broadcast": {"POST"},
    "/production/broadcast": {"POST"},
    "/connections": {"GET"},
    "/connections/x": {"GET", "DELETE"},
    "/revocations": {"POST"},
    "/ws/stats": {"GET"},
    "/api/v1/ws/stats": {"GET"},
    "/api/v1/ws/rooms": {"GET"},
    "/health": {"GET"},
    "/ready": {"GET"},
    "/metrics": {"GET"},
}


async def test_other_methods_are_405_and_say_which_are_allowed(serve: Serve, ask: Ask) -> None:
    server = await serve()
    for path, methods in ADDRESSES.items():
        allowed = methods | ({"HEAD"} if "GET" in methods else set())
        for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "BREW"} - allowed:
            answer = await ask(server, method, path)
            assert answer.status == 405, (method, path)
            assert set(answer.headers["Allow"].split(", ")) == allowed, (method, path)


@pytest.mark.parametrize("path", ["/nothing", "/health/", "/Health", "/connections/a/b", "//", "/a/b/broadcast"])
async def test_unknown_paths_are_404_with_the_same_text_everywhere(serve: Serve, ask: Ask, path: str) -> None:
    server = await serve()
    assert (await ask(server, "GET", path)).error[:2] == (404, "not_found")


async def test_head_answers_as_get_without_the_body(serve: Serve, ask: Ask) -> None:
    server = await serve()
    whole, head = await ask(server, "GET", "/health"), await ask(server, "HEAD", "/health")
    assert head.status == whole.status
    assert head.body == b""
    assert head.headers["Content-Length"] == str(len(whole.body))


async def test_health_is_for_all_and_ready_says_why_not(serve: Serve, ask: Ask) -> None:
    server = await serve(max_connections=0)
    assert (await ask(server, "GET", "/health", key=None)).status == 200
    assert (await ask(server, "GET", "/ready", key=None)).status == 200


async def test_a_plain_request_to_a_websocket_path_gets_a_hint(serve: Serve, ask: Ask) -> None:
    server = await serve(mounts=("/live=channels", "/production=none"))
    for path in ("/ws", "/api/v1/ws", "/live", "/live/"):
        answer = await ask(server, "GET", path)
        assert answer.error[:2] == (426, "upgrade_required")
        assert "connect with ws:// or wss://" in answer.error[2]
        assert answer.headers["Upgrade"] == "websocket"
    assert (await ask(server, "GET", "/production")).status == 404


async def read_answers(raw: RawSocket, count: int) -> list[tuple[int, dict[str, str], bytes]]:
    answers = []
    for _ in range(count):
        head = (await asyncio.wait_for(raw.reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)).decode()
        first, *lines = head.strip().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
        body = await raw.reader.readexactly(int(fields.get("Content-Length", 0)))
        answers.append((int(first.split()[1]), fields, body))
    return answers


def post(body: bytes, *headers: str) -> bytes:
    lines = ["POST /broadcast HTTP/1.1", "Host: localhost", f"Authorization: Bearer {KEY}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


BODY = b'{"channel":"a","event":"e"}'


async def test_a_client_that_expects_100_continue_gets_it(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve()
    raw = await open_raw(server, None)
    await raw.send_bytes(post(b"", f"Content-Length: {len(BODY)}", "Expect: 100-continue"))
    assert await asyncio.wait_for(raw.reader.readuntil(b"\r\n\r\n"), 1) == b"HTTP/1.1 100 Continue\r\n\r\n"
    await raw.send_bytes(BODY)
    [(status, _, _)] = await read_answers(raw, 1)
    assert status == 200


async def test_a_client_that_expects_100_continue_for_too_large_a_body_is_refused_before_it_is_sent(
    serve: Serve, open_raw: OpenRaw
) -> None:
    server = await serve()
    raw = await open_raw(server, None)
    await raw.send_bytes(post(b"", "Content-Length: 100000000", "Expect: 100-continue"))
    [(status, fields, _)] = await read_answers(raw, 1)
    assert (status, fields["Connection"]) == (413, "close")
    assert await raw.receive_end() == b""


async def test_a_body_in_chunks_is_put_together_however_they_are_cut(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve()
    raw = await open_raw(server, None)
    chunked = (
        b"5\r\n"
        + BODY[:5]
        + b"\r\n"
        + f"{len(BODY) - 5:x};ext=1\r\n".encode()
        + BODY[5:]
        + b"\r\n0\r\nTrailer: x\r\n\r\n"
    )
    for byte in post(chunked, "Transfer-Encoding: chunked"):
        await raw.send_bytes(bytes((byte,)))
    [(status, _, body)] = await read_answers(raw, 1)
    assert (status, json.loads(body)) == (200, {"sent": 0, "failed": 0, "stale": 0})


async def test_chunks_over_the_limit_are_413(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(max_message_bytes=1000)
    raw = await open_raw(server, None)
    await raw.send_bytes(post(b"2000\r\n" + b" " * 0x2000 + b"\r\n", "Transfer-Encoding: chunked"))
    [(status, fields, _)] = await read_answers(raw, 1)
    assert (status, fields["Connection"]) == (413, "close")


async def test_pipelined_requests_are_answered_in_order(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve()
    raw = await open_raw(server, None)
    requests = [
        post(BODY, f"Content-Length: {len(BODY)}"),
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n",
        post(b"{}", "Content-Length: 2"),
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /never HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ]
    await raw.send_bytes(b"".join(requests))
    assert [status for status, _, _ in await read_answers(raw, 5)] == [200, 200, 404, 400, 200]
    assert await raw.receive_end() == b""


async def test_a_websocket_may_follow_requests_on_the_same_connection(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve()
    raw = await open_raw(server, None)
    await raw.send_bytes(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await read_answers(raw, 1)
    await raw.send_bytes(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert (await raw.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    assert b"connection_id" in (await raw.receive())[1]


async def test_http_1_0_is_answered_and_closed(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve()
    raw = await open_raw(server, None)
    await raw.send_bytes(b"GET /health HTTP/1.0\r\n\r\n")
    [(status, _, _)] = await read_answers(raw, 1)
    assert status == 200
    assert await raw.receive_end() == b""


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: b\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nBad Header\r\n\r\n",
        b"POST /broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    ],
)
async def test_malformed_requests_are_400_and_the_connection_ends(
    serve: Serve, open_raw: OpenRaw, request_bytes: bytes
) -> None:
    server = await serve()
    raw = await open_raw(server, None)
    await raw.send_bytes(request_bytes)
    [(status, fields, body)] = await read_answers(raw, 1)
    assert (status, fields["Connection"]) == (400, "close")
    assert json.loads(body)["error"]["code"] == "bad_request"
    assert await raw.receive_end() == b""


async def test_headers_without_end_are_431(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve()
    raw = await open_raw(server, None)
    await raw.send_bytes(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40_000)
    [(status, _, _)] = await read_answers(raw, 1)
    assert status == 431


async def test_refused_requests_are_counted_by_route_and_status_and_logged(serve: Serve, ask: Ask) -> None:
    server = await serve(aws_credentials=("AKID:secret",))
    with capture_logs() as lines:
        for _ in range(2):
            await ask(server, "POST", "/broadcast", {"channel": "a", "event": "e"}, key="old")
        await ask(server, "GET", "/connections", key=None)
        await ask(server, "GET", "/connections/gone")
        await ask(server, "POST", "/v1/@connections/x", b"hello")
        await ask(server, "GET", "/api/v1/ws/stats", key="no.to.ken")
        await ask(server, "GET", "/a/path?secret=1", key=None)
        await ask(server, "PATCH", "/a/broadcast")
        await ask(server, "POST", "/broadcast", b"[]")
        await ask(server, "GET", "/health")
    expected = {
        ("/broadcast", 401): 2,
        ("/connections", 401): 1,
        ("/connections/{id}", 404): 1,
        ("/{stage}/@connections/{id}", 403): 1,
        ("/api/v1/ws/stats", 401): 1,
        ("none", 404): 1,
        ("/{stage}/broadcast", 405): 1,
        ("/broadcast", 400): 1,
    }
    assert server.counters.requests_refused == expected
    assert not server.counters.refused, "these are for handshakes"
    refused = [line for line in lines if line["event"] == "request refused"]
    assert {(line["route"], line["status"]) for line in refused} == set(expected)
    assert len(refused) == len(expected)
    assert any(line.get("cause") == "it is not a JWT" for line in refused)
    assert all(line["answer"] and line["address"] == "127.0.0.1" for line in refused)
    for secret in ("old", "no.to.ken", "secret=1"):
        assert not any(secret in str(value) for line in refused for value in line.values())
    scrape = (await ask(server, "GET", "/metrics")).body.decode()
    assert 'fastws_requests_refused_total{route="/broadcast",status="401"} 2.0' in scrape


async def test_what_happens_on_internal_addresses_is_not_counted_as_refused(serve: Serve, ask: Ask) -> None:
    port = free_port()
    server = await serve(metrics_address=f"127.0.0.1:{port}")
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/nothing") as answer:
        assert answer.status == 404
    assert not server.counters.requests_refused


SPEC_7 = """fastws_connections{dialect,codec} fastws_connections_opened_total{dialect}
fastws_connections_closed_total{code,reason} fastws_handshakes_refused_total{status,reason} fastws_channels
fastws_subscriptions fastws_messages_received_total{dialect} fastws_publications_total{source}
fastws_deliveries_total fastws_delivered_bytes_total fastws_queue_messages fastws_queue_bytes
fastws_slow_consumers_total{policy} fastws_dropped_messages_total{reason} fastws_rate_limited_total{kind}
fastws_broker_up fastws_broker_reconnects_total fastws_broker_lag_seconds_bucket{le} fastws_loop_lag_seconds_bucket{le}
fastws_feed_rejected_total{feed} process_resident_memory_bytes process_cpu_seconds_total process_open_fds"""


async def test_every_metric_of_the_contract_is_there(serve: Serve, ask: Ask, open_raw: OpenRaw) -> None:
    server = await serve()
    raw = await open_raw(server)
    await raw.send(1, b'{"action":"send","channel":"a","event":"e"}')
    for counts in ("slow_consumers", "dropped", "rate_limited", "feed_rejected"):
        getattr(server.counters, counts)["some"] += 1
    server.counters.refused[401, "unauthorized"] += 1
    server.counters.closed[1000, "client"] += 1
    await raw.receive()
    await raw.receive()
    answer = await ask(server, "GET", "/metrics", key=None)
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    text = answer.body.decode()
    for metric in SPEC_7.split():
        name, _, labels = metric.rstrip("}").partition("{")
        [line, *_] = [line for line in text.splitlines() if re.match(rf"{name}[{{ ]", line)] or [f"{name} is missing"]
        assert set(re.findall(r"(\w+)=", line)) == set(filter(None, labels.split(","))), line
    assert 'fastws_connections{codec="json",dialect="channels"} 1.0' in text
    assert 'fastws_messages_received_total{dialect="channels"} 1.0' in text


async def test_metrics_with_an_address_of_their_own_are_not_on_the_public_port(serve: Serve, ask: Ask) -> None:
    server = await serve(metrics_address="127.0.0.1:0")
    assert (await ask(server, "GET", "/metrics")).status == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/production/broadcast", 200),
        ("/$default/broadcast", 200),
        ("/v1.0_a~b-c/broadcast", 200),
        ("/a%2Fb/broadcast", 400),
        ("/%70roduction/broadcast", 400),
        ("/broadcas%74", 400),
        ("/a%20b/broadcast", 404),
        ("/a;b/broadcast", 404),
        ("/a@b/broadcast", 404),
        ("/./broadcast", 404),
        ("/../broadcast", 404),
        ("/a/b/broadcast", 404),
    ],
)
async def test_a_stage_is_no_way_around_the_rules_of_a_proxy(
    serve: Serve, open_raw: OpenRaw, path: str, status: int
) -> None:
    """nginx compares `location` with the decoded and normalized path, other proxies with the path as it was sent."""
    raw = await open_raw(await serve(), None)
    body = b'{"channel":"a","event":"e"}'
    await raw.send_bytes(post(body, f"Content-Length: {len(body)}").replace(b" /broadcast ", f" {path} ".encode()))
    assert (await read_answers(raw, 1))[0][0] == status


async def test_an_upgrade_whose_path_hides_its_name_is_refused(serve: Serve, open_raw: OpenRaw) -> None:
    raw = await open_raw(await serve(), None)
    await raw.send_bytes(UPGRADE.format(path="/%77s").encode())
    assert (await raw.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("path", ["/", "/ws", "/nothing"])
async def test_an_upgrade_whose_header_a_proxy_has_removed_gets_a_hint(
    serve: Serve, open_raw: OpenRaw, path: str
) -> None:
    server = await serve()
    raw = await open_raw(server, None)
    head = UPGRADE.format(path=path).replace("Upgrade: websocket\r\n", "").replace("Connection: Upgrade\r\n", "")
    await raw.send_bytes(head.encode())
    [(status, headers, body)] = await read_answers(raw, 1)
    assert (status, headers["Upgrade"]) == (426, "websocket")
    assert "a proxy in between has removed it" in json.loads(body)["error"]["message"]
    assert server.counters.refused[426, "upgrade_removed"] == 1
