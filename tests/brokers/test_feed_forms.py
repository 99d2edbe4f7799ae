"""The feeds: old backends publish and listen in their own shapes, and we among them."""

from __future__ import annotations

import json

import msgpack
import pytest

from fastws.brokers.feed_forms import JobsForm, WorkspaceForm
from fastws.codec.registry import decoded
from fastws.errors import BadRequest
from fastws.vocabulary.publication import Encoded, Publication
from tests.brokers.recording_hub import AwaitedReceipt, subscribed
from tests.brokers.redis.test_broker import running
from tests.redis_server import RedisServer

LIMIT = 1_000_000
JOBS = "botrix:jobs:updates"
SEED_003 = {
    "event": "job_update",
    "job_id": "550e8400-e29b-41d4-a716-446655440000",
    "timestamp": 1699369800,
    "data": {
        "job_id": "550e8400-e29b-41d4-a716-446655440000",
        "status": "completed",
        "result": {"accounts_created": 5, "success": True},
    },
}
BARE = {"job_id": 123, "status": "completed", "data": {"success": True}}


def jobs() -> JobsForm:
    return JobsForm(LIMIT, clock=lambda: 1_700_000_000.5)


def workspaces() -> WorkspaceForm:
    return WorkspaceForm(LIMIT, now=lambda: "2026-11-09T12:00:00.000Z")


@pytest.mark.parametrize("packed", [json.dumps, msgpack.packb], ids=["json", "msgpack"])
def test_both_shapes_of_job_updates_are_numbered_publications(packed: object) -> None:
    form = jobs()
    first, node, *_ = form.decode(_bytes(packed, SEED_003), JOBS)
    second, *_ = form.decode(_bytes(packed, BARE), JOBS)
    assert node is None
    assert (first.seq, first.timestamp, first.data) == (1, 1699369800, SEED_003["data"])
    assert first.attributes == {"job_id": SEED_003["job_id"], "status": "completed"}
    assert (second.seq, second.timestamp) == (2, 1_700_000_000)
    assert second.attributes == {"job_id": "123", "status": "completed"}


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b"\xff", b'{"job_id":"1"}', b'{"job_id":[],"status":"x"}'])
def test_what_is_no_job_update_is_rejected_and_not_numbered(payload: bytes) -> None:
    form = jobs()
    with pytest.raises(BadRequest):
        form.decode(payload, JOBS)
    assert form.decode(_bytes(json.dumps, BARE), JOBS).publication.seq == 1


def test_payload_over_the_limit_is_rejected() -> None:
    with pytest.raises(BadRequest, match="bytes"):
        JobsForm(10).decode(_bytes(json.dumps, BARE), JOBS)
    with pytest.raises(BadRequest, match="bytes"):
        WorkspaceForm(10).decode(b'{"event":"e","data":null}', "workspace:w1")


def test_job_update_goes_out_in_the_shape_of_old_workers() -> None:
    sent = Publication(JOBS, "job_update", {"job_id": 7, "status": "failed"}, sender="me", exclude=frozenset("a"))
    message = json.loads(jobs().encode(sent, "node_a", 3))
    extras = message.pop("_fastws")
    assert message == {
        "event": "job_update",
        "job_id": "7",
        "status": "failed",
        "timestamp": 1_700_000_000,
        "data": {"job_id": 7, "status": "failed"},
    }
    assert extras == {"node": "node_a", "number": 3, "sender": "me", "exclude": ["a"]}


def test_our_own_job_update_comes_back_whole() -> None:
    sent = Publication(
        JOBS,
        "job_update",
        Encoded("json", b'{"job_id":"7","status":"failed"}'),
        sender="me",
        key="k",
        exclude=frozenset("a"),
    )
    letter = jobs().decode(jobs().encode(sent, "node_a", 3), JOBS)
    assert (letter.node, letter.number) == ("node_a", 3)
    came = letter.publication
    assert (came.sender, came.key, came.exclude, came.seq) == ("me", "k", frozenset("a"), 1)
    assert came.data == {"job_id": "7", "status": "failed"}
    assert came.attributes == {"job_id": "7", "status": "failed"}


def test_what_we_publish_on_the_feed_about_no_job_arrives_all_the_same() -> None:
    letter = jobs().decode(jobs().encode(Publication(JOBS, "notice", "hello"), "node_a", 1), JOBS)
    assert (letter.publication.event, letter.publication.data) == ("notice", "hello")


