"""Clients that subscribe and unsubscribe while connecting are judged by their last request."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest
import soaking.hasty
from soaking.hasty import HastyBrowserClient, HastyClient, HastyPythonClient, Lost, Messages
from soaking.ledger import Ledger

from tests.node_packages import node
from tests.serving import Join, Serve


class _Scripted(HastyClient):
    """A library that delivers `script`."""

    library = "scripted"
    script: tuple[dict[str, object] | None, ...] = ()

    @contextlib.asynccontextmanager
    async def _connected(self, channel: str, changes: str) -> AsyncIterator[tuple[Messages, str | None]]:
        messages: Messages = asyncio.Queue()
        asyncio.get_running_loop().call_soon(lambda: [messages.put_nowait(message) for message in self.script])
        yield messages, "x1"


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """5 messages of publisher p on channel c; nobody waits long."""
    monkeypatch.setattr(soaking.hasty, "LISTEN_SECONDS", 0.05)
    monkeypatch.setattr(soaking.hasty, "DELIVERY_SECONDS", 0.05)
    monkeypatch.setattr(soaking.hasty, "OUTAGE_SECONDS", 0.0)
    ledger = Ledger()
    ledger.enter("p", "c")
    ledger.sent["p"] = ledger.acknowledged["p"] = 5
    return ledger


def _message(number: int) -> dict[str, object]:
    return {"event": "soak", "data": {"publisher": "p", "number": number}}


def _client(ledger: Ledger, *script: dict[str, object] | None) -> _Scripted:
    client = _Scripted("ws://nowhere/", ledger, "hasty", ["c"], random.Random(1))
    client.script = script
    return client


async def _listen(ledger: Ledger, client: HastyClient, changes: str, last: int) -> None:
    """One round, during whose beginning messages up to `last` are acknowledged."""

    def go_on() -> None:
        ledger.sent["p"] = ledger.acknowledged["p"] = last

    asyncio.get_running_loop().call_soon(go_on)
    await client.round("c", changes)
    ledger.evaluate()


async def test_subscribed_last_and_received_is_right(ledger: Ledger) -> None:
    await _listen(ledger, _client(ledger, _message(6), _message(7)), "us", 7)
    assert not ledger.faults
    assert ledger.tried["hasty"] == 1


async def test_subscribed_last_and_not_received_is_lost(ledger: Ledger) -> None:
    await _listen(ledger, _client(ledger), "us", 6)
    assert dict(ledger.faults) == {"lost": 1}


async def test_subscribed_last_and_a_gap_notice_is_right(ledger: Ledger) -> None:
    await _listen(ledger, _client(ledger, {"type": "gap"}), "us", 6)
    assert not ledger.faults


async def test_unsubscribed_last_and_received_is_a_fault(ledger: Ledger) -> None:
    await _listen(ledger, _client(ledger, _message(6)), "su", 6)
    assert dict(ledger.faults) == {"received after unsubscribing": 1}


async def test_message_sent_before_the_last_unsubscribe_may_still_arrive(ledger: Ledger) -> None:
    await _listen(ledger, _client(ledger, _message(5)), "su", 6)
    assert not ledger.faults


async def test_unsubscribed_last_and_silent_is_right(ledger: Ledger) -> None:
    await _listen(ledger, _client(ledger), "su", 6)
    assert not ledger.faults
    assert ledger.tried["hasty"] == 1


@pytest.mark.parametrize("changes", ["us", "su"])
async def test_round_with_a_lost_connection_is_not_judged(ledger: Ledger, changes: str) -> None:
    with pytest.raises(Lost):
        await _listen(ledger, _client(ledger, None), changes, 6)
    assert not ledger.faults
    assert not ledger.tried["hasty"]


@pytest.mark.parametrize("kind", [HastyPythonClient, HastyBrowserClient])
async def test_library_reports_what_it_receives(
    kind: type[HastyClient], ledger: Ledger, serve: Serve, join: Join
) -> None:
    if kind is HastyBrowserClient:
        node()
    server = await serve()
    publisher = await join(server)
    client = kind(f"ws://127.0.0.1:{server.port}/", ledger, "hasty", ["c"], random.Random(1))
    async with client._connected("c", "s") as (messages, connection_id):
        assert connection_id in {peer.id for peer in server.roster}
        await publisher.say(
            {"action": "send", "channel": "c", "event": "soak", "data": {"publisher": "p", "number": 6}}
        )
        message = await asyncio.wait_for(messages.get(), 30)
        assert message is not None
        assert message["data"] == {"publisher": "p", "number": 6}
