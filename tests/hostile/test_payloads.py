"""Rows D, with a real process: payloads that codecs and dialects must survive, and bombs during which a canary runs."""

from __future__ import annotations

import json
import sys
from typing import Any

import msgpack
import pytest

from tests.codec.test_bombs import JSON_BOMBS, MSGPACK_BOMBS
from tests.hostile.conftest import Connect, Run, Watch
from tests.hostile.raw_client import BINARY, CLOSE, TEXT, RawClient, connected, masked
from tests.hostile.server_process import ServerProcess

MIB = 1 << 20
PUBLIC = {"action": "subscribe", "channel": "public"}


def answer_to(client: RawClient, text: bytes) -> dict[str, Any]:
    client.send(masked(TEXT, text))
    return client.receive_json()


WRONG = {
    "depth": b"[" * 100_000,
    "depth of objects": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "digits": b'{"action":"ping","id":' + b"9" * 5000 + b"}",
    "id of 2^64": b'{"action":"ping","id":18446744073709551616}',
    "id of a float": b'{"action":"ping","id":1.5}',
    "id of a bool": b'{"action":"ping","id":true}',
    "id without end": b'{"action":"ping","id":"' + b"x" * 5000 + b'"}',
    "beyond floats": b'{"action":"send","channel":"a","event":"e","data":1e400}',
    "NaN": b'{"action":"send","channel":"a","event":"e","data":NaN}',
    "lone surrogate": b'{"action":"subscribe","channel":"\\ud800"}',
    "nothing": b"",
    "scalar": b"5",
    "null": b"null",
    "text": b'"subscribe"',
    "array": b'["subscribe","a"]',
    "no JSON": b"subscribe a",
    "action of a number": b'{"action":5}',
    "action of an object": b'{"action":{}}',
    "channel of a number": b'{"action":"subscribe","channel":5}',
    "channel of a list": b'{"action":"subscribe","channel":["a"]}',
    "empty channel": b'{"action":"subscribe","channel":""}',
    "channel with NUL": b'{"action":"subscribe","channel":"a\\u0000b"}',
    "event of an object": b'{"action":"send","channel":"a","event":{}}',
    "unknown action": b'{"action":"__class__"}',
}


@pytest.mark.parametrize("case", WRONG)
def test_d1_what_no_request_may_be_gets_an_error_and_the_connection_stays(
    plain_server: ServerProcess, connect: Connect, case: str
) -> None:
    client = connect(plain_server.port)
    answer = answer_to(client, WRONG[case])
    assert (answer["type"], answer["code"]) == ("error", "bad_request")
    assert len(str(answer["message"])) < 300
    assert answer_to(client, b'{"action":"ping","id":7}')["id"] == 7


@pytest.mark.parametrize("request_id", [0, -(2**63), 2**64 - 1, 2**53 + 1, "", "x" * 255, "\u2028"])
def test_d1_an_id_comes_back_as_it_was(plain_server: ServerProcess, connect: Connect, request_id: object) -> None:
    client = connect(plain_server.port)
    assert client.say({"action": "ping", "id": request_id})["id"] == request_id


