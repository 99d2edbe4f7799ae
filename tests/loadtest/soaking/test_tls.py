"""TLS clients: the Finished and the upgrade request in one piece, and a server that does not answer."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import soaking.tls
from soaking.ledger import Ledger
from soaking.tls import Certificate, EagerTlsClient, TlsSocket


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return Certificate(tmp_path)


def _server_context(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    return context


async def test_finished_is_sent_with_the_next_data(certificate: Certificate) -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = _server_context(certificate).wrap_bio(incoming, outgoing, server_side=True)
        client = TlsSocket(ours, certificate.client_context(), "localhost")
        shaking = asyncio.ensure_future(client.handshake())
        incoming.write(await loop.sock_recv(theirs, 65_536))
        with pytest.raises(ssl.SSLWantReadError):
            server.do_handshake()
        await loop.sock_sendall(theirs, outgoing.read())
        await shaking
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
        client.write(b"the request")
        await client.flush()
        incoming.write(theirs.recv(65_536))
        server.do_handshake()
        assert server.read(100) == b"the request"


@pytest_asyncio.fixture
async def deaf_server(certificate: Certificate) -> AsyncIterator[int]:
    """The port of a TLS server that takes everything and answers nothing."""
    connections = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        while await reader.read(65_536):
            continue

    server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=_server_context(certificate))
    yield server.sockets[0].getsockname()[1]
    for writer in connections:
        writer.transport.abort()
    server.close()
    await server.wait_closed()


async def test_server_that_does_not_answer_is_a_fault(
    certificate: Certificate, deaf_server: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soaking.tls, "OPEN_SECONDS", 0.2)
    ledger = Ledger()
    url, context = f"wss://127.0.0.1:{deaf_server}/", certificate.client_context()
    client = EagerTlsClient(url, ledger, "eager", ["c"], random.Random(1), context)
    client.is_stopping = True
    await client.visit()
    assert dict(ledger.faults) == {"TLS client not answered": 1}
    assert not ledger.tried["tls"]
