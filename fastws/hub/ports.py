"""Protocols through which the hub uses the packages above it: members, wire forms, brokers, receipts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from fastws.errors import FastWSError
from fastws.vocabulary.positions import Page, Past, Position, Recovery
from fastws.vocabulary.presence import ChannelMember, Membership, PresencePage
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Reply

if TYPE_CHECKING:
    from fastws.hub.channel import Audience, Chunk


@dataclass(slots=True, frozen=True)
class Enqueued:
    """Result of `Member.enqueue`."""

    # Positions of the frames that were refused. All others are queued, or already written.
    refused: Sequence[int] = ()
    # The queue is full and the policy is to disconnect: nothing was queued.
    is_slow: bool = False
    # The client has left: nothing was queued, and nothing counts as refused.
    is_gone: bool = False


ENQUEUED: Final = Enqueued()
GONE: Final = Enqueued(is_gone=True)


class WireForm(Protocol):
    """Dialect + codec (+ compression): how one kind of subscriber reads a publication."""

    def frame(self, publication: Publication) -> bytes:
        """Return the WebSocket frame of `publication`. Raises Unencodable if this form cannot represent it."""
        ...

    def reply(self, reply: Reply) -> bytes | None:
        """Return the WebSocket frame of a notice for all members; None if the dialect has no such notice."""
        ...


class Member(Protocol):
    """One client as the hub sees it."""

    id: str
    # Every audience of this member. A tuple, because most members are in one or two and an empty set costs 216 B.
    audiences: tuple[Audience, ...]
    # Writes bytes to the socket. A truthy result means that nothing was written because older data waits: call
    # `enqueue` instead.
    send: Callable[[bytes], object]

    def enqueue(self, chunk: Chunk) -> Enqueued:
        """Queue `chunk` until the client reads again, within the queue's bounds and by the channel's policy.

        Called after `send` has refused the data, before the loop runs again. If the socket has become writable in the
        meantime, the chunk is written.
        """
        ...

    def apply_backpressure(self, senders: Collection[str]) -> None:
        """Pause reading from `senders` for a moment if this client's socket has not taken all its data."""
        ...

    def notify(self, reply: Reply) -> None:
        """Send this client an unsolicited message (such as a gap) in its dialect."""
        ...

    def cut_off(self, channel: str) -> None:
        """Close this client as a slow consumer of `channel` (spec 6: 1013)."""
        ...


class Receipt(Protocol):
    """Gets the result of one publication: exactly one of `done` and `refused` is called, once."""

    def kept(self, position: Position) -> None:
        """History keeps the publication at `position`. Called before `done`, if at all."""
        ...

    def done(self, sent: int, failed: int) -> None:
        """The publication was handed to `sent` subscribers; the queues of `failed` subscribers refused it."""
        ...

    def refused(self, error: FastWSError) -> None:
        """The publication was not published at all."""
        ...


class Broker(Protocol):
    """Distributes publications to every process that has subscribers (brokers/memory.py: only this process)."""

    @property
    def receives_everything(self) -> bool:
        """Whether publications of every channel arrive here without `listen`."""
        ...

    def publish(self, publication: Publication, receipt: Receipt | None = None, message_id: str | None = None) -> None:
        """Publish. Returns immediately and never raises; `receipt` gets the result.

        With `message_id` it may be Repeated, if a message with this id was published by any process before.
        """
        ...

    def listen(
        self, channel: str, ready: Callable[[], None], refused: Callable[[FastWSError], None] | None = None
    ) -> None:
        """Start receiving `channel` for its first local subscriber; call `ready` once its publications arrive here.

        If this server is not allowed to receive the channel, call `refused` instead, or `ready` if `refused` is None.
        """
        ...

    def refusal(self, channel: str) -> FastWSError | None:
        """Return why `channel` cannot be received at the moment; None if it can. It may have subscribers."""
        ...

    def unlisten(self, channel: str) -> None:
        """Stop receiving `channel`: its last local subscriber has left."""
        ...


