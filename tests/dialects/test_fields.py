"""Fields that several dialects have."""

from __future__ import annotations

import msgpack
import pytest

from fastws.codec.json_text import JSON
from fastws.codec.msgpack_binary import MSGPACK
from fastws.dialects.channels import CHANNELS
from fastws.dialects.dialect import Dialect, StartingChannels
from fastws.dialects.echo import ECHO
from fastws.dialects.fields import timestamp_of
from fastws.dialects.jobs import JOBS
from fastws.dialects.rooms import ROOMS
from fastws.dialects.workspaces import WORKSPACES
from fastws.errors import BadRequest, InvalidPayload, InvalidText
from fastws.vocabulary.commands import Echo, Ping, Refresh
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Failure, Refreshed
from fastws.wire.opcodes import BINARY, TEXT

DIALECTS: list[Dialect] = [ROOMS, WORKSPACES, JOBS]
in_every_dialect = pytest.mark.parametrize("dialect", [CHANNELS, *DIALECTS], ids=lambda dialect: dialect.name)
by_name = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


@by_name
@pytest.mark.parametrize("message", [None, 1, "ping", [], ["ping"], {}, {"type": None}, {"type": 1}, {"type": []}])
def test_an_invalid_command_is_refused_with_an_example(dialect: Dialect, message: object) -> None:
    with pytest.raises(BadRequest) as refused:
        dialect.parse(message)
    assert '{"type":' in str(refused.value) or "subscribe" in str(refused.value)


@by_name
def test_an_unknown_type_is_named_but_not_at_any_length(dialect: Dialect) -> None:
    with pytest.raises(BadRequest, match=r"'publish'.*ping.*subscribe"):
        dialect.parse({"type": "publish"})
    with pytest.raises(BadRequest) as refused:
        dialect.parse({"type": "x" * 100_000})
    assert len(str(refused.value)) < 250


@by_name
def test_ping_needs_no_more_than_its_type(dialect: Dialect) -> None:
    assert dialect.parse({"type": "ping", "id": 5, "whatever": []}) == Ping()


@by_name
def test_a_new_token_is_taken_and_confirmed(dialect: Dialect) -> None:
    assert dialect.parse({"type": "refresh", "token": "a.b.c"}) == Refresh("a.b.c")
    said = dialect.reply(Refreshed(1_700_000_000), StartingChannels())
    word = "event" if dialect is WORKSPACES else "type"
    assert said == {word: "refreshed", "expires": 1_700_000_000}
    for token in (None, 1, ["a.b.c"]):
        with pytest.raises(BadRequest, match="token"):
            dialect.parse({"type": "refresh", "token": token})


@by_name
def test_a_failure_without_a_channel_has_its_own_text(dialect: Dialect) -> None:
    said = dialect.reply(Failure("unauthorized", "token expired"), StartingChannels())
    word = "event" if dialect is WORKSPACES else "type"
    assert said == {word: "error", "message": "token expired"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-01-01T00:00:00", "2024-01-01T00:00:00"),
        (1699369800, "2023-11-07T15:10:00.000Z"),
        (1699369800.25, "2023-11-07T15:10:00.250Z"),
        (1e300, 1e300),
        (10**15, 10**15),
        (-(10**15), -(10**15)),
    ],
)
def test_moments_are_iso_text_where_they_can_be(value: str | float, expected: object) -> None:
    assert timestamp_of(value) == expected


def test_a_missing_timestamp_is_now() -> None:
    now = timestamp_of(None)
    assert isinstance(now, str)
    assert now.endswith("Z")


def test_the_echo_dialect_admits_all_clients_and_sends_nothing_itself() -> None:
    assert ECHO.admit(None, {}) == StartingChannels()
    assert not ECHO.needs_token
    assert ECHO.reply(Failure("internal", "x"), StartingChannels()) is None
    assert ECHO.delivery(Publication("c", "e", 1)) == {"event": "e", "data": 1}
    assert ECHO.requests(TEXT, b"hi", JSON) == ((None, Echo(TEXT, b"hi")),)
    assert ECHO.requests(BINARY, b"\xff", JSON) == ((None, Echo(BINARY, b"\xff")),)
    with pytest.raises(InvalidText):
        ECHO.requests(TEXT, b"\xff", JSON)


@in_every_dialect
def test_a_message_is_one_request_with_its_id(dialect: Dialect) -> None:
    assert dialect.requests(TEXT, b'{"type":"ping","id":"a"}', JSON) == (("a", Ping()),)
    assert dialect.requests(BINARY, msgpack.packb({"type": "ping", "id": 7}), MSGPACK) == ((7, Ping()),)
    for without in (b'{"type":"ping"}', b'{"type":"ping","id":null}'):
        assert dialect.requests(TEXT, without, JSON) == ((None, Ping()),)
    assert dialect.with_id({"type": "pong"}, "a") == {"type": "pong", "id": "a"}


@in_every_dialect
def test_a_request_that_is_wrong_keeps_its_id_and_comes_with_its_error(dialect: Dialect) -> None:
    ((request_id, error),) = dialect.requests(TEXT, b'{"type":"nonsense","id":7}', JSON)
    assert request_id == 7
    assert isinstance(error, BadRequest)
    for bad in (b'{"type":"ping","id":1.5}', b'{"type":"ping","id":true}', b'{"type":"ping","id":"%b"}' % (b"x" * 256)):
        ((request_id, error),) = dialect.requests(TEXT, bad, JSON)
        assert request_id is None
        assert "`id` must be an integer" in str(error)
    with pytest.raises(InvalidPayload):
        dialect.requests(TEXT, b"{", JSON)


@in_every_dialect
def test_only_a_workspace_reserves_events(dialect: Dialect) -> None:
    assert ("metrics_update" in dialect.reserved_events) is (dialect.name == "workspaces")
    assert "alert" not in dialect.reserved_events
    assert not dialect.reserves("news")
    assert dialect.reserves("workspace:1") is (dialect.name == "workspaces")
