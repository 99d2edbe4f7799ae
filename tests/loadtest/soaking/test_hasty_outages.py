"""Hasty clients do not judge while Redis is away, nor without a subscription, and say much about what is lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import orjson
import pytest
from soaking import hasty
from soaking.conversation import Message
from soaking.hasty import HastyClient, Lost, Messages
from soaking.ledger import Ledger

NOTICE = {"type": "gap", "channel": "c"}


class ScriptedClient(HastyClient):
    """Gets what the test puts into `messages`."""

    library = "scripted"

    def __init__(self, ledger: Ledger) -> None:
        super().__init__("", ledger, "h", ["c"], random.Random(1))
        self.messages: Messages = asyncio.Queue()

    @contextlib.asynccontextmanager
    async def _connected(self, channel: str, changes: str) -> AsyncIterator[tuple[Messages, str | None]]:
        yield self.messages, "x1"


@pytest.fixture
def ledger() -> Ledger:
    """One publisher on channel c, of which 5 messages were sent and acknowledged before any client subscribes."""
    ledger = Ledger()
    ledger.enter("p", "c")
    _publish(ledger, 5)
    return ledger


@pytest.fixture(autouse=True)
def _nothing_takes_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The listening ends in the next iteration; only the end of an outage is waited for."""
    monkeypatch.setattr(hasty, "LISTEN_SECONDS", 0.0)
    monkeypatch.setattr(hasty, "DELIVERY_SECONDS", 0.0)


def _publish(ledger: Ledger, count: int) -> None:
    for _ in range(count):
        ledger.acknowledged["p"] = ledger.next_number("p")


def _message(number: int) -> Message:
    return {"event": "soak", "channel": "c", "data": {"publisher": "p", "number": number}}


async def _round_of(client: ScriptedClient, ledger: Ledger) -> asyncio.Task[None]:
    """A round that has begun, and in which message 6 is acknowledged while it listens."""
    visit = asyncio.ensure_future(client.round("c", "us"))
    await asyncio.sleep(0)
    _publish(ledger, 1)
    for _ in range(20):
        await asyncio.sleep(0)
    return visit


@pytest.mark.parametrize("late", [NOTICE, _message(6)], ids=["notice", "message"])
async def test_what_comes_when_redis_is_back_is_waited_for(ledger: Ledger, late: Message) -> None:
    client = ScriptedClient(ledger)
    visit = await _round_of(client, ledger)
    assert not visit.done(), "it judges while Redis is away"
    client.messages.put_nowait(late)
    await visit
    ledger.evaluate()
    assert not ledger.faults


async def test_message_that_never_comes_is_lost_with_its_times(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hasty, "OUTAGE_SECONDS", 0.0)
    visit = await _round_of(ScriptedClient(ledger), ledger)
    await visit
    ledger.evaluate()
    assert dict(ledger.faults) == {"lost": 1}
    for part in ("h (scripted, us, connection x1) (subscribed ", "), checked ", "never received p #6, sent at "):
        assert part in ledger.examples[0]


async def test_newer_message_shows_at_once_that_one_is_lost(ledger: Ledger) -> None:
    client = ScriptedClient(ledger)
    visit = await _round_of(client, ledger)
    _publish(ledger, 1)
    client.messages.put_nowait(_message(7))
    await visit
    ledger.evaluate()
    assert dict(ledger.faults) == {"lost": 1}


async def test_lost_connection_is_not_judged(ledger: Ledger) -> None:
    client = ScriptedClient(ledger)
    visit = await _round_of(client, ledger)
    client.messages.put_nowait(None)
    with pytest.raises(Lost):
        await visit
    ledger.evaluate()
    assert not ledger.faults


async def _lines(*events: str) -> AsyncIterator[bytes]:
    for event in events:
        yield orjson.dumps({"event": event, "message": {"connection": "x1"}})


async def test_end_of_a_browser_client_after_its_requests_is_not_dropped() -> None:
    messages: Messages = asyncio.Queue()
    settled: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    await hasty._read_lines(_lines("message", "lost", "settled", "lost"), messages, settled)
    assert await settled == "x1"
    assert messages.get_nowait() is None


@pytest.mark.parametrize("events", [("message", "refused"), ("message",)], ids=["refused", "ended"])
async def test_browser_client_whose_last_request_fails_is_not_judged(events: tuple[str, ...]) -> None:
    settled: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    await hasty._read_lines(_lines(*events), asyncio.Queue(), settled)
    with pytest.raises(Lost):
        await settled
