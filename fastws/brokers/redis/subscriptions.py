"""Which channels this process hears through Redis, who waits for one, and where something may have been missed."""

from __future__ import annotations

from collections.abc import Callable

from fastws.brokers.redis.channels import Form, RedisNames
from fastws.brokers.redis.wire.listener import Names, RedisListener
from fastws.hub.ports import Deliverer

Ready = Callable[[], None]


class _Subscription:
    __slots__ = ("channel", "has_gap", "is_confirmed", "names", "waiting")

    def __init__(self, channel: str, names: Names) -> None:
        self.channel = channel
        self.names = names
        self.is_confirmed = False
        # Something may have been missed: the subscribers are told as soon as the channel is heard again.
        self.has_gap = False
        self.waiting: list[Ready] = []


class RedisSubscriptions:
    """The channels that Redis is asked for: those with local subscribers, and for a while those that had some."""

    def __init__(self, deliverer: Deliverer, names: RedisNames, listener: RedisListener, linger_seconds: float) -> None:
        # By Redis channel: the channel it carries, and in which form.
        self.routes: dict[bytes, tuple[str, Form]] = {}
        self._deliverer = deliverer
        self._names = names
        self._listener = listener
        self._linger_seconds = linger_seconds
        self._subscriptions: dict[str, _Subscription] = {}
        # Channels without local subscribers, and until when they are kept; in the order of their ends.
        self._lingering: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._subscriptions)

    def listen(self, channel: str, ready: Ready) -> None:
        """Call `ready` once Redis has confirmed `channel`; at once while Redis is away, a gap notice then follows."""
        self._lingering.pop(channel, None)
        subscription = self._subscriptions.get(channel)
        if subscription is None:
            subscription = self._subscribe(channel)
        if not self._listener.is_up:
            subscription.has_gap = True
            ready()
        elif subscription.is_confirmed:
            ready()
        else:
            subscription.waiting.append(ready)

    def unlisten(self, channel: str, now: float) -> None:
        """Nobody here needs `channel` any more; it is kept for a while, against churn."""
        subscription = self._subscriptions.get(channel)
        if subscription is None or subscription.waiting:
            return
        self._lingering.pop(channel, None)
        self._lingering[channel] = now + self._linger_seconds

    def hears(self, channel: str) -> bool:
        """Whether what is published on `channel` now will come back to this process."""
        subscription = self._subscriptions.get(channel)
        return subscription is not None and subscription.is_confirmed

    def confirmed(self, name: bytes) -> None:
        """Redis has confirmed `name`. First the gap notice, then whoever waited: newcomers missed nothing."""
        route = self.routes.get(name)
        subscription = None if route is None else self._subscriptions.get(route[0])
        if subscription is None or name != subscription.names[-1]:
            return
        subscription.is_confirmed = True
        if subscription.has_gap:
            subscription.has_gap = False
            self._deliverer.gap(subscription.channel)
        waiting, subscription.waiting = subscription.waiting, []
        for ready in waiting:
            ready()

    def lost(self) -> None:
        """The connection is gone: whatever is heard again after it has a gap, and nobody is kept waiting."""
        self.sweep(float("inf"))
        for subscription in list(self._subscriptions.values()):
            subscription.is_confirmed = False
            subscription.has_gap = True
            waiting, subscription.waiting = subscription.waiting, []
            for ready in waiting:
                ready()

    def sweep(self, now: float) -> None:
        """Let go of what has lingered long enough."""
        for channel, until in list(self._lingering.items()):
            if until > now:
                return
            if self._deliverer.count(channel):
                del self._lingering[channel]
            else:
                self._forget(channel)

    def _subscribe(self, channel: str) -> _Subscription:
        redis_channels = self._names.redis_channels(channel)
        subscription = _Subscription(channel, tuple(redis_channel.name for redis_channel in redis_channels))
        self._subscriptions[channel] = subscription
        for redis_channel in redis_channels:
            self.routes[redis_channel.name] = (channel, redis_channel.form)
        self._listener.want(subscription.names)
        return subscription

    def _forget(self, channel: str) -> None:
        self._lingering.pop(channel, None)
        subscription = self._subscriptions.pop(channel)
        for name in subscription.names:
            self.routes.pop(name, None)
        self._listener.drop(subscription.names)
