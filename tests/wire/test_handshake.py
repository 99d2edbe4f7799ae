"""The direct reader of upgrades never takes what h11 and wsproto refuse, and gives the same fields."""

from __future__ import annotations

from dataclasses import replace

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection
from wsproto.events import Request as WsprotoRequest
from wsproto.utilities import generate_accept_token

from fastws.errors import BadRequest, FastWSError, MethodNotAllowed, UpgradeRequired
from fastws.wire.handshake import accept_response, check_upgrade, read_common_upgrade, subprotocols
from fastws.wire.http_reader import HttpReader
from fastws.wire.request import Request

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
Lines = list[tuple[str, str]]
REQUIRED: Lines = [
    ("Host", "localhost:8000"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Version", "13"),
]


def head_of(lines: Lines, *, first: str = "GET /ws HTTP/1.1", colon: str = ": ") -> bytes:
    text = "\r\n".join([first, *(f"{name}{colon}{value}" for name, value in lines)]) + "\r\n\r\n"
    return text.encode("latin-1")


def with_header(name: str, value: str | None) -> Lines:
    """The required headers with one of them changed, or taken out (None)."""
    kept = [pair for pair in REQUIRED if pair[0] != name]
    return kept if value is None else [*kept, (name, value)]


def ask_full_path(head: bytes) -> Request | None:
    """The request as h11 and wsproto read it, None where one of them refuses."""
    wsproto = WSConnection(ConnectionType.SERVER)
    parser = h11.Connection(h11.SERVER)
    try:
        wsproto.receive_data(head)
        (event,) = wsproto.events()
        assert isinstance(event, WsprotoRequest)
        wsproto.send(AcceptConnection())
        parser.receive_data(head)
        request = parser.next_event()
    except Exception:  # noqa: BLE001 - wsproto raises bare exceptions, too, and each is a refusal
        return None
    assert isinstance(request, h11.Request)
    headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
    assert len(headers) == len(request.headers)
    assert headers["host"] == event.host
    return Request(request.method.decode(), event.target, request.http_version.decode(), headers, is_upgrade=True)


def reason(head: bytes) -> FastWSError | None:
    """What is wrong with an upgrade, by the whole of the wire room."""
    reader = HttpReader()
    try:
        reader.feed(head)
        request = reader.next_request()
        assert request is not None
        check_upgrade(request)
    except FastWSError as error:
        return error
    assert request.is_upgrade
    return None


names = st.one_of(
    st.sampled_from([name for name, _ in REQUIRED]),
    st.sampled_from(
        [
            "host",
            "CONNECTION",
            "Origin",
            "cookie",
            "X-Own",
            "Content-Length",
            "Transfer-Encoding",
            "Expect",
            "A b",
            "",
            "é",
        ]
    ),
    st.text("abcXYZ-_!:( \t\r\n\x00", max_size=5),
)
values = st.one_of(
    st.sampled_from(
        [
            "websocket",
            "WebSocket",
            "Upgrade",
            "keep-alive, Upgrade",
            "13",
            "12",
            KEY,
            "AAAA",
            "a.example",
            "xn--a",
            "0",
            " x",
            "x ",
        ]
    ),
    st.text('aZ09 ,;:="\t\r\n\x00\x0b\x7f\x80\xff', max_size=8),
)
first_lines = st.one_of(
    st.just("GET /ws HTTP/1.1"),
    st.sampled_from(
        [
            "GET / HTTP/1.0",
            "POST / HTTP/1.1",
            "get / HTTP/1.1",
            "GET  / HTTP/1.1",
            "GET /a b HTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET http://a/ HTTP/1.1",
            "GET /HTTP/1.1",
            "GET /\xe9 HTTP/1.1",
            "GET /a?b=%0d#c HTTP/1.1",
            "GET * HTTP/1.1",
        ]
    ),
)
changes = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from(["add", "drop", "value", "name"]), names, values), max_size=3
)


def change(lines: Lines, what: list[tuple[int, str, str, str]]) -> Lines:
    lines = list(lines)
    for place, kind, name, value in what:
        at = place % max(1, len(lines))
        if kind == "add" or not lines:
            lines.insert(at, (name, value))
        elif kind == "drop":
            del lines[at]
        else:
            lines[at] = (lines[at][0], value) if kind == "value" else (name, lines[at][1])
    return lines


