"""Commands: requests of clients, independent of their dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from fastws.errors import FastWSError
from fastws.vocabulary.filters import Filter
from fastws.vocabulary.positions import Past, Position
from fastws.vocabulary.presence import Membership
from fastws.vocabulary.values import fast_dataclass


@fast_dataclass
class Subscribe:
    """Join a channel. `past` is what the client wants of its history: None for nothing.

    With `is_allowed` the dialect itself has checked that the client may. `member` is as whom it joins. With
    `cached_seconds` the client gets the last event of the channel, or a notice if there is none of these last seconds.
    """

    channel: str
    past: Past = None
    is_allowed: bool = False
    member: Membership | None = None
    cached_seconds: float | None = None


@fast_dataclass
class Unsubscribe:
    channel: str


@fast_dataclass
class Send:
    """Publish to a channel. The conflate policy uses `key`; rooms clients receive `type`."""

    channel: str
    event: str
    data: object = None
    exclude_self: bool = False
    type: str | None = None
    key: str | None = None
    is_ephemeral: bool = False


@fast_dataclass
class SendDirect:
    """Send a message to one connection."""

    connection_id: str
    event: str
    data: object = None


@fast_dataclass
class Relay:
    """Publish to the other subscribers of a channel. The dialect itself has checked that the client may.

    There is no reply, unless the broker refuses it. `attributes` are those of the publication.
    """

    channel: str
    event: str
    data: object
    attributes: Mapping[str, object]


@fast_dataclass
class SignIn:
    """The dialect has verified that the client is `user` of `realm`. `message` is the reply."""

    realm: str
    user: str
    message: Mapping[str, object]


@fast_dataclass
class Answer:
    """Send `message`, which the dialect has made."""

    message: Mapping[str, object]


class Requester(Protocol):
    """The connection whose request a dialect decides."""

    @property
    def id(self) -> str:
        """The connection id."""
        ...

    @property
    def state(self) -> object:
        """The starting channels that `Dialect.admit` has returned for this connection."""
        ...

    @property
    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def is_subscribed(self, channel: str) -> bool:
        """Whether the client is a subscriber of `channel`."""
        ...


@fast_dataclass
class Decide:
    """A request that depends on the connection: `decide` returns what to do, or None for nothing.

    It may raise any FastWSError, and Dismissed to close the connection.
    """

    decide: Callable[[Requester], Command | None]


@fast_dataclass
class ReadHistory:
    """Read the past of a channel: `limit` publications from the oldest, or after `position`; in reverse before it."""

    channel: str
    limit: int
    position: Position | None = None
    is_reverse: bool = False


@fast_dataclass
class ReadPresence:
    """Ask for the members of a channel: up to `limit` with connection ids after `cursor`."""

    channel: str
    limit: int
    cursor: str | None = None


@fast_dataclass
class Ping:
    pass


@fast_dataclass
class Refresh:
    """Replace the token of the connection with a new one of the same user."""

    token: str


@fast_dataclass
class ChangeFilter:
    """Change the filter on the client's home channel: `change` maps the current filter to the new one.

    None stands for no filter: all publications are delivered. `subscribed` tells whether the client asked to
    subscribe or to unsubscribe.
    """

    change: Callable[[Filter | None], Filter | None]
    subscribed: bool = True


@fast_dataclass
class RequestMetrics:
    metric_type: str


@fast_dataclass
class Echo:
    """Send `payload` back unchanged in a frame of the same `opcode` (for conformance tests)."""

    opcode: int
    payload: bytes


Command = (
    Subscribe
    | Unsubscribe
    | Send
    | SendDirect
    | Relay
    | SignIn
    | Answer
    | Decide
    | ReadHistory
    | ReadPresence
    | Ping
    | Refresh
    | ChangeFilter
    | RequestMetrics
    | Echo
)
# The `id` that a client gives a request and receives in the reply. None: the request has no id.
RequestId = str | int | None
# An invalid request has an error instead of a command; the error is the reply.
Request = tuple[RequestId, Command | FastWSError]
