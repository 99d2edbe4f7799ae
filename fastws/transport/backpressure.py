"""Backpressure: who publishes more at once than its subscribers' sockets take is read no further until they have it.

For bulk only, and briefly: a fast reader is not called slow for a burst that no queue could hold, and a client that
does not read holds a publisher up once, for a tenth of a second, before it is judged by the channel's slow policy.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fastws.transport.outbox import Outbox
    from fastws.transport.writer import Writer

MAX_SECONDS: Final = 0.1


class PublisherPause:
    """Holds up the reading of one publisher until every outbox that it waits for is empty, MAX_SECONDS at most."""

    __slots__ = ("_handle", "_publisher", "_waiting")

    def __init__(self, publisher: Writer) -> None:
        self._publisher = publisher
        self._waiting = 0
        publisher.publisher_pause = self
        publisher.stop_reading()
        self._handle = asyncio.get_running_loop().call_later(MAX_SECONDS, self.release)

    def wait_for(self, outbox: Outbox) -> None:
        """Wait for `outbox` too; it calls `drained` once."""
        self._waiting += 1
        outbox.publisher_pauses.append(self)

    def drained(self) -> None:
        """One outbox is empty, or its client is gone."""
        self._waiting -= 1
        if not self._waiting:
            self.release()

    def release(self) -> None:
        """Let the publisher go on."""
        self._handle.cancel()
        if self._publisher.publisher_pause is self:
            self._publisher.publisher_pause = None
            self._publisher.go_on_reading()
