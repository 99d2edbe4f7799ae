import pytest

from fastws.client.client_dialect import CLIENT_DIALECTS, find_client_dialect
from fastws.dialects.channels import CHANNELS
from fastws.dialects.dialect import StartingChannels
from fastws.dialects.jobs import JOBS
from fastws.dialects.rooms import ROOMS
from fastws.dialects.workspaces import WORKSPACES
from fastws.errors import BadRequest, BrokerUnavailable, FastWSError, Forbidden
from fastws.vocabulary.presence import PresencePage, PresenceUpdate
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Connected, Failure, Gap, Lag, Left

DIALECTS = {"channels": CHANNELS, "rooms": ROOMS, "workspaces": WORKSPACES, "jobs": JOBS}
PLACE = StartingChannels(workspace="w")


@pytest.mark.parametrize("name", DIALECTS)
def test_errors_notices_and_messages_are_distinguished_in_every_dialect(name):
    dialect, client = DIALECTS[name], CLIENT_DIALECTS[name]
    for publication in (
        Publication("execution:1", "gap", None),
        Publication("execution:1", "error", {}, type="error", attributes={"job_id": "7", "status": "failed"}),
    ):
        delivery = dialect.delivery(publication)
        assert not client.is_notice(delivery)
        assert not client.is_error(delivery)
        assert not client.is_left(delivery)
    for reply in (Gap("execution:1"), Lag("execution:1", 3), Failure("forbidden", "no")):
        assert client.is_notice(dialect.reply(reply, PLACE))
    assert client.is_error(dialect.reply(Failure("forbidden", "no"), PLACE))


@pytest.mark.parametrize("name", DIALECTS)
def test_updates_of_presence_are_distinguished_from_answers_and_deliveries(name):
    dialect, client = DIALECTS[name], CLIENT_DIALECTS[name]
    assert client.is_presence_update(dialect.reply(PresenceUpdate("execution:1", 3, 2), PLACE))
    assert not client.is_presence_update(dialect.reply(PresencePage("execution:1", 3, 2), PLACE))
    lookalike = Publication("execution:1", "presence_update", None, attributes={"job_id": "7", "status": "failed"})
    assert not client.is_presence_update(dialect.delivery(lookalike))


@pytest.mark.parametrize("name", ["channels", "rooms", "workspaces"])
def test_the_first_message_is_known_by_its_word_and_has_the_id(name):
    greeting = DIALECTS[name].reply(Connected("c1", "w"), PLACE)
    assert greeting[CLIENT_DIALECTS[name].type_key] == CLIENT_DIALECTS[name].greeting
    assert greeting["connection_id"] == "c1"


def test_jobs_have_no_first_message():
    assert DIALECTS["jobs"].reply(Connected("c1"), PLACE) is None
    assert CLIENT_DIALECTS["jobs"].greeting is None


@pytest.mark.parametrize("name", ["channels", "rooms"])
def test_being_taken_off_a_channel_ends_the_wish_for_it(name):
    dialect = CLIENT_DIALECTS[name]
    left = DIALECTS[name].reply(Left("execution:1"), PLACE)
    subscriptions = dialect.subscriptions()
    for request in subscriptions.add(["execution:1", "execution:2"]):
        subscriptions.confirmed(request)
    assert dialect.is_left(left)
    subscriptions.left(left)
    assert [request.get("channel") or request.get("room_id") for request in subscriptions.restore()] == ["execution:2"]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Failure("forbidden", "no", "user:x"), Forbidden),
        (Failure("bad_request", "no"), BadRequest),
        (Failure("broker_unavailable", "no"), BrokerUnavailable),
        (Failure("internal", "no"), FastWSError),
    ],
)
def test_the_error_of_a_reply_follows_from_its_code(failure, kind):
    assert type(CLIENT_DIALECTS["channels"].error_of(CHANNELS.reply(failure, PLACE))) is kind


def test_a_dialect_without_codes_tells_a_denied_room_apart():
    denied = ROOMS.reply(Failure("forbidden", "no", "user:x"), PLACE)
    assert isinstance(CLIENT_DIALECTS["rooms"].error_of(denied), Forbidden)
    other = WORKSPACES.reply(Failure("bad_request", "no"), PLACE)
    assert type(CLIENT_DIALECTS["workspaces"].error_of(other)) is FastWSError


def test_another_dialect_is_refused_with_those_that_there_are():
    with pytest.raises(BadRequest, match="channels, rooms, workspaces, jobs"):
        find_client_dialect("chat")
