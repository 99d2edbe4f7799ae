import datetime as dt
import time

import msgpack
import orjson
import pytest

from fastws.backend import events
from fastws.backend.message import Message, to_channel
from fastws.backend.redis_encoding import redis_publication
from fastws.errors import BadRequest


def test_any_channel_goes_under_the_prefix_as_event_and_data():
    message = to_channel("admin", "e", {"a": 1}, {"type": "t", "priority": 1, "key": "k", "exclude": ["x"]})
    _, channel, payload = redis_publication(message, prefix="mine:", encoding="json")
    assert channel == "mine:channel:admin"
    assert orjson.loads(payload) == {
        "event": "e",
        "data": {"a": 1},
        "type": "t",
        "priority": 1,
        "key": "k",
        "exclude": ["x"],
    }
    assert orjson.loads(redis_publication(to_channel("c", "e", None, {}), prefix="", encoding="json")[2]) == {
        "event": "e",
        "data": None,
    }


def test_a_job_update_goes_to_the_feed_in_the_shape_of_its_workers():
    message = events.job_update("botrix:jobs:updates", 7, "completed", {"result": {"success": True}})
    _, channel, payload = redis_publication(message, prefix="fastws:", encoding="json")
    body = orjson.loads(payload)
    assert channel == "botrix:jobs:updates"
    assert abs(body.pop("timestamp") - time.time()) < 60
    assert body == {
        "event": "job_update",
        "job_id": "7",
        "data": {"job_id": "7", "status": "completed", "result": {"success": True}},
    }


def test_a_workspace_event_goes_to_its_own_channel_in_the_shape_of_a_delivery():
    message = events.alert("workspace:w", "credit_limit", {"priority": "high"})
    _, channel, payload = redis_publication(message, prefix="fastws:", encoding="json")
    body = orjson.loads(payload)
    assert channel == "workspace:w"
    assert body.pop("timestamp").endswith("Z")
    data = {"type": "credit_limit", "priority": "high"}
    assert body == {"event": "alert", "data": data, "priority": "high"}
    update = events.metrics_update("workspace:w", {})
    assert b"priority" not in redis_publication(update, prefix="", encoding="json")[2]


def test_msgpack_says_what_json_cannot():
    moment = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    message = to_channel("c", "e", {"raw": b"\x00\xff", "at": moment}, {})
    _, _, payload = redis_publication(message, prefix="fastws:", encoding="msgpack")
    assert msgpack.unpackb(payload, timestamp=3) == {"event": "e", "data": {"raw": b"\x00\xff", "at": moment}}
    with pytest.raises(BadRequest, match="msgpack"):
        redis_publication(to_channel("c", "e", {1}, {}), prefix="", encoding="msgpack")


def test_a_single_connection_cannot_be_reached_and_the_error_says_what_can():
    with pytest.raises(BadRequest, match="Broadcaster"):
        redis_publication(Message(connection_id="abc", event="e"), prefix="", encoding="json")
