"""Readers that pause: they get what arrives meanwhile, and report what does not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import orjson
import pytest
from soaking.jittery import CHANNEL, CrowdMember, JitteryReader
from soaking.ledger import Ledger
from websockets.asyncio.server import ServerConnection, serve

Handler = Callable[[ServerConnection], Awaitable[None]]


class _Eager(random.Random):
    """Every pause and every read of the reader is as short as it can be."""

    def random(self) -> float:
        return 0.0


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    ledger.enter("p", CHANNEL)
    return ledger


def _script(ledger: Ledger, numbers: list[int], code: int, is_listening: Callable[[], bool]) -> Handler:
    """A server that confirms, waits until the reader listens, sends `numbers` and closes with `code`."""

    async def handle(connection: ServerConnection) -> None:
        await connection.send(orjson.dumps({"type": "connection_id", "connection_id": "1"}).decode())
        await connection.recv()
        await connection.send(orjson.dumps({"type": "subscription_succeeded", "channel": CHANNEL}).decode())
        while not is_listening():
            await asyncio.sleep(0)
        ledger.sent["p"] = ledger.acknowledged["p"] = max(numbers, default=0)
        for number in numbers:
            data = {"publisher": "p", "number": number}
            await connection.send(orjson.dumps({"event": "soak", "data": data}).decode())
        await connection.close(code)

    return handle


async def _visit(ledger: Ledger, kind: type[CrowdMember], numbers: list[int], code: int) -> None:
    """One connection to such a server, which sends once a jittery reader has paused."""
    readers: list[CrowdMember] = []

    def is_listening() -> bool:
        return ledger.tried["jittery"] > 0 if kind is JitteryReader else readers[0].check is not None

    async with serve(_script(ledger, numbers, code, is_listening), "127.0.0.1", 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        readers.append(kind(f"ws://127.0.0.1:{port}/", ledger, "reader", _Eager(1)))
        await asyncio.wait_for(readers[0].visit(), 30)
        check = readers[0].check
        assert check is not None
        check.expect_all()
    ledger.evaluate()


@pytest.mark.parametrize("kind", [CrowdMember, JitteryReader])
async def test_everything_in_order_is_right(ledger: Ledger, kind: type[CrowdMember]) -> None:
    await _visit(ledger, kind, [1, 2, 3], 1012)
    assert not ledger.faults
    assert ledger.counts["received"] == 3
    assert ledger.counts["closed with 1012"] == 1


@pytest.mark.parametrize("kind", [CrowdMember, JitteryReader])
async def test_missing_message_is_lost(ledger: Ledger, kind: type[CrowdMember]) -> None:
    await _visit(ledger, kind, [1, 3], 1012)
    assert dict(ledger.faults) == {"lost": 1}


async def test_reader_that_keeps_up_must_not_be_closed_as_too_slow(ledger: Ledger) -> None:
    await _visit(ledger, JitteryReader, [], 1013)
    assert dict(ledger.faults) == {"jittery reader closed as too slow": 1}


async def test_reader_pauses_as_often_as_it_reads(ledger: Ledger) -> None:
    await _visit(ledger, JitteryReader, [1], 1012)
    assert ledger.tried["jittery"] == ledger.counts["pauses of jittery readers"] > 0
