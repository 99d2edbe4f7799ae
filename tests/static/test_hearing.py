"""The messages of the browser client: everything but replies to its requests, the greeting and notices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.static.virtual import printed

VERBATIM: list[Any] = [
    {"data": 1, "id": 7},
    {"id": 1, "text": "the id of a request that was answered long ago"},
    {"id": None},
    {"text": "without data"},
    {},
    {"type": "notice", "event": "gap"},
    {"type": "gap", "data": None},
    {"type": "error", "data": {"code": "x"}},
    {"reason": "because", "channel": "a"},
    {"type": "connection_id", "connection_id": "a greeting comes once"},
    {"type": "connection", "event": "connected"},
    {"event": "connected"},
    {"type": "pong"},
    [1, 2],
]
NOTICES = {
    "channels": [
        {"type": "gap", "channel": "a"},
        {"type": "lag", "channel": "a", "dropped": 3},
        {"type": "error", "code": "unauthorized", "message": "the token has expired"},
        {"type": "unsubscribe_succeeded", "channel": "a", "reason": "forbidden"},
    ],
    "rooms": [
        {"type": "gap", "room_id": "a"},
        {"type": "lag", "room_id": "a", "dropped": 3},
        {"type": "error", "message": "no"},
        {"type": "subscription", "event": "unsubscribed", "room_id": "a", "reason": "Access denied to room"},
    ],
    "workspaces": [
        {"event": "gap", "workspace_id": "w"},
        {"event": "lag", "workspace_id": "w", "dropped": 3},
        {"event": "error", "message": "no"},
    ],
    "jobs": [{"type": "gap"}, {"type": "lag", "dropped": 3}, {"type": "error", "message": "no"}],
}


@pytest.mark.parametrize("dialect", NOTICES)
def test_verbatim_messages_arrive_in_every_dialect(tmp_path: Path, dialect: str) -> None:
    source = f"""
    reset("{dialect}");
    const client = open({{ dialect: "{dialect}" }});
    await clock.advance(100);
    await Promise.all([client.ping(), clock.advance(100)]);
    const id = client.connectionId;
    for (const message of {json.dumps(VERBATIM)}) FakeSocket.last.receive(message);
    const others = ["gap", "lag", "left", "error"].map((kind) => seen[kind].length);
    report([seen.message, others, client.connectionId === id, client.status]);
    """
    own = {"workspaces": {"type": "notice", "event": "gap"}}.get(dialect)
    heard = [message for message in VERBATIM if message != own]
    assert printed(source, tmp_path) == [heard, [1 if own else 0, 0, 0, 0], True, "connected"]


@pytest.mark.parametrize("dialect", NOTICES)
def test_notices_are_not_messages(tmp_path: Path, dialect: str) -> None:
    source = f"""
    reset("{dialect}");
    open({{ dialect: "{dialect}" }});
    await clock.advance(100);
    for (const message of {json.dumps(NOTICES[dialect])}) FakeSocket.last.receive(message);
    report([seen.message, ["gap", "lag", "error", "left"].map((kind) => seen[kind].length)]);
    """
    assert printed(source, tmp_path) == [[], [1, 1, 1, len(NOTICES[dialect]) - 3]]


def test_a_late_reply_is_dropped_and_the_next_message_with_that_id_is_delivered(tmp_path: Path) -> None:
    source = """
    const server = reset();
    server.answers = () => null;
    const client = open();
    await clock.advance(100);
    const told = outcomes([client.ping(), client.request({ action: "x" })]);
    await clock.advance(11000);
    const [{ id }] = FakeSocket.last.sent;
    FakeSocket.last.receive({ type: "pong", id });
    const late = seen.message.length;
    FakeSocket.last.receive({ id, text: "verbatim" });
    report([late, seen.message, client.status]);
    """
    late, messages, status = printed(source, tmp_path)
    assert (late, status) == (0, "connected")
    assert [message["text"] for message in messages] == ["verbatim"]


def test_a_message_that_is_not_an_object_is_an_error_and_the_next_one_arrives(tmp_path: Path) -> None:
    source = """
    reset();
    open();
    await clock.advance(100);
    for (const frame of ["{", "5", "null", '"text"', '{"good":1}']) FakeSocket.last.receive(frame);
    report([seen.error.map(({ code }) => code), seen.message]);
    """
    assert printed(source, tmp_path) == [["invalid_message"] * 4, [{"good": 1}]]
