"""The parts of an event in a request, without a server."""

from __future__ import annotations

import pytest

from fastws.endpoints.pusher_events import _event
from fastws.errors import TooLarge
from fastws.vocabulary.publication import Encoded
from fastws.vocabulary.pusher_apps import PusherApp

APP = PusherApp(id="1", secrets={"k": "s"}, max_event_bytes=10)


def test_a_channel_that_is_named_twice_gets_one_publication() -> None:
    event = _event(APP, {"name": "e", "data": "[1]", "socket_id": "1.2"}, ("a", "b", "a"), "")
    assert [each.channel for each in event.publications] == ["pusher:1:a", "pusher:1:b"]
    assert all(each.data == Encoded("json", b"[1]") for each in event.publications)
    assert all(each.exclude == {"1.2"} for each in event.publications)


def test_the_limit_counts_bytes() -> None:
    assert _event(APP, {"name": "e", "data": "é" * 5}, ("a",), "")
    for data in ("é" * 6, "x" * 11, {"a": "xxxx"}):
        with pytest.raises(TooLarge):
            _event(APP, {"name": "e", "data": data}, ("a",), "batch[0].")
