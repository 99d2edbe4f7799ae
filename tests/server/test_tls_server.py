"""TLS handshakes that fail: counted, and logged with their cause."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from fastws.server.server import Server
from tests.hostile.certificates import Certificate
from tests.serving import PATIENCE_SECONDS, Serve

Attempt = Callable[[int], None]


@pytest.fixture
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("tls"))


def opened(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)


def speak_plain_http(port: int) -> None:
    with opened(port) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        plain.recv(100)


def disconnect(port: int) -> None:
    opened(port).close()


def say_nothing(port: int) -> None:
    with opened(port) as silent:
        silent.recv(100)


def distrust(port: int) -> None:
    with opened(port) as plain, pytest.raises(ssl.SSLError):
        ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")


async def refusals(server: Server, attempt: Attempt, count: int) -> list[dict[str, object]]:
    """Make `count` attempts; return the log lines of refused handshakes once all are counted."""
    with capture_logs() as lines:
        for number in range(count):
            await asyncio.to_thread(attempt, server.port)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while server.counters.refused[400, "tls"] <= number:
                    await asyncio.sleep(0)
    return [dict(line) for line in lines if line["event"] == "handshake refused"]


@pytest.mark.parametrize(
    ("attempt", "cause"),
    [
        (speak_plain_http, "the client speaks plain HTTP"),
        (disconnect, "the client disconnected"),
        (say_nothing, "it was not finished within handshake_timeout"),
        (distrust, "the client does not trust the certificate"),
    ],
)
async def test_a_failed_handshake_is_counted_and_logged_once_a_minute_with_its_cause(
    serve: Serve, certificate: Certificate, attempt: Attempt, cause: str
) -> None:
    server = await serve(tls_cert=str(certificate.cert), tls_key=str(certificate.key), handshake_timeout=0.5)
    [line] = await refusals(server, attempt, 2)
    assert (line["reason"], line["address"], line["cause"]) == ("tls", "127.0.0.1", cause)
    assert server.counters.refused == {(400, "tls"): 2}
    assert server.gate.capacity.sockets == 0
