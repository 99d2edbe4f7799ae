"""TLS records in every grouping of TCP segments: whatever arrives together, everything is answered."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import Any

import pytest
import pytest_asyncio

from fastws.server.server import Server
from tests.callouts import application
from tests.hostile.certificates import Certificate
from tests.serving import Serve
from tests.transport.tls_peer import TEXT, TlsPeer, joined, masked, turns, upgrade

SUBSCRIBE = masked(TEXT, json.dumps({"action": "subscribe", "channel": "a"}).encode())
PING = masked(TEXT, json.dumps({"action": "ping"}).encode())
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover"

Dial = Callable[..., TlsPeer]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("tls"))


@pytest_asyncio.fixture
async def serve_tls(serve: Serve, certificate: Certificate) -> AsyncIterator[Serve]:
    async def start(**settings: Any) -> Server:
        return await serve(tls_cert=str(certificate.cert), tls_key=str(certificate.key), **settings)

    yield start


@pytest_asyncio.fixture
async def dial(certificate: Certificate) -> AsyncIterator[Dial]:
    with ExitStack() as stack:

        def dialed(server: Server, version: str = "1.3", **options: Any) -> TlsPeer:
            context = certificate.client_context()
            context.minimum_version = context.maximum_version = VERSIONS[version]
            peer = TlsPeer(server.port, context, **options)
            stack.callback(peer.close)
            return peer

        yield dialed


async def is_answered(peer: TlsPeer) -> None:
    """The 101, the greeting, the answers to SUBSCRIBE and PING, and to one more message."""
    assert (await peer.head()).startswith("HTTP/1.1 101 ")
    assert "connection_id" in await peer.hear()
    assert (await peer.hear())["type"] == "subscription_succeeded"
    assert (await peer.hear())["type"] == "pong"
    await turns()
    await peer.say({"action": "send", "channel": "a", "event": "e", "data": 1})
    assert (await peer.hear())["data"] == 1
    assert (await peer.hear())["type"] == "send_success"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("cuts", range(8))
async def test_finished_request_and_frames_in_every_grouping(
    serve_tls: Serve, dial: Dial, version: str, cuts: int
) -> None:
    server = await serve_tls()
    peer = dial(server, version)
    finished = await peer.shake_hands()
    pieces = [finished, peer.record(upgrade()), peer.record(SUBSCRIBE), peer.record(PING)]
    await peer.send(*joined(pieces, cuts))
    await is_answered(peer)


@pytest.mark.parametrize("compression", ["off", "on"])
@pytest.mark.parametrize("version", VERSIONS)
async def test_one_record_over_several_segments_and_several_records_in_one(
    serve_tls: Serve, dial: Dial, version: str, compression: str
) -> None:
    """All bytes of a client, split once at every position."""
    server = await serve_tls(compression=compression, compression_min_bytes=1_000_000)
    size = 1
    while size > 0:
        peer = dial(server, version)
        finished = await peer.shake_hands(cut=size)
        everything = finished + peer.record(upgrade("/", OFFER)) + peer.record(SUBSCRIBE) + peer.record(PING)
        await peer.send(everything[:size], everything[size:])
        await is_answered(peer)
        peer.close()
        size = size + 7 if size < len(everything) else 0


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_record_that_contains_the_request_and_frames(serve_tls: Serve, dial: Dial, version: str) -> None:
    server = await serve_tls()
    peer = dial(server, version)
    finished = await peer.shake_hands()
    await peer.send(finished + peer.record(upgrade() + SUBSCRIBE + PING))
    await is_answered(peer)


async def test_byte_by_byte(serve_tls: Serve, dial: Dial) -> None:
    server = await serve_tls()
    peer = dial(server)
    everything = await peer.shake_hands() + peer.record(upgrade()) + peer.record(SUBSCRIBE) + peer.record(PING)
    await peer.send(*(everything[position : position + 1] for position in range(len(everything))))
    await is_answered(peer)


async def test_with_an_event_hook_that_answers_later(serve_tls: Serve, dial: Dial) -> None:
    application.reset()
    server = await serve_tls(event_hook="tests.callouts.application:coroutine")
    for cuts in range(8):
        peer = dial(server)
        finished = await peer.shake_hands()
        pieces = [finished, peer.record(upgrade()), peer.record(SUBSCRIBE), peer.record(PING)]
        await peer.send(*joined(pieces, cuts))
        await is_answered(peer)


@pytest.mark.parametrize("version", VERSIONS)
async def test_requests_on_a_connection_kept_alive_and_then_an_upgrade(
    serve_tls: Serve, dial: Dial, version: str
) -> None:
    server = await serve_tls()
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for cuts in range(16):
        peer = dial(server, version)
        finished = await peer.shake_hands()
        pieces = [finished, *(peer.record(data) for data in (request, request, upgrade(), SUBSCRIBE + PING))]
        await peer.send(*joined(pieces, cuts))
        assert [(await peer.response())[0] for _ in range(2)] == [200, 200]
        await is_answered(peer)


@pytest.mark.parametrize("version", VERSIONS)
async def test_large_responses_to_a_client_that_reads_late(serve_tls: Serve, dial: Dial, version: str) -> None:
    """More than the buffers of the kernel, TLS and our transport together: each of them pauses and resumes."""
    server = await serve_tls()
    request = b"GET /client/fastws.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    peer = dial(server, version, receive_buffer=4096)
    finished = await peer.shake_hands()
    count = 200
    await peer.send(finished + peer.record(request * count))
    await turns(2 * count)
    bodies = {await peer.response() for _ in range(count)}
    assert [status for status, _ in bodies] == [200]
    await peer.send(peer.record(upgrade() + SUBSCRIBE + PING))
    await is_answered(peer)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("cuts", range(4))
async def test_a_slow_reader_of_large_publications_gets_all_and_is_answered(
    serve_tls: Serve, dial: Dial, version: str, cuts: int
) -> None:
    server = await serve_tls(max_queue_bytes=64_000_000, max_queue_messages=10_000)
    peer = dial(server, version, receive_buffer=4096)
    finished = await peer.shake_hands()
    await peer.send(*joined([finished, peer.record(upgrade()), peer.record(SUBSCRIBE + PING)], cuts))
    assert (await peer.head()).startswith("HTTP/1.1 101 ")
    for _ in range(3):
        await peer.hear()
    count, data = 50, "x" * 100_000
    for number in range(count):
        await server.broadcaster.publish("a", "e", [number, data])
    await peer.say({"action": "ping"})
    heard = [await peer.hear() for _ in range(count + 1)]
    assert [message["data"][0] for message in heard if "data" in message] == list(range(count))
    assert heard[-1]["type"] == "pong"
    await peer.say({"action": "ping"})
    assert (await peer.hear())["type"] == "pong"
