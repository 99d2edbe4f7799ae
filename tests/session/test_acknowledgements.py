"""Replies to sends: their numbers, and the cache that they share."""

from __future__ import annotations

import pytest

from fastws.errors import BrokerUnavailable
from fastws.server.server import Server
from fastws.session.acknowledgements import Acknowledgement, DirectAcknowledgement, acknowledge
from fastws.session.services import ACK_CACHE_SIZE
from fastws.transport.websocket import Connection
from tests.serving import Serve
from tests.transport.pipes import Pipe, connect

SENT = {"type": "send_success", "channel": "a", "sent": 2, "failed": 1}


async def connected(serve: Serve) -> tuple[Server, Pipe, Connection]:
    server = await serve()
    return server, *connect(server)


async def test_equal_replies_are_encoded_once_for_all_clients(serve: Serve) -> None:
    server, pipe, connection = await connected(serve)
    other, second = connect(server)
    for client in (connection, second):
        Acknowledgement(client.session, "a", None).done(2, 1)
    assert pipe.messages == other.messages == [SENT]
    assert len(server.services.acks) == 1


async def test_a_reply_with_an_id_does_not_get_into_the_replies_of_others(serve: Serve) -> None:
    server, pipe, connection = await connected(serve)
    for request_id in (None, 7, "x", None):
        Acknowledgement(connection.session, "a", request_id).done(2, 1)
    assert pipe.messages == [SENT, {**SENT, "id": 7}, {**SENT, "id": "x"}, SENT]
    assert len(server.services.acks) == 1


@pytest.mark.parametrize(
    ("sent", "failed", "channel"), [(3, 1, "a"), (2, 0, "a"), (2, 1, "b")], ids=["sent", "failed", "channel"]
)
async def test_other_results_are_other_replies(serve: Serve, sent: int, failed: int, channel: str) -> None:
    _, pipe, connection = await connected(serve)
    Acknowledgement(connection.session, "a", None).done(2, 1)
    Acknowledgement(connection.session, channel, None).done(sent, failed)
    assert pipe.messages == [SENT, {**SENT, "channel": channel, "sent": sent, "failed": failed}]


async def test_the_codecs_of_clients_do_not_share_replies(serve: Serve) -> None:
    server, pipe, connection = await connected(serve)
    packed, other = connect(server, target="/?format=msgpack")
    written = len(packed.writes)
    for client in (connection, other):
        Acknowledgement(client.session, "a", None).done(2, 1)
    assert pipe.messages == [SENT]
    assert packed.writes[written][2:].startswith(b"\x84\xa4type\xacsend_success")


async def test_the_cache_is_bounded(serve: Serve) -> None:
    server, pipe, connection = await connected(serve)
    for sent in range(ACK_CACHE_SIZE + 1):
        acknowledge(connection.session, "a", None, sent, 0, None)
    assert len(server.services.acks) == 1
    assert [message["sent"] for message in pipe.messages] == list(range(ACK_CACHE_SIZE + 1))


@pytest.mark.parametrize(("result", "reply"), [((1, 0), (1, 0)), ((0, 1), (0, 1)), ((0, 0), (0, 1))])
async def test_a_connection_that_does_not_exist_counts_as_failed(
    serve: Serve, result: tuple[int, int], reply: tuple[int, int]
) -> None:
    _, pipe, connection = await connected(serve)
    DirectAcknowledgement(connection.session, "c1", 5).done(*result)
    sent, failed = reply
    assert pipe.messages == [{"type": "send_success", "connectionId": "c1", "sent": sent, "failed": failed, "id": 5}]


async def test_a_refused_send_names_its_channel_and_its_request(serve: Serve) -> None:
    _, pipe, connection = await connected(serve)
    Acknowledgement(connection.session, "a", 1).refused(BrokerUnavailable("away"))
    Acknowledgement(connection.session, "a", 2).refused(BrokerUnavailable("away", channel="other"))
    DirectAcknowledgement(connection.session, "c1", 3).refused(BrokerUnavailable("away"))
    error = {"type": "error", "code": "broker_unavailable", "message": "away"}
    assert pipe.messages == [
        {**error, "channel": "a", "id": 1},
        {**error, "channel": "other", "id": 2},
        {**error, "id": 3},
    ]


async def test_a_dialect_without_such_a_reply_sends_none(serve: Serve) -> None:
    server = await serve()
    pipe, connection = connect(server, target="/ws")
    before = len(pipe.writes)
    Acknowledgement(connection.session, "a", 1).done(1, 0)
    assert len(pipe.writes) == before
    assert server.services.acks == {}
