"""The state of a process, as reported by `/ready`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fastws.admission.gate import Gate


class _Node(Protocol):
    @property
    def is_up(self) -> bool: ...


class _Broker(Protocol):
    @property
    def is_up(self) -> bool: ...
    @property
    def nodes(self) -> Sequence[_Node]: ...


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

    @property
    def redis_away(self) -> list[str]:
        """The Redis servers that are away, while others are up."""
        return [str(node) for node in self._broker.nodes if not node.is_up] if self._broker.is_up else []