class History(Protocol):
    """Numbers and keeps the publications of some channels, so that subscribers can catch up on what they missed.

    What is passed to `answer` is complete at that moment: every publication up to its position has been delivered to
    the hub, and everything that is delivered later is newer.
    """

    def keeps(self, channel: str) -> bool:
        """Whether `channel` has a history."""
        ...

    def heard(self, channel: str) -> Position | None:
        """Return the position up to which this process has heard `channel`; None if it has no history."""
        ...

    async def tops(self, channels: Sequence[str]) -> list[int | None]:
        """Return the last offset of each of `channels`; None for one without history. Raises BrokerUnavailable."""
        ...

    async def channels(self) -> list[str]:
        """Return the names of the channels with a numbering."""
        ...

    def recover(
        self,
        channel: str,
        past: Past,
        answer: Callable[[Recovery | FastWSError], None],
        late: Callable[[Position], None],
    ) -> None:
        """Call `answer` with what a subscriber of `channel` gets of its past, now or later.

        While the history cannot be read, the answer has no position. Then `late` is called with it later.
        """
        ...

    def page(
        self,
        channel: str,
        position: Position | None,
        limit: int,
        *,
        is_reverse: bool,
        answer: Callable[[Page | FastWSError], None],
    ) -> None:
        """Call `answer` with at most `limit` publications: from the oldest, or those after `position`.

        In reverse from the newest, or those before `position`. The answer is Unrecoverable for a position that is gone
        and BadRequest for a channel without history.
        """
        ...

    def clear(self, channel: str, answer: Callable[[Position | FastWSError], None]) -> None:
        """Forget the publications of `channel` and begin a new numbering. Call `answer` with its position."""
        ...


class Presence(Protocol):
    """Knows the members of some channels, sends updates to their subscribers, and answers questions."""

    @property
    def members(self) -> int:
        """Number of connections of this process in channels with presence."""
        ...

    def joined(self, connection_id: str, channel: str) -> None:
        """The connection has become a subscriber of `channel`."""
        ...

    def left(self, connection_id: str, channel: str) -> None:
        """The connection is no longer a subscriber of `channel`."""
        ...

    def shows(self, channel: str) -> bool:
        """Whether `channel` has presence."""
        ...

    def page(
        self, channel: str, limit: int, cursor: str | None, answer: Callable[[PresencePage | FastWSError], None]
    ) -> None:
        """Call `answer` with the figures of `channel` and up to `limit` members after `cursor`, now or later.

        With `limit` 0 only with the figures. The answer is BadRequest for a channel without presence.
        """
        ...


class Members(Protocol):
    """Knows the users in channels whose members are users, on all processes."""

    def open(self, channel: str, answer: Callable[[FastWSError | None], None]) -> None:
        """Call `answer` when the members of `channel` are known, or with BrokerUnavailable, now or later."""
        ...

    def enter(self, connection_id: str, channel: str, membership: Membership) -> None:
        """The connection is about to become a subscriber of `channel`, which is open: tell the other members.

        Raises TooManyMembers, and BrokerUnavailable if the members are not known.
        """
        ...

    def of(self, channel: str) -> list[ChannelMember]:
        """Return the users in `channel`, if a connection of this process is in it."""
        ...


class Reports(Protocol):
    """Gets what the application wants to know of channels whose members are users."""

    def member_entered(self, connection_id: str, channel: str, user: str) -> None: ...
    def member_left(self, connection_id: str, channel: str) -> None: ...
    def client_event(self, publication: Publication) -> None:
        """A client has published this to the others."""
        ...

    def cache_miss(self, channel: str) -> None:
        """A client has subscribed to a channel that remembers its last event, and has none."""
        ...

    def subscription_count(self, channel: str, count: int) -> None:
        """The subscribers of a channel got this number of subscribers on all processes."""
        ...


class Deliverer(Protocol):
    """The hub as a broker sees it. Every publication enters the hub through `deliver`."""

    def deliver(self, publication: Publication, receipt: Receipt | None = None) -> None:
        """Hand `publication` to the local subscribers of its channel; `receipt` gets their number."""
        ...

    def gap(self, channel: str, position: Position | None = None) -> None:
        """Notify the subscribers of `channel`, before any newer publication, that they may have missed some.

        The next publication has the offset after `position`, if the channel has a history.
        """
        ...

    def fail(self, channel: str, error: FastWSError) -> None:
        """Notify the subscribers of `channel` that they get no publications at the moment, because of `error`."""
        ...

    def count(self, channel: str) -> int:
        """Number of local subscribers of `channel`."""
        ...
