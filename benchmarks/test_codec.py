"""The size and the cost of messages in JSON and msgpack: run with `pytest benchmarks/test_codec.py`.

Bytes are in `extra_info` (`--benchmark-json`), and printed with `-s`.
"""

from __future__ import annotations

import os
from typing import Any

import orjson
import pytest

from fastws.codec.codec import Codec
from fastws.codec.json_text import JSON
from fastws.codec.msgpack_binary import MSGPACK
from fastws.vocabulary.publication import Encoded

MESSAGES: dict[str, Any] = {
    "small": {"channel": "admin", "event": "e", "data": {"n": 1}},
    "job": {
        "type": "job_update",
        "job_id": "9b2f1c1e-4a55-4b0e-8a7a-0d9c4a2d7f10",
        "status": "running",
        "data": {
            "job_id": "9b2f1c1e-4a55-4b0e-8a7a-0d9c4a2d7f10",
            "status": "running",
            "progress": 42,
            "step": "parse",
        },
        "timestamp": 1_762_689_600,
        "seq": 123_456,
    },
    "numbers": {"channel": "sensors", "event": "sample", "data": [n * 0.1 for n in range(200)]},
    "integers": {"channel": "sensors", "event": "sample", "data": list(range(0, 200_000, 200))},
    "text": {"channel": "chat", "event": "said", "data": {"text": "the quick brown fox — über den Zaun. " * 50}},
}
CODECS: tuple[Codec, ...] = (JSON, MSGPACK)
matrix = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
messages = pytest.mark.parametrize("kind", MESSAGES)


@matrix
@messages
def test_write_a_message(benchmark: Any, codec: Codec, kind: str) -> None:
    written = benchmark(codec.dumps, MESSAGES[kind])
    benchmark.extra_info["bytes"] = len(written)
    print(f"{kind} in {codec.name}: {len(written)} bytes")


@matrix
@messages
def test_read_a_message(benchmark: Any, codec: Codec, kind: str) -> None:
    written = codec.dumps(MESSAGES[kind])
    benchmark.extra_info["bytes"] = len(written)
    assert benchmark(codec.loads, written) == MESSAGES[kind]


@matrix
def test_write_four_kilobytes_of_binary(benchmark: Any, codec: Codec) -> None:
    written = benchmark(codec.dumps, {"channel": "files", "event": "part", "data": os.urandom(4096)})
    benchmark.extra_info["bytes"] = len(written)


@matrix
@messages
def test_pass_a_body_on(benchmark: Any, codec: Codec, kind: str) -> None:
    """From Redis to a subscriber that uses the same codec."""
    body = codec.dumps(MESSAGES[kind]["data"])
    benchmark(codec.dumps, {"channel": "admin", "event": "e", "data": Encoded(codec.name, body)})


@matrix
@messages
def test_pass_a_body_of_the_other_codec_on(benchmark: Any, codec: Codec, kind: str) -> None:
    other = MSGPACK if codec is JSON else JSON
    body = other.dumps(MESSAGES[kind]["data"])
    benchmark(codec.dumps, {"channel": "admin", "event": "e", "data": Encoded(other.name, body)})


def test_read_json_by_orjson_alone(benchmark: Any) -> None:
    """orjson without the checks that `test_read_a_message[small-json]` includes."""
    benchmark(orjson.loads, JSON.dumps(MESSAGES["small"]))
