"""The cluster of one process: pages of connections, single connections, and revocations."""

from __future__ import annotations

from fastws.cluster.channel_list import SLICE
from fastws.errors import Unencodable
from fastws.server.server import Server
from fastws.vocabulary.publication import Publication
from tests.hub.members import Note
from tests.serving import Serve
from tests.transport.pipes import connect


def ids(page: list[dict[str, object]]) -> list[object]:
    return [connection["id"] for connection in page]


def user(server: Server, name: str) -> str:
    return f"/?token={server.tokens.sign(name)}"


async def test_pages_have_each_connection_once_in_the_order_of_ids(serve: Serve) -> None:
    server = await serve()
    everyone = sorted(connect(server)[1].id for _ in range(7))
    cursor = None
    pages: list[list[object]] = []
    while True:
        page, cursor = await server.cluster.page(user=None, channel=None, cursor=cursor, limit=3)
        pages.append(ids(page))
        if cursor is None:
            break
    assert pages == [everyone[:3], everyone[3:6], everyone[6:]]


async def test_a_page_that_ends_with_the_last_connection_has_no_cursor(serve: Serve) -> None:
    server = await serve()
    connect(server)
    connect(server)
    page, cursor = await server.cluster.page(user=None, channel=None, cursor=None, limit=2)
    assert (len(page), cursor) == (2, None)


async def test_pages_are_right_over_several_slices(serve: Serve) -> None:
    server = await serve(max_connections=10_000)
    everyone = sorted(connect(server)[1].id for _ in range(SLICE + 5))
    page, cursor = await server.cluster.page(user=None, channel=None, cursor=everyone[1], limit=SLICE)
    assert ids(page) == everyone[2 : SLICE + 2]
    assert cursor == everyone[SLICE + 1]


async def test_a_page_may_be_of_one_user_or_one_channel(serve: Serve) -> None:
    server = await serve()
    _, ada = connect(server, target=user(server, "ada"))
    _, bob = connect(server, "a", target=user(server, "bob"))
    _, anonymous = connect(server, "a", "b")

    async def page(**query: str | None) -> list[object]:
        found, _ = await server.cluster.page(**{"user": None, "channel": None, "cursor": None, **query}, limit=10)
        return ids(found)

    assert await page(user="ada") == [ada.id]
    assert await page(user="nobody") == []
    assert set(await page(channel="a")) == {bob.id, anonymous.id}
    assert await page(user="bob", channel="b") == []


async def test_a_connection_is_described(serve: Serve) -> None:
    server = await serve()
    _, connection = connect(server, "a", target=user(server, "ada"))
    described = await server.cluster.describe(connection.id)
    assert described is not None
    assert {name: described[name] for name in ("id", "user", "dialect", "codec", "channels", "address")} == {
        "id": connection.id,
        "user": "ada",
        "dialect": "channels",
        "codec": "json",
        "channels": ["a"],
        "address": "127.0.0.1",
    }
    assert await server.cluster.describe("nobody") is None


async def test_numbers_are_those_of_the_process(serve: Serve) -> None:
    server = await serve()
    connect(server, "a", target=user(server, "ada"))
    connect(server, "a", "b", target=user(server, "ada"))
    connect(server)
    totals = await server.cluster.totals()
    assert (totals.connections, totals.channels) == (3, 2)
    assert await server.cluster.connections_of("ada") == 2
    assert await server.cluster.connections_of("bob") == 0
    assert await server.cluster.dialect_connections("channels") == 3
    assert await server.cluster.dialect_connections("rooms") == 0


async def test_a_close_delivers_what_was_published_before_it(serve: Serve) -> None:
    server = await serve()
    pipe, connection = connect(server, "a")
    server.hub.deliver(Publication("a", "last", None))
    assert await server.cluster.close(connection.id)
    assert pipe.events == ["subscription_succeeded", "last", 1000]
    assert server.counters.closed == {(1000, "operator"): 1}
    assert not await server.cluster.close(connection.id)


async def test_a_send_is_delivered_refused_or_to_nobody(serve: Serve) -> None:
    server = await serve()
    pipe, connection = connect(server)
    note = Note()
    server.cluster.send(connection.id, Publication("", "e", 1), note)
    server.cluster.send_raw(connection.id, b'{"type":"raw"}', note)
    server.cluster.send("nobody", Publication("", "e", 1), note)
    server.cluster.send(connection.id, Publication("", "e", object()), note)
    assert note.outcomes[:3] == [(1, 0), (1, 0), (0, 0)]
    assert isinstance(note.outcomes[3], Unencodable)
    assert pipe.events == ["e", "raw"]
    connection.end(1000, "", label="test")
    server.cluster.send_raw(connection.id, b"{}", note)
    assert note.outcomes[4] == (0, 0)


async def test_a_revocation_closes_the_connections_that_it_concerns(serve: Serve) -> None:
    server = await serve()
    token = server.tokens.sign("ada")
    token_id = server.tokens.verify(token).token_id
    by_token, _ = connect(server, target=f"/?token={token}")
    same_user, other = connect(server, target=user(server, "ada"))
    bob, _ = connect(server, target=user(server, "bob"))
    await server.cluster.revoke(token_id=token_id, user=None)
    assert (by_token.events, same_user.events, bob.events) == (["error", 4401], [], [])
    await server.cluster.revoke(token_id=None, user="ada")
    assert (same_user.events, bob.events) == (["error", 4401], [])
    assert other.is_gone