def test_d1_long_names_are_not_kept(run: Run, connect: Connect) -> None:
    server = run()
    client = connect(server.port)
    before = server.rss()
    for number in range(100):
        long = f"{number}".ljust(MIB // 2, "x")
        for more in ({"connectionId": long}, {"channel": "a", "key": long}):
            assert client.say({"action": "send", "event": "e", **more})["code"] == "bad_request"
    assert server.rss() - before < 16 * MIB


def test_d1_sixty_thousand_additional_keys_are_ignored(plain_server: ServerProcess, connect: Connect) -> None:
    client = connect(plain_server.port)
    message = {"action": "ping", **{f"{n}": n for n in range(60_000)}}
    assert client.say(message)["type"] == "pong"


PACKED_WRONG = {
    "huge array": b"\xdd\xff\xff\xff\xff",
    "huge map": b"\xdf\xff\xff\xff\xff",
    "huge string": b"\xdb\xff\xff\xff\xff",
    "huge binary": b"\xc6\xff\xff\xff\xff",
    "huge extension": b"\xc9\xff\xff\xff\xff\x01",
    "nesting": b"\x91" * 100_000,
    "nesting of maps": b"\x81\xa1a" * 5000 + b"\xc0",
    "unhashable key": b"\x81\x90\xc0",
    "integer key": msgpack.packb({1: 2}),
    "never used": b"\xc1",
    "trailing bytes": msgpack.packb({"action": "ping"}) + b"\x00",
    "timestamp beyond time": b"\x81\xa4data\xc7\x0c\xff\xff\xff\xff\xff" + b"\x7f" + b"\xff" * 7,
    "timestamp of 3 bytes": b"\x81\xa4data\xc7\x03\xffabc",
    "not UTF-8": b"\x81\xa6action\xa2\xc3\x28",
    "nothing": b"",
    "scalar": b"\x05",
    "cut": msgpack.packb({"action": "ping"})[:-2],
}


@pytest.mark.parametrize("case", PACKED_WRONG)
def test_d2_msgpack_that_is_none_gets_an_error_and_the_connection_stays(plain_server: ServerProcess, case: str) -> None:
    with RawClient(plain_server.port) as client:
        assert client.upgrade("/?format=msgpack") == 101
        assert client.receive() is not None
        client.send(masked(BINARY, PACKED_WRONG[case]))
        frame = client.receive()
        assert frame is not None
        answer = msgpack.unpackb(frame[1])
        assert (answer["type"], answer["code"]) == ("error", "bad_request")
        client.send(masked(BINARY, msgpack.packb({"action": "ping"})))
        frame = client.receive()
        assert frame is not None
        assert msgpack.unpackb(frame[1])["type"] == "pong"


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_d2_a_hundred_bombs_do_not_stop_the_loop_or_take_memory(run: Run, watch: Watch, codec: str) -> None:
    server = run()
    canary = watch(server)
    before = server.rss()
    bombs = list((JSON_BOMBS if codec == "json" else MSGPACK_BOMBS).values())
    with RawClient(server.port) as client:
        assert client.upgrade(f"/?format={codec}") == 101
        client.receive()
        for number in range(100):
            client.send(masked(TEXT if codec == "json" else BINARY, bombs[number % len(bombs)][: MIB - 100]))
            frame = client.receive()
            assert frame is not None
            assert frame[0] < CLOSE
            answer = json.loads(frame[1]) if codec == "json" else msgpack.unpackb(frame[1])
            # Refused by its tokens or its depth, before values were made of it.
            assert answer["code"] == "bad_request"
            assert any(words in answer["message"] for words in ("a message has at most", "depth limit exceeded"))
    assert server.rss() - before < 64 * MIB
    canary.check()
    server.assert_clean_log()


def test_d3_text_on_a_msgpack_connection_closes_it(plain_server: ServerProcess) -> None:
    with RawClient(plain_server.port) as client:
        assert client.upgrade("/", "Sec-WebSocket-Protocol: fastws.msgpack") == 101
        client.receive()
        client.send(masked(TEXT, b'{"action":"ping"}'))
        assert client.read_to_the_end() == 1003


def test_d3_json_in_a_binary_frame_is_json(plain_server: ServerProcess, connect: Connect) -> None:
    client = connect(plain_server.port)
    client.send(masked(BINARY, b'{"action":"ping"}'))
    assert client.receive_json()["type"] == "pong"


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def test_d4_data_that_cannot_be_encoded_for_a_subscriber_is_refused_and_closes_no_client(
    run: Run, connect: Connect
) -> None:
    server = run()
    subscriber = connect(server.port)
    subscriber.say(PUBLIC)
    sender = connect(server.port)
    text = json.dumps({"action": "send", "channel": "public", "event": "e", "data": 0, "id": 1}).replace(
        '"data": 0', '"data": ' + "[" * 300 + "]" * 300
    )
    refused = answer_to(sender, text.encode())
    assert (refused["type"], refused["code"], refused["id"]) == ("error", "bad_request", 1)
    with RawClient(server.port) as packed:
        assert packed.upgrade("/?format=msgpack") == 101
        packed.receive()
        for data in (nested(300), b"\xff", msgpack.ExtType(5, b"x"), float("nan"), msgpack.Timestamp(2**40, 5)):
            message = {"action": "send", "channel": "public", "event": "e", "data": data}
            packed.send(masked(BINARY, msgpack.packb(message)))
            assert packed.receive() is not None
    heard = [subscriber.receive_json()["data"] for _ in range(4)]
    assert heard[0] == "/w=="
    assert heard[2] is None
    assert sender.say({"action": "send", "channel": "public", "event": "e", "data": "ok"})["sent"] == 1
    assert subscriber.receive_json()["data"] == "ok"
    server.assert_clean_log()


def test_d5_the_channel_that_is_checked_is_the_channel_that_is_used(run: Run, connect: Connect) -> None:
    server = run("--protected-channels", "private")
    client = connect(server.port)
    for text, granted in (
        (b'{"action":"subscribe","channel":"public","channel":"private"}', False),
        (b'{"action":"subscribe","channel":"private","channel":"public"}', True),
        (b'{"channel":"private","action":"subscribe","channel":"private","chann\\u0065l":"private"}', False),
    ):
        assert (answer_to(client, text)["type"] == "subscription_succeeded") is granted
    assert server.publish("private", 1)["sent"] == 0
    assert server.publish("public", 1)["sent"] == 1


def test_d6_names_that_a_client_chooses_are_hashed_with_a_secret_of_the_process() -> None:
    """Text is hashed by SipHash with a random key; numbers, whose hashes can be chosen, are never keys of a table."""
    assert sys.flags.hash_randomization == 1
    assert sys.hash_info.algorithm.startswith("siphash")


def test_d6_channels_whose_names_are_numbers_cost_what_others_cost(run: Run) -> None:
    server = run("--max-channels-per-connection", "20000", "--message-rate", "0")
    modulus = sys.hash_info.modulus

    def cpu_of(names: list[str]) -> float:
        with connected(server.port) as client:
            before = server.cpu_seconds()
            for start in range(0, len(names), 200):
                piece = names[start : start + 200]
                client.send(
                    b"".join(
                        masked(TEXT, json.dumps({"action": "subscribe", "channel": name}).encode()) for name in piece
                    )
                )
                for _ in piece:
                    assert client.receive_json()["type"] == "subscription_succeeded"
            return server.cpu_seconds() - before

    plain = cpu_of([f"name {n}" for n in range(5000)])
    colliding = cpu_of([str(n * modulus) for n in range(5000)])
    assert colliding < 3 * plain + 0.5
