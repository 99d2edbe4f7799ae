"""What a client asks for, after its dialect was understood."""

from __future__ import annotations

from collections.abc import Callable

from fastws.errors import FastWSError
from fastws.vocabulary.filters import Filter
from fastws.vocabulary.values import fast_dataclass


@fast_dataclass
class Subscribe:
    channel: str


@fast_dataclass
class Unsubscribe:
    channel: str


@fast_dataclass
class Send:
    """Publish to a channel. `key` is for the conflate policy, `type` for rooms clients."""

    channel: str
    event: str
    data: object = None
    exclude_self: bool = False
    type: str | None = None
    key: str | None = None


@fast_dataclass
class SendDirect:
    """Send to one connection."""

    connection_id: str
    event: str
    data: object = None


@fast_dataclass
class Ping:
    pass


@fast_dataclass
class Refresh:
    """A new token for the same user."""

    token: str


@fast_dataclass
class ChangeFilter:
    """Narrow or widen what is heard on the client's home channel: `change` maps the filter in force to the new one.

    None is the filter that lets everything through.
    """

    change: Callable[[Filter | None], Filter | None]
    subscribed: bool = True


@fast_dataclass
class RequestMetrics:
    metric_type: str


@fast_dataclass
class Echo:
    """Send `payload` back as it came, in a frame of the same `opcode` (conformance runs)."""

    opcode: int
    payload: bytes


Command = Subscribe | Unsubscribe | Send | SendDirect | Ping | Refresh | ChangeFilter | RequestMetrics | Echo
# What a client calls a request; its reply carries the same `id`. None: it gave none.
RequestId = str | int | None
# A request whose command is an error could not be understood: the error is its answer.
Request = tuple[RequestId, Command | FastWSError]
