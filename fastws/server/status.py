"""The state of a process, as reported by `/ready`."""

from __future__ import annotations

from typing import Protocol

from fastws.admission.gate import Gate


class _Broker(Protocol):
    @property
    def is_up(self) -> bool: ...


class Status:
    """Whether the process accepts clients, and whether its publications come back from the broker."""

    __slots__ = ("_broker", "_gate")

    def __init__(self, gate: Gate, broker: _Broker) -> None:
        self._gate = gate
        self._broker = broker

    @property
    def is_draining(self) -> bool:
        return self._gate.is_leaving

    @property
    def is_full(self) -> bool:
        return self._gate.is_full

    @property
    def is_broker_up(self) -> bool:
        return self._broker.is_up
