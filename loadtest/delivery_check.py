"""What a subscriber makes of what it hears: latency, order and completeness, into locust's statistics."""

from __future__ import annotations

import time
import uuid
from typing import Any

from conversation import fire
from locust.env import Environment

EVENT = "load"


class Missing(Exception):
    """Numbers that never came, without a notice that told so."""


class Repeated(Exception):
    """A number that came twice, or late."""


class Numbering:
    """The data of one publisher's messages: who, which, when (seconds since the epoch, for several machines).

    `payload_bytes` of text go with each.
    """

    def __init__(self, payload_bytes: int) -> None:
        self.publisher = uuid.uuid4().hex[:12]
        self.number = 0
        self._padding = "x" * payload_bytes

    def next(self) -> dict[str, Any]:
        self.number += 1
        return {"publisher": self.publisher, "number": self.number, "at": time.time(), "padding": self._padding}


class Hearing:
    """Of one subscriber of one channel. The first number of each publisher is taken as it comes; `is_timed=False` for
    one that reads late on purpose.

    Statistics: DELIVERY with the latency in ms; as failures DELIVERY missing and DELIVERY repeated; NOTICE lag and
    NOTICE gap, whose size is the number of messages that were dropped.
    """

    def __init__(self, environment: Environment, *, is_timed: bool = True) -> None:
        self._environment = environment
        self._is_timed = is_timed
        self._last: dict[str, int] = {}

    def __call__(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind in ("lag", "gap"):
            fire(self._environment, "NOTICE", kind, 0.0, size=int(message.get("dropped", 0)))
            self._last.clear()  # it was told: whatever comes first now is right
        elif message.get("event") == EVENT:
            self._hear(message["data"])

    def _hear(self, data: dict[str, Any]) -> None:
        if self._is_timed:
            fire(self._environment, "DELIVERY", EVENT, (time.time() - data["at"]) * 1000)
        publisher, number = data["publisher"], data["number"]
        last = self._last.get(publisher)
        if last is not None and number <= last:
            fire(self._environment, "DELIVERY", "repeated", 0.0, error=Repeated(f"{number} after {last}"))
            return
        if last is not None and number > last + 1:
            error = Missing(f"{number - last - 1} before {number}")
            fire(self._environment, "DELIVERY", "missing", 0.0, error=error)
        self._last[publisher] = number
