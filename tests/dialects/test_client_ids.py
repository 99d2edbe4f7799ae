"""Client ids: the query of the upgrade, greetings and deliveries in all dialects."""

from __future__ import annotations

from typing import Any

import pytest

from fastws.dialects.channels import CHANNELS
from fastws.dialects.client_ids import with_mailbox
from fastws.dialects.dialect import Dialect, StartingChannels
from fastws.dialects.echo import ECHO
from fastws.dialects.jobs import JOBS
from fastws.dialects.rooms import ROOMS
from fastws.dialects.workspaces import WORKSPACES
from fastws.errors import BadRequest, Forbidden
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.mailboxes import Mailbox
from fastws.vocabulary.positions import Position
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Connected, Gap, Lag, MailboxStanding, Standing

NONE = StartingChannels()
ALL = (CHANNELS, ROOMS, WORKSPACES, JOBS)


def identity(user: str = "ada", **claims: object) -> Identity:
    return Identity(user, workspace="w1", workspaces=frozenset(["w1"]), claims=claims)


@pytest.mark.parametrize(
    ("query", "past"),
    [
        ({}, None),
        ({"client_offset": "12", "client_epoch": "x3Gh"}, Position(12, "x3Gh")),
        ({"client_replay": "3"}, 3),
        ({"offset": "12", "epoch": "x3Gh", "replay": "3"}, None),
    ],
)
def test_the_mailbox_has_its_own_position(query: dict[str, str], past: object) -> None:
    starting = with_mailbox(NONE, None, {"client_id": "tab", **query})
    assert starting.mailbox == Mailbox("tab", "client:tab", past)
    assert NONE.mailbox is None


def test_what_the_path_implies_stays() -> None:
    query = {"client_id": "tab", "replay": "3", "event_types": "alert"}
    before = WORKSPACES.admit(identity(), query)
    after = with_mailbox(before, identity(), query)
    assert (after.channels, after.home, after.workspace, after.wanted) == (
        before.channels,
        before.home,
        before.workspace,
        before.wanted,
    )
    assert after.mailbox == Mailbox("tab", "client:ada:tab")


@pytest.mark.parametrize(
    "query",
    [
        {"client_id": ""},
        {"client_id": "a:b"},
        {"client_id": "x" * 129},
        {"client_id": "a", "client_offset": "1"},
        {"client_id": "a", "client_epoch": "x"},
        {"client_id": "a", "client_offset": "x", "client_epoch": "x"},
        {"client_id": "a", "client_offset": "1", "client_epoch": "x", "client_replay": "1"},
    ],
)
def test_a_query_that_is_wrong_is_a_bad_request(query: dict[str, str]) -> None:
    with pytest.raises(BadRequest, match=r"`client_"):
        with_mailbox(NONE, None, query)


def test_a_name_that_is_too_long_with_its_user_is_a_bad_request() -> None:
    query = {"client_id": "x" * 100}
    user = "u" * (255 - len("client::") - 100)
    assert with_mailbox(NONE, identity(user), query).mailbox is not None
    with pytest.raises(BadRequest, match="`client_id` is too long"):
        with_mailbox(NONE, identity(user + "u"), query)


@pytest.mark.parametrize("claim", ["laptop", 1, ""])
def test_a_token_for_another_client_is_refused(claim: object) -> None:
    with pytest.raises(Forbidden, match="claim `client_id`"):
        with_mailbox(NONE, identity(client_id=claim), {"client_id": "phone"})


def test_a_token_for_this_client_is_not_refused() -> None:
    assert with_mailbox(NONE, identity(client_id="phone"), {"client_id": "phone"}).mailbox is not None


STANDING = Standing(Position(5, "x3Gh"), recovered=True, replayed=2)


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
def test_the_greeting_tells_the_mailbox(dialect: Dialect) -> None:
    starting = with_mailbox(dialect.admit(identity(), {}), identity(), {"client_id": "tab"})

    def client(standing: Standing | None) -> Any:
        message = dialect.reply(Connected("id", "w1", None, MailboxStanding("client:ada:tab", standing)), starting)
        assert message is not None
        return message["client"]

    assert client(None) == {"channel": "client:ada:tab"}
    expected = {"channel": "client:ada:tab", "offset": 5, "epoch": "x3Gh", "recovered": True, "replayed": 2}
    assert client(STANDING) == expected
    without = dialect.reply(Connected("id", "w1"), dialect.admit(identity(), {}))
    assert without is None or "client" not in without


def test_a_job_client_with_an_id_is_greeted_with_its_filter() -> None:
    query = {"client_id": "tab", "statuses": "failed"}
    starting = with_mailbox(JOBS.admit(None, query), None, query)
    greeting = JOBS.reply(Connected("id", None, STANDING, MailboxStanding("client:tab", None)), starting)
    assert greeting == {
        "type": "subscribed",
        "job_ids": [],
        "statuses": ["failed"],
        "offset": 5,
        "epoch": "x3Gh",
        "recovered": True,
        "replayed": 2,
        "client": {"channel": "client:tab"},
    }


@pytest.mark.parametrize("dialect", [*ALL, ECHO], ids=lambda dialect: dialect.name)
def test_deliveries_of_a_mailbox_name_their_channel(dialect: Dialect) -> None:
    plain = dialect.delivery(Publication("client:ada:tab", "e"))
    assert plain["channel"] == "client:ada:tab"
    assert "offset" not in plain
    kept = dialect.delivery(Publication("client:ada:tab", "e", offset=7))
    assert (kept["channel"], kept["offset"]) == ("client:ada:tab", 7)
    assert "room_id" not in kept
    assert dialect is CHANNELS or "channel" not in dialect.delivery(Publication("other", "e"))


@pytest.mark.parametrize("dialect", [WORKSPACES, JOBS], ids=lambda dialect: dialect.name)
def test_notices_about_a_mailbox_name_it(dialect: Dialect) -> None:
    for notice in (Gap("client:ada:tab", Position(1, "x")), Lag("client:ada:tab", 3)):
        told = dialect.reply(notice, NONE)
        assert told is not None
        assert told["channel"] == "client:ada:tab"
        assert "workspace_id" not in told
    told = dialect.reply(Lag("other", 3), NONE)
    assert told is not None
    assert "channel" not in told


def test_no_client_forges_messages_of_the_server_in_a_mailbox() -> None:
    assert WORKSPACES.reserves("client:ada:tab")
    assert not WORKSPACES.reserves("clients")
