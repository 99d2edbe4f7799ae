"""Payloads that come through Redis in a subscriber's own codec are passed on in their own bytes.

None of our encoders would write this body. If it arrives unchanged, it was neither decoded nor encoded.
"""

from __future__ import annotations

import msgpack
import pytest

from fastws.brokers import envelope
from fastws.server.server import Server
from fastws.vocabulary.publication import Encoded, Publication
from tests.redis_server import RedisServer
from tests.serving import Join, Serve, Talker

ODD_JSON = b'{ "a" :\t1.50, "a": [ ] , "\\u0062" : 1e2 }'
ODD_MSGPACK = b"\xde\x00\x01\xd9\x01a\xd3\x00\x00\x00\x00\x00\x00\x00\x01"  # {"a": 1} in three times the bytes


def published(redis_server: RedisServer, channel: str, body: Encoded) -> None:
    with redis_server.client() as client:
        letter = envelope.encode(Publication(channel, "e", body))
        assert client.publish(f"fastws:channel:{channel}", letter) == 1


async def subscriber(server: Server, join: Join, codec: str) -> Talker:
    client = await join(server, format=codec)
    await client.ask({"action": "subscribe", "channel": "news"})
    return client


async def test_json_from_redis_is_not_decoded_for_json_clients(
    serve: Serve, join: Join, redis_server: RedisServer
) -> None:
    client = await subscriber(await serve(redis_url=redis_server.url), join, "json")
    published(redis_server, "news", Encoded("json", ODD_JSON))
    assert await client.socket.recv() == '{"channel":"news","event":"e","data":' + ODD_JSON.decode() + "}"


async def test_msgpack_from_redis_is_not_decoded_for_msgpack_clients(
    serve: Serve, join: Join, redis_server: RedisServer
) -> None:
    client = await subscriber(await serve(redis_url=redis_server.url), join, "msgpack")
    published(redis_server, "news", Encoded("msgpack", ODD_MSGPACK))
    heard = await client.socket.recv()
    assert isinstance(heard, bytes)
    assert heard.endswith(b"\xa4data" + ODD_MSGPACK)
    assert msgpack.unpackb(heard)["data"] == {"a": 1}


async def test_clients_of_the_other_codec_get_the_same(serve: Serve, join: Join, redis_server: RedisServer) -> None:
    server = await serve(redis_url=redis_server.url)
    plain, packed = await subscriber(server, join, "json"), await subscriber(server, join, "msgpack")
    published(redis_server, "news", Encoded("msgpack", ODD_MSGPACK))
    published(redis_server, "news", Encoded("json", b'{ "n": 18446744073709551615 }'))
    for client in (plain, packed):
        assert [(await client.hear())["data"] for _ in range(2)] == [{"a": 1}, {"n": 2**64 - 1}]


@pytest.mark.parametrize("path", ["/api/v1/ws"])
async def test_rooms_pass_bodies_on_too(serve: Serve, join: Join, redis_server: RedisServer, path: str) -> None:
    server = await serve(redis_url=redis_server.url)
    client = await join(server, path, token=server.tokens.sign("ann"))
    published(redis_server, "user:ann", Encoded("json", ODD_JSON))
    text = await client.socket.recv()
    assert isinstance(text, str)
    assert ODD_JSON.decode() in text


async def test_a_body_that_is_not_what_it_says_harms_nobody_else(
    serve: Serve, join: Join, redis_server: RedisServer
) -> None:
    server = await serve(redis_url=redis_server.url)
    plain, packed = await subscriber(server, join, "json"), await subscriber(server, join, "msgpack")
    published(redis_server, "news", Encoded("msgpack", b"\xc1"))
    published(redis_server, "news", Encoded("msgpack", ODD_MSGPACK))
    assert (await plain.hear())["data"] == {"a": 1}
    await packed.socket.recv()
    assert (await packed.hear())["data"] == {"a": 1}