@settings(derandomize=True, deadline=None, max_examples=600)
@given(
    first=first_lines,
    what=changes,
    colon=st.sampled_from([": ", ": ", ": ", ":", ":  ", " : "]),
    byte=st.none() | st.tuples(st.integers(0, 200), st.integers(0, 255)),
)
def test_a_plain_upgrade_is_one_that_the_full_path_accepts_with_equal_fields(
    first: str, what: list[tuple[int, str, str, str]], colon: str, byte: tuple[int, int] | None
) -> None:
    head = head_of(change(REQUIRED, what), first=first, colon=colon)
    if byte is not None:
        at = byte[0] % len(head)
        head = head[:at] + bytes((byte[1],)) + head[at + 1 :]
    request = read_common_upgrade(head)
    if request is not None:
        assert ask_full_path(head) == request
        check_upgrade(replace(request, is_plain=False))


@settings(derandomize=True, deadline=None, max_examples=300)
@given(first=first_lines, what=changes)
def test_what_our_checks_let_through_the_full_path_accepts(first: str, what: list[tuple[int, str, str, str]]) -> None:
    lines = change(REQUIRED, what)
    head = head_of(lines, first=first)
    # wsproto reads the last of two Connection headers, we their list (RFC 9110 section 5.3).
    repeats = len({name.lower() for name, _ in lines}) < len(lines)
    if not repeats and b"xn--" not in head and head.count(b"\r\n\r\n") == 1 and reason_or_plain_http(head) is None:
        assert ask_full_path(head) is not None


def reason_or_plain_http(head: bytes) -> object:
    try:
        return reason(head)
    except AssertionError:
        return "no upgrade"


