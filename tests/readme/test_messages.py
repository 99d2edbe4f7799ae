"""The documentation's tables of messages: each message in them is one, and there is no other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from fastws.dialects import channels, jobs, rooms, workspaces
from fastws.dialects.dialect import Dialect, StartingChannels, Wanted
from fastws.dialects.jobs import JobFilter
from fastws.dialects.workspaces import EventFilter
from fastws.errors import BadRequest
from fastws.vocabulary.positions import Position
from fastws.vocabulary.presence import PresencePage, PresenceUpdate
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import (
    Connected,
    Failure,
    FilterChanged,
    Gap,
    HistoryPage,
    Lag,
    Left,
    MailboxStanding,
    Metrics,
    Pong,
    Refreshed,
    Sent,
    Standing,
    Subscribed,
    Unsubscribed,
)
from tests.readme.reading import codes, table

DIALECTS: dict[str, Dialect] = {
    "channels": channels.CHANNELS,
    "rooms": rooms.ROOMS,
    "workspaces": workspaces.WORKSPACES,
    "jobs": jobs.JOBS,
}
MODULES = {"channels": channels, "rooms": rooms, "workspaces": workspaces, "jobs": jobs}
POSITION = Position(17, "x3Gh")
STANDINGS = (
    None,
    Standing(POSITION),
    Standing(POSITION, recovered=True, replayed=5),
    Standing(POSITION, replayed=10),
)
REPLIES = (
    *(Connected("…", standing=standing) for standing in STANDINGS),
    *(Connected("…", mailbox=MailboxStanding("client:u1:phone", standing)) for standing in STANDINGS[:2]),
    *(Subscribed("c", standing) for standing in STANDINGS),
    Unsubscribed("c"),
    Sent("c", None, 5, 0),
    Sent("c", None, 5, 0, POSITION),
    Sent(None, "…", 1, 0),
    Pong(),
    Pong(POSITION),
    Failure("bad_request", "…"),
    Failure("forbidden", "…", "c"),
    Gap("c"),
    Gap("c", POSITION),
    Gap("client:u1:phone"),
    Gap("client:u1:phone", POSITION),
    HistoryPage("c", (), POSITION),
    PresencePage("c", 3, 2, ()),
    PresencePage("c", 3, 2),
    PresenceUpdate("c", 3, 2, (), ()),
    PresenceUpdate("c", 3, 2),
    PresenceUpdate("c", 300, 2, is_partial=True),
    Lag("c", 7),
    Lag("client:u1:phone", 7),
    Refreshed(1.0),
    Left("c"),
    FilterChanged(EventFilter(frozenset({"alert"}))),
    FilterChanged(EventFilter(frozenset({"alert"})), subscribed=False),
    FilterChanged(EventFilter(frozenset({"alert"}), excluding=True), subscribed=False),
    FilterChanged(JobFilter(frozenset({"…"}), frozenset({"failed"}))),
    FilterChanged(JobFilter(frozenset({"…"}), frozenset({"failed"})), standing=Standing(POSITION)),
    Metrics("executions", {}),
)
MAIL = tuple(Publication("client:u1:phone", "…", offset=offset) for offset in (None, 18))
PUBLICATIONS = {
    "channels": (
        Publication("c", "e"),
        Publication("c", "e", sender="…"),
        Publication("", "e"),
        Publication("", "e", sender="…"),
        Publication("c", "e", offset=18),
        Publication("c", "e", sender="…", offset=18),
    ),
    "rooms": (Publication("execution:1", "…"), Publication("execution:1", "…", offset=18), *MAIL),
    "workspaces": (
        Publication("w", "execution_started", priority="high", offset=18),
        Publication("w", "execution_started"),
        *MAIL,
    ),
    "jobs": (
        Publication("j", "job_update", seq=1, attributes={"job_id": "…", "status": "…"}),
        Publication("j", "job_update", seq=1, offset=1, attributes={"job_id": "…", "status": "…"}),
        Publication("", "e"),
        *(Publication("client:u1:phone", "e", offset=offset) for offset in (None, 18)),
    ),
}
# A message's kind: what `type` and `event` say, and which keys it has.
Kind = tuple[str | None, str | None, frozenset[str]]


def messages(column: int, dialect: str) -> Iterator[dict[str, Any]]:
    for row in table(dialect, "client sends", "server answers"):
        for code in codes(row[column]):
            if code.startswith("{"):
                yield from readings(code)


def readings(code: str) -> Iterator[dict[str, Any]]:
    """A message of the documentation as JSON: without what stands in `[,…]`, and with it."""
    assert code.endswith("}"), code
    optional = re.compile(r"\[,(.*)\](?=\})")
    for text in {optional.sub("", code), optional.sub(r",\1", code)}:
        filled = text.replace("[…]", '["alert"]').replace("{…}", "{}").replace(":…", ":null")
        message = json.loads(filled)
        assert isinstance(message, dict)
        yield message


def kind(message: Mapping[str, Any]) -> Kind:
    return message.get("type"), message.get("event"), frozenset(message)


class Recorder(dict[str, Any]):
    """A message that knows which of its fields were looked at."""

    def __init__(self, message: Mapping[str, Any], looked_at: set[str]) -> None:
        super().__init__(message)
        self._looked_at = looked_at

    def get(self, key: str, default: Any = None) -> Any:
        self._looked_at.add(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self._looked_at.add(str(key))
        return super().__contains__(key)

    def __getitem__(self, key: str) -> Any:
        self._looked_at.add(key)
        return super().__getitem__(key)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_message_that_a_client_may_say_is_in_the_table_and_every_one_there_is_taken(dialect: str) -> None:
    shown: dict[str, set[str]] = {}
    looked_at: dict[str, set[str]] = {}
    examples = {}
    for message in messages(0, dialect):
        action = message.get("action") or message["type"]
        examples[action] = message
        shown.setdefault(action, set()).update(message)
        DIALECTS[dialect].parse(Recorder(message, looked_at.setdefault(action, set())))
    assert set(shown) == set(MODULES[dialect]._PARSERS)
    for action, fields in shown.items():
        assert fields - {"type", "action"} <= looked_at[action], action
        # A field that is looked at and not shown is looked at to be refused.
        for field in looked_at[action] - fields - {"type", "action"}:
            for value in ("x", ["x"], True):
                with pytest.raises(BadRequest):
                    DIALECTS[dialect].parse({**examples[action], field: value})


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_message_that_the_server_says_is_in_the_table_and_no_other(dialect: str) -> None:
    translator, place = DIALECTS[dialect], StartingChannels(workspace="W", wanted=Wanted(past=1))
    replies = (translator.reply(reply, place) for reply in REPLIES if type(reply) in MODULES[dialect]._RENDERERS)
    deliveries = (translator.delivery(publication) for publication in PUBLICATIONS[dialect])
    said = {kind(message) for message in (*replies, *deliveries) if message is not None}
    assert {kind(message) for message in messages(1, dialect)} == said


def test_there_is_a_sample_of_every_reply() -> None:
    known = set().union(*(module._RENDERERS for module in MODULES.values()))
    assert {type(reply) for reply in REPLIES} == known
