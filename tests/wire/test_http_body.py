"""The reader of bodies: where a body ends, what is kept, and its limits."""

from __future__ import annotations

import h11
import pytest

from fastws.errors import BadRequest, TooLarge
from fastws.wire.http_body import BodyReader, next_event
from fastws.wire.request import Request


def reader(framing: bytes, *, max_body_bytes: int = 100) -> BodyReader:
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n")
    assert isinstance(next_event(parser), h11.Request)
    return BodyReader(parser, Request("POST", "/", "1.1", {}), max_body_bytes, 1000)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def test_a_body_ends_at_its_length_and_the_rest_is_returned() -> None:
    body = reader(b"Content-Length: 5")
    assert body.read(b"ab") is None
    assert body.read(b"cdeGET /") == b"GET /"
    assert body.request.body == b"abcde"


def test_chunks_are_joined_and_the_rest_is_returned() -> None:
    body = reader(b"Transfer-Encoding: chunked")
    assert body.read(chunk(b"abc")) is None
    assert body.read(chunk(b"de") + b"0\r\n\r\nGET /") == b"GET /"
    assert body.request.body == b"abcde"


def test_a_body_is_limited_by_what_arrives() -> None:
    body = reader(b"Transfer-Encoding: chunked")
    assert body.read(chunk(b"a" * 100)) is None
    with pytest.raises(TooLarge, match="at most 100 bytes"):
        body.read(chunk(b"a"))


def test_a_discarded_body_is_read_to_its_end_and_limited_but_not_kept() -> None:
    body = reader(b"Content-Length: 5")
    assert body.read(b"ab") is None
    body.discard()
    assert body.read(b"cde") == b""
    assert body.request.body == b""
    body = reader(b"Transfer-Encoding: chunked")
    body.discard()
    with pytest.raises(TooLarge):
        body.read(chunk(b"a" * 101))


def test_chunks_whose_overhead_is_far_larger_than_the_body_are_refused() -> None:
    tiny = chunk(b"a") * 20_000
    body = reader(b"Transfer-Encoding: chunked", max_body_bytes=1_000_000)
    with pytest.raises(BadRequest, match="too small"):
        body.read(tiny)
    body = reader(b"Transfer-Encoding: chunked", max_body_bytes=1_000_000)
    assert body.read(chunk(b"a" * 20_000) + tiny[:6000]) is None


def test_malformed_chunks_are_refused() -> None:
    body = reader(b"Transfer-Encoding: chunked")
    with pytest.raises(BadRequest, match="not a well-formed HTTP"):
        body.read(b"xyz\r\n")
