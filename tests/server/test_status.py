"""The state that /ready reports."""

from __future__ import annotations

from fastws.server.status import Status
from tests.serving import Serve


class Broker:
    def __init__(self) -> None:
        self.is_up = True


async def test_the_state_follows_the_gate_and_the_broker(serve: Serve) -> None:
    server = await serve(max_connections=1)
    broker = Broker()
    status = Status(server.gate, broker)

    def state() -> tuple[bool, bool, bool]:
        return status.is_draining, status.is_full, status.is_broker_up

    assert state() == (False, False, True)
    broker.is_up = False
    assert state() == (False, False, False)
    server.gate.capacity.connections += 1
    assert state() == (False, True, False)
    server.gate.capacity.connections -= 1
    server.gate.is_leaving = True
    assert state() == (True, False, False)
