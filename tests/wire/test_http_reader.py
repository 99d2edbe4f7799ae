"""Requests come out whole, one at a time, however they are cut; what others might read differently is refused."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastws.errors import BadRequest, FastWSError, HeadersTooLarge, TooLarge
from fastws.wire.http_reader import MAX_HEADERS, HttpReader, render_response
from fastws.wire.request import Request

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
GET = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /broadcast HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nT: x\r\n\r\n"
)


def read_all(data: bytes, *, max_body_bytes: int = 1000, cuts: list[int] | None = None) -> list[Request]:
    reader = HttpReader(16384, max_body_bytes)
    found = []
    borders = [0, *sorted(cut % (len(data) + 1) for cut in cuts or []), len(data)]
    for at in range(len(borders) - 1):
        reader.feed(data[borders[at] : borders[at + 1]])
        while (request := reader.next_request()) is not None:
            found.append(request)
            if request.is_upgrade:
                return found
    return found


def failure(data: bytes, *, max_body_bytes: int = 1000) -> FastWSError:
    with pytest.raises(FastWSError) as caught:
        read_all(data, max_body_bytes=max_body_bytes)
    return caught.value


def test_a_plain_request() -> None:
    (request,) = read_all(b"GET /a%20b?c=d HTTP/1.1\r\nHost: a\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n")
    assert (request.method, request.path, request.query, request.http_version) == ("GET", "/a b", {"c": "d"}, "1.1")
    assert request.headers == {"host": "a", "x-two": "1, 2"}
    assert not request.is_upgrade


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    sent=st.lists(st.sampled_from([GET, POST, CHUNKED, b"\r\n\r\n\r\n" + GET]), max_size=4),
    cuts=st.lists(st.integers(0, 5000), max_size=15),
)
def test_requests_cut_anywhere_are_the_same_requests(sent: list[bytes], cuts: list[int]) -> None:
    data = b"".join(sent)
    whole = read_all(data)
    assert [request.body for request in whole] == [b"hello" if one in (POST, CHUNKED) else b"" for one in sent]
    assert read_all(data, cuts=cuts) == whole


def test_pipelined_requests_are_handed_out_one_at_a_time() -> None:
    reader = HttpReader()
    reader.feed(POST + GET + POST[:-2])
    first, second = reader.next_request(), reader.next_request()
    assert first is not None
    assert second is not None
    assert (first.body, second.path) == (b"hello", "/health")
    assert reader.next_request() is None
    reader.feed(b"lo")
    third = reader.next_request()
    assert third is not None
    assert third.body == b"hello"


@pytest.mark.parametrize(
    ("head", "stays"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", True),
        (UPGRADE, False),
    ],
)
def test_whether_the_connection_stays_open(head: bytes, stays: bool) -> None:
    reader = HttpReader()
    reader.feed(head)
    assert reader.next_request() is not None
    assert reader.may_reuse is stays


def test_frames_in_the_segment_of_the_upgrade_are_kept_for_the_connection() -> None:
    for head in (UPGRADE, UPGRADE.replace(b"Host: ", b"Host:  ")):
        reader = HttpReader()
        reader.feed(head + b"\x81\x80\r\n\r\n")
        request = reader.next_request()
        assert request is not None
        assert request.is_upgrade
        assert reader.trailing() == b"\x81\x80\r\n\r\n"
        assert reader.trailing() == b""


def test_an_upgrade_with_a_body_is_handed_out_without_waiting_for_it() -> None:
    reader = HttpReader()
    reader.feed(UPGRADE[:-2] + b"Content-Length: 500\r\n\r\n")
    request = reader.next_request()
    assert request is not None
    assert request.is_upgrade
    assert not reader.may_reuse


def test_a_client_that_expects_continue_is_told_so_once() -> None:
    reader = HttpReader()
    head, body = POST[:-5].replace(b"Host", b"Expect: 100-continue\r\nHost"), POST[-5:]
    reader.feed(head)
    assert reader.next_request() is None
    assert reader.expects_continue
    reader.feed(body[:2])
    assert not reader.expects_continue
    assert reader.next_request() is None
    assert not reader.expects_continue
    reader.feed(body[2:])
    request = reader.next_request()
    assert request is not None
    assert request.body == b"hello"


def test_a_body_that_came_along_needs_no_continue() -> None:
    reader = HttpReader()
    reader.feed(POST.replace(b"Host", b"Expect: 100-continue\r\nHost")[:-1])
    assert reader.next_request() is None
    assert not reader.expects_continue


@pytest.mark.parametrize("before", [b"", GET, GET[:-2], POST])
def test_what_can_become_no_request_is_refused_before_it_is_whole(before: bytes) -> None:
    reader = HttpReader()
    for piece in (before[:-4], before[-4:], b"no\x01"):
        reader.feed(piece)
        try:
            reader.next_request()
        except BadRequest:
            assert piece == b"no\x01"
            return
    pytest.fail("it still waits")


def test_every_request_line_is_checked_as_soon_as_it_is_there() -> None:
    reader = HttpReader()
    reader.feed(GET[:20])
    assert reader.next_request() is None
    reader.feed(GET[20:] + b"hello ")
    assert reader.next_request() is not None
    assert reader.next_request() is None
    reader.feed(b"there\r\n")
    with pytest.raises(BadRequest):
        reader.next_request()


HOST = b" HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /" + HOST + b"Host: b\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\r\n",
        b"GET / \r\n\r\n",
        b"hello\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET ftp://a/" + HOST + b"\r\n",
        b"GET http://user@a/" + HOST + b"\r\n",
        b"GET http:///" + HOST + b"\r\n",
        b"GET a:80" + HOST + b"\r\n",
        b"GET *" + HOST + b"\r\n",
        b"CONNECT a:80" + HOST + b"\r\n",
        b"OPTIONS *" + HOST + b"\r\n",
        b"GET /\xff" + HOST + b"\r\n",
        b"G(T /" + HOST + b"\r\n",
        b"GET /" + HOST + b"A\r\n\r\n",
        b"GET /" + HOST + b"A : b\r\n\r\n",
        b"GET /" + HOST + b" A: b\r\n\r\n",
        b"GET /" + HOST + b"A: b\r\n c\r\n\r\n",
        b"GET /" + HOST + b"A: b\r\n\tc\r\n\r\n",
        b"GET /" + HOST + b"A: b\x00c\r\n\r\n",
        b"GET /" + HOST + b"A: b\x01c\r\n\r\n",
        b"GET /" + HOST + b"A: b\rc\r\n\r\n",
        b"GET /" + HOST + b"A: b\nC: d\r\n\r\n",
        b"GET /" + HOST + b"\xff: b\r\n\r\n",
        b"GET /" + HOST + b": b\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
    ],
)
def test_a_head_that_is_no_http_is_refused(data: bytes) -> None:
    assert type(failure(data)) is BadRequest


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"Content-Length: 5\r\nContent-Length: 5",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5, 5",
        b"Content-Length: -1",
        b"Content-Length: +5",
        b"Content-Length: 1_0",
        b"Content-Length: 0x5",
        b"Content-Length: 5 5",
        b"Content-Length:",
        b"Content-Length: 1" + b"0" * 30,
        b"content-length : 5",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding:\x0bchunked",
        b"Transfer-Encoding : chunked",
    ],
)
def test_a_body_whose_end_could_be_read_in_two_ways_is_refused(headers: bytes) -> None:
    smuggled = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    assert type(failure(b"POST /" + HOST + headers + b"\r\n\r\n" + smuggled)) is BadRequest


def test_transfer_encoding_in_http_1_0_is_refused() -> None:
    assert type(failure(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")) is BadRequest


@pytest.mark.parametrize(
    "body", [b"x\r\n", b"-1\r\n", b"+1\r\na\r\n", b"1\r\nab\r\n0\r\n\r\n", b"1\r\na0\r\n\r\n", b"0x1\r\na\r\n"]
)
def test_malformed_chunks_are_refused(body: bytes) -> None:
    assert type(failure(b"POST /" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + body)) is BadRequest


def test_a_body_over_the_limit_is_refused_by_its_length_alone() -> None:
    assert type(failure(b"POST /" + HOST + b"Content-Length: 1001\r\n\r\n")) is TooLarge
    assert len(read_all(b"POST /" + HOST + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000)[0].body) == 1000


def test_a_chunked_body_over_the_limit_is_refused_as_it_comes() -> None:
    head = b"POST /" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    assert (
        len(read_all(head + b"1f4\r\n" + b"x" * 500 + b"\r\n1f4\r\n" + b"x" * 500 + b"\r\n0\r\n\r\n")[0].body) == 1000
    )
    assert type(failure(head + b"1f4\r\n" + b"x" * 500 + b"\r\n1f5\r\n" + b"x" * 501)) is TooLarge
    assert type(failure(head + b"ffffffff\r\n" + b"x" * 1001)) is TooLarge


def test_tiny_chunks_and_long_chunk_extensions_are_cut_off() -> None:
    head = b"POST /" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    assert type(failure(head + b"1\r\na\r\n" * 100_000, max_body_bytes=1 << 20)) is BadRequest
    assert type(failure(head + (b"1;" + b"x" * 5000 + b"\r\na\r\n") * 20, max_body_bytes=1 << 20)) is BadRequest
    assert isinstance(failure(head + b"0\r\n" + b"a: b\r\n" * 50_000), BadRequest | HeadersTooLarge)


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"a" * 65536 + HOST + b"\r\n",
        b"GET /" + HOST + b"Cookie: " + b"a" * 32768 + b"\r\n\r\n",
        b"GET /" + HOST + b"A: " + b"b" * 100_000 + b"\r\n\r\n",
        b"GET /" + HOST + b"a: b\r\n" * 10_000 + b"\r\n",
        b"a" * 100_000,
    ],
)
def test_headers_over_the_limit_are_refused_before_they_are_parsed(data: bytes, at_once: bool) -> None:
    reader = HttpReader()
    step = len(data) if at_once else 1000
    for taken in range(0, len(data), step):
        reader.feed(data[taken : taken + step])
        try:
            assert reader.next_request() is None
        except HeadersTooLarge:
            assert taken <= 17_000
            return
    pytest.fail("the whole was taken")


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("http://b.example:81/x?y=http://c/", "/x?y=http://c/"),
        ("HTTPS://b.example:81", "/"),
        ("http://b.example:81?y=1", "/?y=1"),
    ],
)
def test_a_target_in_absolute_form_is_a_path_at_its_own_host(target: str, path: str) -> None:
    (request,) = read_all(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert (request.target, request.header("host")) == (path, "b.example:81")


def test_too_many_headers_are_refused_in_a_plain_upgrade_too() -> None:
    lines = ["GET / HTTP/1.1", "Host: a", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    most = [*lines, *(f"h{n}: x" for n in range(MAX_HEADERS - 5)), "", ""]
    (request,) = read_all("\r\n".join(most).encode())
    assert request.is_upgrade
    assert len(request.headers) == MAX_HEADERS
    assert type(failure("\r\n".join([*most[:-2], "one: more", "", ""]).encode())) is HeadersTooLarge


def test_too_many_headers_are_refused() -> None:
    assert len(read_all(b"GET /" + HOST + b"".join(b"h%d: x\r\n" % n for n in range(MAX_HEADERS - 1)) + b"\r\n")) == 1
    assert (
        type(failure(b"GET /" + HOST + b"".join(b"h%d: x\r\n" % n for n in range(MAX_HEADERS)) + b"\r\n"))
        is HeadersTooLarge
    )


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    data=st.one_of(st.binary(max_size=60), st.text("GET / HTP1.\r\n:aTransfe-Encodig5", max_size=60).map(str.encode))
)
def test_no_bytes_raise_anything_but_our_own_errors(data: bytes) -> None:
    try:
        read_all(POST + data)
    except (BadRequest, HeadersTooLarge, TooLarge):
        return


def answer_of(data: bytes, method: str = "GET") -> tuple[h11.Response, bytes]:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    response = client.next_event()
    assert isinstance(response, h11.Response)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert client.trailing_data[0] == b""
    return response, body


def test_a_response_is_read_by_h11() -> None:
    response, body = answer_of(render_response(200, [("Content-Type", "application/json")], b"{}", keep_alive=True))
    headers = dict(response.headers)
    assert (response.status_code, response.reason, body) == (200, b"OK", b"{}")
    assert (headers[b"content-type"], headers[b"content-length"]) == (b"application/json", b"2")
    assert headers[b"date"].endswith(b" GMT")
    assert b"connection" not in headers


def test_a_response_that_ends_the_connection_says_so() -> None:
    response, _ = answer_of(render_response(431, [], b"no", keep_alive=False))
    assert dict(response.headers)[b"connection"] == b"close"
    assert response.reason == b"Request Header Fields Too Large"


def test_head_has_the_length_and_not_the_body() -> None:
    response, body = answer_of(render_response(200, [], b"12345", keep_alive=True, head=True), "HEAD")
    assert (dict(response.headers)[b"content-length"], body) == (b"5", b"")


def test_no_content_has_neither_body_nor_length() -> None:
    response, body = answer_of(render_response(204, [], b"", keep_alive=True))
    assert b"content-length" not in dict(response.headers)
    assert body == b""


def test_a_header_value_cannot_begin_another_header() -> None:
    rendered = render_response(
        299, [("Location", "/a\r\nSet-Cookie: x=y\r\n\r\n<body>"), ("X\n", "\x00é☃")], b"", keep_alive=True
    )
    response, _ = answer_of(rendered.replace(b"X : ", b"X: "))
    assert b"set-cookie" not in dict(response.headers)
    assert rendered.count(b"\r\n\r\n") == 1
    assert b"\n" not in rendered.replace(b"\r\n", b"")
