"""Sockets count from their accept: plain ones, those amid a TLS handshake, those of proxies; idle ones give way."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from fastws.server.server import Server
from tests.hostile.certificates import Certificate
from tests.hostile.raw_client import upgrade
from tests.serving import PATIENCE_SECONDS, OpenRaw, RawSocket, Serve
from tests.transport.test_http import HEALTH, asked, read_response
from tests.transport.tls_peer import TlsPeer


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so():
            await asyncio.sleep(0)


async def held(server: Server, open_raw: OpenRaw, count: int) -> list[RawSocket]:
    """Sockets that have sent nothing, each accepted before the next."""
    raws = []
    for _ in range(count):
        raws.append(await open_raw(server, None))
        await until(lambda: server.gate.capacity.sockets == len(raws))
    return raws


async def status(raw: RawSocket, request: bytes = b"") -> int:
    await raw.send_bytes(request)
    return int((await read_response(raw))[0].split()[1])


async def test_an_address_may_hold_no_more_plain_sockets_than_its_share(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(max_connections_per_ip=2, allow_anonymous=True)
    silent = await held(server, open_raw, 2)
    assert await status(await open_raw(server, None)) == 429
    assert await status(silent[0], upgrade()) == 101  # which leaves its place to another
    assert await status(await open_raw(server, None), HEALTH) == 200
    await until(lambda: server.gate.capacity.sockets == 2)
    assert server.counters.rate_limited["address"] == 1


async def test_clients_at_their_share_do_not_keep_requests_of_their_address_away(
    serve: Serve, open_raw: OpenRaw
) -> None:
    server = await serve(max_connections_per_ip=1, allow_anonymous=True)
    await open_raw(server)
    assert await status(await open_raw(server, None), HEALTH) == 200


async def test_a_connection_kept_alive_gives_way_to_the_next_of_its_address(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(max_connections_per_ip=1)
    first = await asked(server, open_raw)
    second = await asked(server, open_raw)
    assert await first.receive_end() == b""
    assert await status(second, HEALTH) == 200


async def test_connections_kept_alive_give_way_where_the_process_runs_short(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve()
    room = server.gate.capacity
    idle = [await asked(server, open_raw) for _ in range(3)]
    room.max_sockets = 3
    assert await status(await open_raw(server, None), HEALTH) == 200
    assert await idle[0].receive_end() == b""
    silent = [await open_raw(server, None) for _ in range(3)]
    await until(lambda: not room._idle)
    assert await status(await open_raw(server, None)) == 503
    assert await status(silent[0], HEALTH) == 200


async def test_a_proxys_sockets_count_for_the_client_of_the_request_and_for_none_between_requests(
    serve: Serve, open_raw: OpenRaw
) -> None:
    server = await serve(max_connections_per_ip=1, trusted_proxies=("127.0.0.1",), allow_anonymous=True)
    shares = server.gate.capacity._sockets_of
    kept = [await asked(server, open_raw) for _ in range(3)]
    assert shares == {}
    begin = b"POST /broadcast HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.%d\r\nContent-Length: 5\r\n\r\n"
    await kept[0].send_bytes(begin % 1)
    await until(lambda: shares == {"192.0.2.1": 1})
    assert await status(kept[1], begin % 1) == 429
    assert await status(kept[2], (begin % 2) + b"hello") == 401
    assert await status(kept[0], b"hello") == 401
    await until(lambda: shares == {})
    assert await status(kept[0], HEALTH) == 200


async def test_a_socket_counts_for_the_client_that_the_proxy_protocol_names(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(max_connections_per_ip=1, trusted_proxies=("127.0.0.1",), proxy_protocol=True)
    header = b"PROXY TCP4 192.0.2.%d 127.0.0.1 1000 80\r\n"
    first = await open_raw(server, None)
    await first.send_bytes(header % 1)
    await until(lambda: server.gate.capacity._sockets_of == {"192.0.2.1": 1})
    assert await status(await open_raw(server, None), (header % 1) + HEALTH) == 429
    assert await status(await open_raw(server, None), (header % 2) + HEALTH) == 200


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("tls"))


async def silent_socket(server: Server) -> socket.socket:
    plain = socket.socket()
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", server.port))
    return plain


async def is_ended(plain: socket.socket) -> bool:
    async with asyncio.timeout(PATIENCE_SECONDS):
        try:
            return await asyncio.get_running_loop().sock_recv(plain, 100) == b""
        except ConnectionResetError:
            return True


@pytest.mark.parametrize("limit", ["address", "process"])
async def test_sockets_amid_a_tls_handshake_count_too(serve: Serve, certificate: Certificate, limit: str) -> None:
    shares = {"max_connections_per_ip": 2} if limit == "address" else {}
    server = await serve(tls_cert=str(certificate.cert), tls_key=str(certificate.key), **shares)
    room = server.gate.capacity
    room.max_sockets = 2 if limit == "process" else room.max_sockets
    silent = [await silent_socket(server) for _ in range(2)]
    await until(lambda: room.sockets == 2)
    with await silent_socket(server) as late:
        assert await is_ended(late)
    assert sum(server.counters.refused.values()) == 1
    silent[0].close()
    await until(lambda: room.sockets == 1)
    peer = TlsPeer(server.port, certificate.client_context())
    await peer.send(await peer.shake_hands() + peer.record(HEALTH))
    assert (await peer.response())[0] == 200
    assert room.sockets == 2
    # Which is idle now, and gives way.
    with await silent_socket(server):
        with pytest.raises(EOFError):
            await peer.response()
        await until(lambda: room.sockets == 2)
        await asyncio.get_running_loop().sock_sendall(silent[1], b"this is no TLS at all\r\n\r\n")
        await until(lambda: room.sockets == 1)
    await until(lambda: room.sockets == 0)
    assert room._sockets_of == {}
    peer.close()
    silent[1].close()


async def test_a_stop_ends_the_handshakes_under_way(serve: Serve, certificate: Certificate, tmp_path: Path) -> None:
    server = await serve(tls_cert=str(certificate.cert), tls_key=str(certificate.key))
    with await silent_socket(server) as silent:
        await until(lambda: server.gate.capacity.sockets == 1)
        await server.stop()
        assert await is_ended(silent)
    await until(lambda: server.gate.capacity.sockets == 0)