def real_heads() -> dict[str, bytes]:
    chrome = [
        ("Host", "localhost:8000"),
        ("Connection", "Upgrade"),
        ("Pragma", "no-cache"),
        ("Cache-Control", "no-cache"),
        (
            "User-Agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
        ),
        ("Upgrade", "websocket"),
        ("Origin", "http://localhost:8000"),
        ("Sec-WebSocket-Version", "13"),
        ("Accept-Encoding", "gzip, deflate, br"),
        ("Accept-Language", "en-US,en;q=0.9"),
        ("Cookie", "a=b; c=d"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
        ("Sec-WebSocket-Protocol", "fastws.json, fastws.token.aaa.bbb-c.c_c"),
    ]
    firefox = [("Host", "[::1]:8000"), ("Connection", "keep-alive, Upgrade"), *chrome[2:]]
    websockets = [
        ("Host", "my-host.example"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
        ("User-Agent", "Python/3.11 websockets/17.4"),
    ]
    node = [(name.title() if name != "Host" else "host", value) for name, value in websockets]
    proxied = [*websockets, ("x-forwarded-for", "10.0.0.1, 10.0.0.2"), ("X-Own-Header", "x")]
    return {
        name: head_of(lines, first="GET /ws?token=a.b.c&workspace_id=w%201 HTTP/1.1")
        for name, lines in {
            "chrome": chrome,
            "firefox": firefox,
            "websockets": websockets,
            "node": node,
            "proxied": proxied,
        }.items()
    }


@pytest.mark.parametrize("client", ["chrome", "firefox", "websockets", "node", "proxied"])
def test_what_real_clients_send_is_plain(client: str) -> None:
    head = real_heads()[client]
    request = read_common_upgrade(head)
    assert request is not None
    assert request == ask_full_path(head)
    assert request.path == "/ws"
    assert request.query == {"token": "a.b.c", "workspace_id": "w 1"}


@pytest.mark.parametrize(
    "lines",
    [
        [*REQUIRED, ("Origin", " a")],
        [*REQUIRED, ("Origin", "a ")],
        [*REQUIRED, ("Origin", "a\tb")],
        [*REQUIRED, ("Origin", "")],
        [*REQUIRED, ("Origin", "a\rb\nc")],
        [*REQUIRED, ("Origin", "a\nb\rc")],
        [*REQUIRED, ("Origin", "é")],
        [*REQUIRED, ("Origin", "a"), ("origin", "b")],
        [*REQUIRED, ("Expect", "100-continue")],
        [*REQUIRED, ("Content-Length", "0")],
        with_header("Host", "xn--a.example"),
        with_header("Host", "XN--A.example"),
    ],
)
def test_what_needs_a_second_look_is_left_to_the_full_parser(lines: Lines) -> None:
    assert read_common_upgrade(head_of(lines)) is None
    assert read_common_upgrade(head_of(REQUIRED)) is not None


@pytest.mark.parametrize(
    ("head", "error"),
    [
        *[
            (head_of(with_header("Sec-WebSocket-Key", key)), BadRequest)
            for key in (None, "", "AAAA", KEY + "A", KEY[:-1], f"{KEY}, {KEY}", "!" * 22 + "==")
        ],
        (head_of([*REQUIRED, ("Sec-WebSocket-Key", KEY)]), BadRequest),
        *[
            (head_of(with_header("Sec-WebSocket-Version", version)), UpgradeRequired)
            for version in ("12", "13, 8", "1_3", "100000000000000000000", "013", "0xd")
        ],
        (head_of(with_header("Sec-WebSocket-Version", None)), BadRequest),
        (head_of([*REQUIRED, ("Sec-WebSocket-Version", "8")]), UpgradeRequired),
        (head_of(with_header("Connection", "keep-alive")), BadRequest),
        (head_of(with_header("Connection", None)), BadRequest),
        (head_of(with_header("Host", None)), BadRequest),
        (head_of(with_header("Host", "a b")), BadRequest),
        (head_of(with_header("Host", "a/b")), BadRequest),
        (head_of(with_header("Host", "a\xff")), BadRequest),
        (head_of([*REQUIRED, ("Host", "b.example")]), BadRequest),
        (head_of([*REQUIRED, ("Content-Length", "5")]), BadRequest),
        (head_of([*REQUIRED, ("Transfer-Encoding", "chunked")]), BadRequest),
        (head_of([*REQUIRED, ("Expect", "100-continue")]), BadRequest),
        (head_of([*REQUIRED, ("Sec-WebSocket-Protocol", "a\xff")]), BadRequest),
        (head_of([*REQUIRED, ("Sec-WebSocket-Extensions", "a\xff")]), BadRequest),
        (head_of(REQUIRED, first="GET /ws HTTP/1.0"), BadRequest),
        (head_of(REQUIRED, first="POST /ws HTTP/1.1"), MethodNotAllowed),
        (head_of(REQUIRED, first="HEAD /ws HTTP/1.1"), MethodNotAllowed),
        (head_of(REQUIRED, first="get /ws HTTP/1.1"), MethodNotAllowed),
    ],
)
def test_an_upgrade_that_breaks_the_rfc_is_refused(head: bytes, error: type[FastWSError]) -> None:
    assert read_common_upgrade(head) is None
    assert type(reason(head)) is error


@pytest.mark.parametrize(
    "lines",
    [
        [(name.upper(), value) for name, value in REQUIRED],
        with_header("Connection", "keep-alive,UPGRADE"),
        with_header("Upgrade", "WebSocket"),
        [*REQUIRED, ("Content-Length", "0")],
        [*REQUIRED, ("X-Empty", "")],
        [*REQUIRED, ("Cookie", "\xe9")],
        with_header("Host", ""),
        with_header("Host", "xn--bcher-kva.example"),
    ],
)
def test_an_odd_but_lawful_upgrade_is_let_through(lines: Lines) -> None:
    assert reason(head_of(lines)) is None
    assert reason(head_of(lines, colon=":")) is None


def test_the_answer_is_the_one_of_the_rfc() -> None:
    request = read_common_upgrade(head_of(REQUIRED))
    assert request is not None
    assert accept_response(request, subprotocol=None, extensions=None) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )
    assert generate_accept_token(KEY.encode()) in accept_response(request, subprotocol=None, extensions=None)


def test_the_answer_is_taken_by_h11_with_what_was_agreed() -> None:
    request = read_common_upgrade(head_of(REQUIRED))
    assert request is not None
    client = h11.Connection(h11.CLIENT)
    client.send(
        h11.Request(
            method="GET", target="/", headers=[("Host", "a"), ("Upgrade", "websocket"), ("Connection", "Upgrade")]
        )
    )
    client.receive_data(accept_response(request, subprotocol="fastws.json", extensions="permessage-deflate"))
    answer = client.next_event()
    assert isinstance(answer, h11.InformationalResponse)
    assert answer.status_code == 101
    assert (b"sec-websocket-protocol", b"fastws.json") in list(answer.headers)
    assert (b"sec-websocket-extensions", b"permessage-deflate") in list(answer.headers)


def test_subprotocols_come_in_the_clients_order_and_only_tokens() -> None:
    head = head_of([*REQUIRED, ("Sec-WebSocket-Protocol", 'fastws.token.a.b, fastws.json,, a b, "x"')])
    request = read_common_upgrade(head)
    assert request is not None
    assert subprotocols(request) == ["fastws.token.a.b", "fastws.json"]