def test_workspace_event_of_an_old_backend_is_a_publication() -> None:
    payload = b'{"event":"alert","data":{"n":1},"priority":"high","timestamp":"2026-01-01T00:00:00Z"}'
    assert workspaces().decode(payload, "workspace:w1").publication == Publication(
        "workspace:w1", "alert", {"n": 1}, priority="high", timestamp="2026-01-01T00:00:00Z"
    )


@pytest.mark.parametrize("data", [{"n": 1}, Encoded("json", b'{"n":1}'), Encoded("msgpack", msgpack.packb({"n": 1}))])
def test_workspace_event_of_ours_is_understood_by_old_backends_and_by_us(data: object) -> None:
    sent = Publication("workspace:w1", "alert", data, type="notification", sender="me", priority=2)
    payload = workspaces().encode(sent, "node_a", 9)
    message = json.loads(payload)
    assert (message["event"], message["data"], message["priority"]) == ("alert", {"n": 1}, 2)
    assert message["timestamp"] == "2026-11-09T12:00:00.000Z"
    letter = workspaces().decode(payload, "workspace:w1")
    assert (letter.node, letter.number) == ("node_a", 9)
    assert (letter.publication.sender, letter.publication.type) == ("me", "notification")


@pytest.mark.parametrize("extras", ["1", "[]", '{"exclude":5,"sender":[],"node":5}', '{"number":"x","key":{}}'])
def test_extras_of_another_make_are_ignored(extras: str) -> None:
    payload = f'{{"event":"alert","data":1,"_fastws":{extras}}}'.encode()
    letter = workspaces().decode(payload, "workspace:w1")
    assert letter.publication == Publication("workspace:w1", "alert", 1)
    assert letter.node is None


async def test_old_and_new_publishers_meet_on_the_feeds(redis_server: RedisServer) -> None:
    async with (
        running(redis_server.url) as (one, hub_one),
        running(redis_server.url) as (two, hub_two),
    ):
        for broker, hub in ((one, hub_one), (two, hub_two)):
            await subscribed(broker, hub, JOBS, "workspace:w1")
        with redis_server.client() as client, client.pubsub() as old:
            old.subscribe(JOBS, "workspace:w1")
            for _ in range(2):
                assert old.get_message(timeout=1.0)["type"] == "subscribe"  # type: ignore[index]
            client.publish(JOBS, json.dumps(SEED_003))
            client.publish("workspace:w1", msgpack.packb({"event": "alert", "data": {"n": 1}}))
            client.publish("workspace:w1", b"poison")
            receipt = AwaitedReceipt()
            one.publish(Publication(JOBS, "job_update", {"job_id": "2", "status": "processing"}), receipt)
            assert await receipt.outcome() == (1, 0)
            heard = [json.loads(old.get_message(timeout=1.0)["data"]) for _ in range(1)]  # type: ignore[index]
            assert heard == [SEED_003]
            old.get_message(timeout=1.0), old.get_message(timeout=1.0)
            mine = json.loads(old.get_message(timeout=1.0)["data"])  # type: ignore[index]
            assert (mine["job_id"], mine["status"]) == ("2", "processing")
        for broker, hub in ((one, hub_one), (two, hub_two)):
            await hub.until(lambda hub=hub: len(hub.publications) == 3)
            assert [(p.channel, p.seq) for p in hub.publications] == [(JOBS, 1), ("workspace:w1", None), (JOBS, 2)]
            assert broker.counters.feed_rejected == {"workspaces": 1}


async def test_feed_channels_are_heard_under_our_prefix_too(redis_server: RedisServer) -> None:
    async with running(redis_server.url) as (broker, hub):
        await subscribed(broker, hub, "workspace:w1")
        with redis_server.client() as client:
            client.publish("fastws:channel:workspace:w1", b'{"event":"alert","data":1}')
        await hub.until(lambda: hub.heard["workspace:w1"] == [1])


async def test_only_workspaces_with_clients_here_are_asked_for(redis_server: RedisServer) -> None:
    async with running(redis_server.url) as (broker, hub):
        await subscribed(broker, hub, "workspace:w1")
        assert {name for name in redis_server.channels() if name.startswith(b"workspace:")} == {b"workspace:w1"}


def _bytes(packed: object, value: object) -> bytes:
    payload = packed(value)  # type: ignore[operator]
    return payload.encode() if isinstance(payload, str) else payload


def test_plain_decodes_what_is_still_encoded() -> None:
    assert decoded(Encoded("json", b"[1]")) == decoded(Encoded("msgpack", b"\x91\x01")) == decoded([1]) == [1]
