"""What a client asks for, after its dialect was understood."""

from __future__ import annotations

from collections.abc import Callable

from fastws.vocabulary.fast_dataclass import frozen
from fastws.vocabulary.filters import Filter


@frozen
class Subscribe:
    channel: str


@frozen
class Unsubscribe:
    channel: str


@frozen
class Send:
    """Publish to a channel. `key` is for the conflate policy, `type` for rooms clients."""

    channel: str
    event: str
    data: object = None
    exclude_self: bool = False
    type: str | None = None
    key: str | None = None


@frozen
class SendDirect:
    """Send to one connection."""

    connection_id: str
    event: str
    data: object = None


@frozen
class Ping:
    pass


@frozen
class Refresh:
    """A new token for the same user."""

    token: str


@frozen
class ChangeFilter:
    """Narrow or widen what is heard on the client's home channel: `change` maps the filter in force to the new one.

    None is the filter that lets everything through.
    """

    change: Callable[[Filter | None], Filter | None]
    subscribed: bool = True


@frozen
class RequestMetrics:
    metric_type: str


Command = Subscribe | Unsubscribe | Send | SendDirect | Ping | Refresh | ChangeFilter | RequestMetrics
