"""The lifecycle: the rest of the server learns of each connection once."""

from __future__ import annotations

import pytest
from websockets.frames import Frame, Opcode

from fastws.errors import ServerFull
from fastws.server.server import Server
from tests.serving import Serve
from tests.transport.pipes import connect


def numbers(server: Server) -> tuple[int, int, int]:
    """The numbers of connections in the roster, of connections with an open socket, and of subscriptions."""
    return len(server.roster), server.gate.open_connections, server.hub.subscriptions


async def test_a_connection_enters_and_leaves_everything_once(serve: Serve) -> None:
    server = await serve()
    _, connection = connect(server, "a", target=f"/?token={server.tokens.sign('ada')}")
    assert numbers(server) == (1, 1, 1)
    assert server.counters.opened == {"channels": 1}
    connection.end(1000, "", label="test")
    assert numbers(server) == (0, 1, 0)
    connection.connection_lost(None)
    assert numbers(server) == (0, 0, 0)
    assert server.counters.closed == {(1000, "test"): 1}


async def test_a_lost_connection_leaves_everything_too(serve: Serve) -> None:
    server = await serve()
    _, connection = connect(server, "a")
    connection.connection_lost(ConnectionResetError())
    assert numbers(server) == (0, 0, 0)
    assert server.counters.closed == {(1006, "lost"): 1}


async def test_the_limit_per_user_counts_connections_until_their_socket_is_closed(serve: Serve) -> None:
    server = await serve(max_connections_per_user=1)
    target = f"/?token={server.tokens.sign('ada')}"
    _, connection = connect(server, target=target)
    connection.end(1000, "", label="test")
    with pytest.raises(AssertionError):
        connect(server, target=target)
    connection.connection_lost(None)
    connect(server, target=target)
    assert server.counters.rate_limited["user"] == 1


async def test_a_token_expires_at_its_time_plus_the_leeway(serve: Serve) -> None:
    server = await serve(jwt_leeway=7.0)
    token = server.tokens.sign("ada", ttl_seconds=600)
    _, connection = connect(server, target=f"/?token={token}")
    _, anonymous = connect(server)
    expiries = server.assembly.heartbeat._expiries
    assert expiries[connection] == server.tokens.verify(token).expires_at + 7.0
    assert anonymous not in expiries
    connection.connection_lost(None)
    assert connection not in expiries


@pytest.mark.parametrize(("code", "counted"), [(1000, 1000), (3000, 3000), (3999, 3000), (4321, 4000)])
async def test_codes_that_applications_define_are_counted_by_the_thousand(
    serve: Serve, code: int, counted: int
) -> None:
    server = await serve()
    _, connection = connect(server)
    connection.data_received(Frame(Opcode.CLOSE, code.to_bytes(2, "big")).serialize(mask=True))
    assert server.counters.closed == {(counted, "client"): 1}


async def test_our_own_codes_are_counted_as_they_are(serve: Serve) -> None:
    server = await serve()
    _, connection = connect(server)
    connection.end(4401, "token expired", label="expired")
    assert server.counters.closed == {(4401, "expired"): 1}


async def test_a_refusal_is_counted_by_status_and_reason(serve: Serve) -> None:
    server = await serve()
    server.assembly.transport_services.lifecycle.refused(ServerFull(), "192.0.2.1")
    assert server.counters.refused == {(503, "full"): 1}
