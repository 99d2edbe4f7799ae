"""Checks what a subscriber receives: latency, order and completeness, as entries of locust's statistics."""

from __future__ import annotations

import time
import uuid
from typing import Any

from connection import fire
from locust.env import Environment

EVENT = "load"


class Missing(Exception):
    """Messages that did not arrive, without a lag or gap notice."""


class Repeated(Exception):
    """A message that arrived twice or out of order."""


class NumberedMessages:
    """Creates the data of one publisher's messages: its id, a number and the time in epoch seconds.

    Each has `payload_bytes` of text.
    """

    def __init__(self, payload_bytes: int) -> None:
        self.publisher = uuid.uuid4().hex[:12]
        self.number = 0
        self._padding = "x" * payload_bytes

    def next(self) -> dict[str, Any]:
        self.number += 1
        return {"publisher": self.publisher, "number": self.number, "at": time.time(), "padding": self._padding}


class DeliveryCheck:
    """Checks the messages of one subscriber of one channel. Each publisher may start with any number.

    `is_timed=False` is for a subscriber that reads late on purpose. Statistics: DELIVERY with the latency in ms;
    DELIVERY missing and DELIVERY repeated as failures; NOTICE lag and NOTICE gap, with the number of dropped messages
    as their size.
    """

    def __init__(self, environment: Environment, *, is_timed: bool = True) -> None:
        self._environment = environment
        self._is_timed = is_timed
        self._last: dict[str, int] = {}

    def __call__(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind in ("lag", "gap"):
            fire(self._environment, "NOTICE", kind, 0.0, size=int(message.get("dropped", 0)))
            self._last.clear()  # the next message may have any number
        elif message.get("event") == EVENT:
            self._check(message["data"])

    def _check(self, data: dict[str, Any]) -> None:
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
