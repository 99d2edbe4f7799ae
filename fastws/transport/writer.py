"""The writing half of a connection: frames from the hub to the socket, or to the outbox while it takes none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final, cast

from fastws.hub.channel import Audience, Chunk
from fastws.hub.ports import ENQUEUED, GONE, Enqueued
from fastws.transport.backpressure import PublisherPause
from fastws.transport.outbox import Outbox
from fastws.transport.services import TransportServices
from fastws.transport.states import State
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Lag

if TYPE_CHECKING:
    from fastws.session.session import Session

# Replies that may wait for a client that does not read; beyond, we stop reading what it asks.
MAX_CONTROL_BYTES: Final = 65_536


def _take_nothing(_: bytes) -> bool:
    """`send` of a client that has something waiting: the caller is to use `hold`."""
    return True


def forget(_: bytes) -> None:
    """`send` of a client that is gone."""


class Writer(asyncio.Protocol):
    """What the hub sees of a client's socket: `send` while it reads, `hold` while it does not."""

    __slots__ = ("_audiences", "outbox", "publisher_pause", "send", "services", "session", "state", "transport")

    def __init__(self, services: TransportServices, transport: asyncio.Transport) -> None:
        self.services = services
        self.transport = transport
        # `transport.write` itself while the client reads: no frame of ours stands between the hub and the socket.
        self.send: Callable[[bytes], object] = transport.write
        self._audiences: tuple[Audience, ...] = ()
        self.outbox: Outbox | None = None
        # What holds up this client's bulk publishing; None nearly always.
        self.publisher_pause: PublisherPause | None = None
        self.state = State.OPEN
        self.session: Session

    @property
    def audiences(self) -> tuple[Audience, ...]:
        """What the hub has this client in."""
        return self._audiences

    @audiences.setter
    def audiences(self, audiences: tuple[Audience, ...]) -> None:
        self._audiences = audiences
        if self.outbox is None and self.state is State.OPEN:
            self.send = self._open_send()

    def _open_send(self) -> Callable[[bytes], object]:
        """`send` while the client reads."""
        return self.transport.write if len(self._audiences) < 2 else self._gather

    def _gather(self, data: bytes) -> None:
        """`send` of a client in several channels: what they say in one flush is written together.

        Costs 0.1 µs where one channel alone is written, and saves a system call for each further one.
        """
        services = self.services
        if not services.hub.tick.is_joint:
            self.transport.write(data)
            return
        services.batch.gather(self, data)

    def write_control(self, frames: bytes) -> None:
        """Frames of the control lane: replies, pongs, closes. Never dropped."""
        if not self.send(frames):
            return
        outbox = self.outbox
        if outbox is not None:
            outbox.control(frames)
            if self.is_crowded:
                self.stop_reading()

    @property
    def takes_at_once(self) -> bool:
        return self.outbox is None

    @property
    def is_crowded(self) -> bool:
        """Whether this client is read no further until it has read the answers to what it asked before."""
        return self.outbox is not None and self.outbox.control_bytes > MAX_CONTROL_BYTES

    def deliver(self, frame: bytes, publication: Publication) -> bool:
        """A publication for this client alone. Returns whether it was taken."""
        if not self.send(frame):
            return True
        # Refused when the queue is full, never a reason to disconnect: the sender is told.
        chunk = Chunk(publication.channel, "drop_newest", [frame], frame, [publication.event])
        outbox = self.outbox
        return outbox is not None and not outbox.enqueue(chunk, self.transport.get_write_buffer_size())[0].refused

    def enqueue(self, chunk: Chunk) -> Enqueued:
        if self.state is not State.OPEN:
            return GONE
        outbox = self.outbox
        if outbox is None:
            self.send(chunk.data)  # it has read in between
            return ENQUEUED
        had_overflowed = outbox.has_overflowed
        held, dropped = outbox.enqueue(chunk, self.transport.get_write_buffer_size())
        counters = self.services.counters
        if dropped:
            counters.dropped[chunk.policy] += dropped
        if outbox.has_overflowed and not had_overflowed:
            counters.slow_consumers[chunk.policy] += 1
        return held

    def pause_writing(self) -> None:
        """The kernel took only part: what comes now waits in the outbox."""
        if self.outbox is None:
            self.outbox = Outbox(self.services.limits.outbox)
        self.outbox.is_blocked = True
        self.send = _take_nothing if self.state is State.OPEN else forget

    def resume_writing(self) -> None:
        """The client reads again: what waited goes out, and word of what was dropped."""
        outbox = self.outbox
        if outbox is None:
            return
        if not self._empty(outbox):
            return
        self.outbox = None
        self._resume_publishers(outbox)
        if self.state is State.OPEN:
            self.send = self._open_send()
            self.go_on_reading()

    def _empty(self, outbox: Outbox) -> bool:
        """Hand what waits to the transport until it is all there, or the socket takes no more: then False."""
        outbox.is_blocked = False
        self._tell_what_was_lost(outbox)
        while batch := outbox.take():
            self.transport.writelines(batch)
            if self._is_blocked(outbox):
                return False
            self._tell_what_was_lost(outbox)
        return True

    @staticmethod
    def _is_blocked(outbox: Outbox) -> bool:
        """Whether `pause_writing` was called meanwhile."""
        return outbox.is_blocked

    def apply_backpressure(self, senders: Collection[str]) -> None:
        """Bulk publishers wait for this client once, until it has read; see publisher_pause.py."""
        outbox = self.outbox
        if outbox is None or outbox.has_paused_publishers or self.state is not State.OPEN:
            return
        outbox.has_paused_publishers = True
        for sender in senders:
            # Our own roster holds connections and nothing else.
            publisher = cast("Writer | None", self.services.roster.get(sender))
            if publisher is not None and publisher.state is State.OPEN:
                (publisher.publisher_pause or PublisherPause(publisher)).wait_for(outbox)

    def _resume_publishers(self, outbox: Outbox | None) -> None:
        if outbox is not None:
            publisher_pauses, outbox.publisher_pauses = outbox.publisher_pauses, []
            for publisher_pause in publisher_pauses:
                publisher_pause.drained()

    def _tell_what_was_lost(self, outbox: Outbox) -> None:
        lost, outbox.lost = outbox.lost, None
        if lost and self.state is State.OPEN:  # after a close nothing may be said (RFC 6455 section 5.5.1)
            for channel, dropped in lost.items():
                notice = self.session.form.reply(Lag(channel, dropped), self.session.starting)
                if notice is not None:
                    outbox.control(notice)

    def stop_reading(self) -> None:
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def go_on_reading(self) -> None:
        """Read again, unless something else still holds it up; the reading half knows."""
        self.transport.resume_reading()
