"""The writing half of a connection: frames go to the socket, or to the outbox while the socket is blocked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Final, cast

from fastws.hub.channel import Audience, Chunk
from fastws.hub.ports import ENQUEUED, GONE, Enqueued
from fastws.session.prioritized_session import OpeningFrame
from fastws.transport.backpressure import PublisherPause
from fastws.transport.outbox import Outbox
from fastws.transport.priority_outbox import NO_PRIORITIES, PriorityOutbox
from fastws.transport.services import TransportServices
from fastws.transport.states import State
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Lag

if TYPE_CHECKING:
    from fastws.session.session import Session

# Bytes of replies that may wait for a client that does not read. Above that, its requests are no longer read.
MAX_CONTROL_BYTES: Final = 65_536


def _decline(_: bytes) -> bool:
    """`send` of a client whose outbox is not empty: the caller must use `enqueue`."""
    return True


def discard(_: bytes) -> None:
    """`send` of a client that is closing or closed."""


class Writer(asyncio.Protocol):
    """A client's socket as the hub sees it: `send` while the socket is writable, `enqueue` while it is blocked."""

    __slots__ = ("_audiences", "outbox", "publisher_pause", "send", "services", "session", "state", "transport")

    def __init__(self, services: TransportServices, transport: asyncio.Transport) -> None:
        self.services = services
        self.transport = transport
        # `transport.write` itself while the socket is writable, which saves a Python call per write.
        self.send: Callable[[bytes], object] = transport.write
        self._audiences: tuple[Audience, ...] = ()
        self.outbox: Outbox | None = None
        # Pauses this client's bulk publishing; almost always None.
        self.publisher_pause: PublisherPause | None = None
        self.state = State.OPEN
        self.session: Session

    @property
    def audiences(self) -> tuple[Audience, ...]:
        """The audiences of this client; set by the hub."""
        return self._audiences

    @audiences.setter
    def audiences(self, audiences: tuple[Audience, ...]) -> None:
        self._audiences = audiences
        if self.outbox is None and self.state is State.OPEN:
            self.send = self._open_send()

    def _open_send(self) -> Callable[[bytes], object]:
        """Return `send` for a writable socket."""
        return self.transport.write if len(self._audiences) < 2 else self._gather

    def _gather(self, data: bytes) -> None:
        """`send` of a client in several channels: the data of all channels of one flush is written together.

        Costs 0.1 µs if the flush writes one channel, and saves a system call for each further one.
        """
        services = self.services
        if not services.hub.tick.is_joint:
            self.transport.write(data)
            return
        # Not a method of the batch: a call for each client and channel would cost 0.03 µs (benchmarks/test_stages.py).
        gathered = services.batch.gathered
        pieces = gathered.get(self)
        if pieces is None:
            gathered[self] = [data]
        else:
            pieces.append(data)

    def write_control(self, frames: bytes) -> None:
        """Write frames of the control lane (replies, pongs, closes), which are never dropped."""
        if not self.send(frames):
            return
        outbox = self.outbox
        if outbox is not None:
            outbox.control(frames)
            if self.is_crowded:
                self.pause_reading()

    @property
    def is_writable(self) -> bool:
        """Whether nothing waits in the outbox."""
        return self.outbox is None

    @property
    def is_crowded(self) -> bool:
        """Whether so many replies wait for this client that its requests are no longer read."""
        return self.outbox is not None and self.outbox.control_bytes > MAX_CONTROL_BYTES

    def deliver(self, frame: bytes, publication: Publication) -> bool:
        """Write a publication for this client only. Returns False if its queue is full."""
        if not self.send(frame):
            return True
        # A full queue refuses the frame and the sender gets the result, so the client is not disconnected.
        chunk = Chunk(publication.channel, "drop_newest", [frame], frame, [publication.event])
        outbox = self.outbox
        return outbox is not None and not outbox.enqueue(chunk, self.transport.get_write_buffer_size())[0].refused

    def replay(self, frames: Iterator[bytes], channel: str) -> None:
        """Write `frames` of the past of `channel` as the client reads, before anything newer and outside the bounds."""
        if self.state is not State.OPEN:
            return
        outbox = self.outbox
        if outbox is not None:
            outbox.replay(frames, channel)
            return
        self.pause_writing()
        if self.outbox is not None:
            self.outbox.replay(frames, channel)
        self.resume_writing()

    def hold(self) -> None:
        """Let everything wait in the outbox, within its bounds, until `release`, except what waits already."""
        services, former = self.services, self.outbox
        held = PriorityOutbox(services.bounds, services.priorities or NO_PRIORITIES, is_held=True)
        held.is_blocked = former is not None and former.is_blocked
        if former is None:
            services.roster.blocked.add(self)  # type: ignore[arg-type] # every Writer is a Connection
        else:
            while batch := former.take():
                for data in batch:
                    held.control(OpeningFrame(data))
        self.outbox = held
        self.send = _decline

    def release(self, opening: list[bytes]) -> None:
        """Write the frames of `opening`, then what has waited since `hold`."""
        outbox = self.outbox
        if isinstance(outbox, PriorityOutbox) and outbox.is_held:
            for frame in opening:
                outbox.control(OpeningFrame(frame))
            self._end_hold(outbox)

    def drop_held(self) -> None:
        """The connection ends before `release`: drop the publications that wait for it."""
        outbox = self.outbox
        if isinstance(outbox, PriorityOutbox) and outbox.is_held:
            self.services.counters.dropped["closed"] += outbox.drop_publications()
            self._end_hold(outbox)

    def _end_hold(self, outbox: PriorityOutbox) -> None:
        outbox.is_held = False
        if not outbox.is_blocked:
            self.resume_writing()

    def enqueue(self, chunk: Chunk) -> Enqueued:
        """Queue `chunk` within the bounds of the outbox, or write it if the socket is writable again."""
        if self.state is not State.OPEN:
            return GONE
        outbox = self.outbox
        if outbox is None:
            self.send(chunk.data)  # it has become writable in the meantime
            return ENQUEUED
        had_overflowed = outbox.has_overflowed
        result, dropped = outbox.enqueue(chunk, self.transport.get_write_buffer_size())
        counters = self.services.counters
        if dropped:
            counters.dropped[chunk.policy] += dropped
        if outbox.has_overflowed and not had_overflowed:
            counters.slow_consumers[chunk.policy] += 1
        return result

    def pause_writing(self) -> None:
        """The kernel took only part of the data: further frames wait in the outbox."""
        if self.outbox is None:
            bounds, priorities = self.services.bounds, self.services.priorities
            self.outbox = Outbox(bounds) if priorities is None else PriorityOutbox(bounds, priorities)
            if self.state is State.OPEN:
                self.services.roster.blocked.add(self)  # type: ignore[arg-type] # every Writer is a Connection
        self.outbox.is_blocked = True
        self.send = _decline if self.state is State.OPEN else discard

    def resume_writing(self) -> None:
        """The client reads again: write the outbox, and notices of what was dropped."""
        outbox = self.outbox
        if outbox is None:
            return
        if not self._write_out(outbox) or outbox.is_held:
            return
        self.outbox = None
        self.services.roster.blocked.discard(self)
        self.resume_publishers(outbox)
        if self.state is State.OPEN:
            self.send = self._open_send()
            self.resume_reading()

    def _write_out(self, outbox: Outbox) -> bool:
        """Hand the outbox to the transport. Returns False if the socket is blocked again before it is empty."""
        outbox.is_blocked = False
        self._queue_lag_notices(outbox)
        while batch := outbox.take():
            self.transport.writelines(batch)
            if self._is_blocked(outbox):
                return False
            self._queue_lag_notices(outbox)
        return True

    @staticmethod
    def _is_blocked(outbox: Outbox) -> bool:
        """Whether `pause_writing` was called in the meantime (a method, because mypy takes the attribute for False)."""
        return outbox.is_blocked

    def apply_backpressure(self, senders: Collection[str]) -> None:
        """Pause the publishers `senders` until this client has read; at most once per outbox (see backpressure.py)."""
        outbox = self.outbox
        if outbox is None or outbox.has_paused_publishers or self.state is not State.OPEN:
            return
        outbox.has_paused_publishers = True
        for sender in senders:
            # Outside of tests, the roster contains only connections.
            publisher = cast("Writer | None", self.services.roster.get(sender))
            if publisher is not None and publisher.state is State.OPEN:
                (publisher.publisher_pause or PublisherPause(publisher)).wait_for(outbox)

    def resume_publishers(self, outbox: Outbox | None) -> None:
        """Tell the publishers that wait for `outbox` that it is empty."""
        if outbox is not None:
            publisher_pauses, outbox.publisher_pauses = outbox.publisher_pauses, []
            for publisher_pause in publisher_pauses:
                publisher_pause.drained()

    def _queue_lag_notices(self, outbox: Outbox) -> None:
        lost, outbox.lost = outbox.lost, None
        if lost and self.state is State.OPEN:  # nothing may follow a close frame (RFC 6455 section 5.5.1)
            for channel, dropped in lost.items():
                notice = self.session.form.reply(Lag(channel, dropped), self.session.starting)
                if notice is not None:
                    outbox.control(notice, channel)

    def pause_reading(self) -> None:
        """Stop reading from the client."""
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again. Connection overrides this, because something else may still pause it."""
        self.transport.resume_reading()
