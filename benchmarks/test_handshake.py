"""What an upgrade costs, directly and by the full parsers: run with `pytest benchmarks/test_handshake.py`."""

from __future__ import annotations

from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection

from fastws.wire.handshake import accept_response, check_upgrade, read_common_upgrade
from fastws.wire.http_reader import HttpReader, render_response

# A library's upgrade (10 headers with what a proxy adds), and a browser's.
LIBRARY = (
    b"GET /ws?token=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl HTTP/1.1\r\nHost: live.example:8000\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\nUser-Agent: Python/3.11 websockets/17.4\r\nX-Forwarded-For: 10.0.0.1\r\n"
    b"X-Forwarded-Proto: https\r\nSec-WebSocket-Protocol: fastws.json\r\nOrigin: https://live.example\r\n\r\n"
)
BROWSER = (
    b"GET /ws?token=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl HTTP/1.1\r\nHost: localhost:8000\r\n"
    b"Connection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0"
    b" Safari/537.36\r\nUpgrade: websocket\r\nOrigin: http://localhost:8000\r\nSec-WebSocket-Version: 13\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9\r\nCookie: session=abcdef\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
)
ODD = LIBRARY.replace(b"Host: ", b"Host:")


def shake_hands(head: bytes) -> bytes:
    reader = HttpReader()
    reader.feed(head)
    request = reader.next_request()
    assert request is not None
    check_upgrade(request)
    return accept_response(request, subprotocol=None, extensions=None)


def test_read_a_plain_upgrade_of_a_library(benchmark: Any) -> None:
    assert benchmark(read_common_upgrade, LIBRARY) is not None


def test_read_a_plain_upgrade_of_a_browser(benchmark: Any) -> None:
    assert benchmark(read_common_upgrade, BROWSER) is not None


def test_whole_plain_handshake(benchmark: Any) -> None:
    assert benchmark(shake_hands, LIBRARY).startswith(b"HTTP/1.1 101 ")


def test_whole_handshake_by_the_full_parser(benchmark: Any) -> None:
    assert read_common_upgrade(ODD) is None
    assert benchmark(shake_hands, ODD).startswith(b"HTTP/1.1 101 ")


def test_whole_handshake_by_wsproto_alone(benchmark: Any) -> None:
    def shake() -> bytes:
        connection = WSConnection(ConnectionType.SERVER)
        connection.receive_data(LIBRARY)
        list(connection.events())
        return connection.send(AcceptConnection())

    assert benchmark(shake).startswith(b"HTTP/1.1 101 ")


def test_read_and_answer_a_plain_request(benchmark: Any) -> None:
    def answer() -> bytes:
        reader = HttpReader()
        reader.feed(b"POST /broadcast HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
        assert reader.next_request() is not None
        return render_response(200, [("Content-Type", "application/json")], b"{}", keep_alive=reader.may_reuse)

    assert benchmark(answer).startswith(b"HTTP/1.1 200 ")
