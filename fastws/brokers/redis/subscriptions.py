"""The channels that this process is subscribed to in Redis, with waiting subscribers and pending gap notices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastws.brokers.redis.channels import Form, RedisNames
from fastws.brokers.redis.history import RedisHistory
from fastws.brokers.redis.node import RedisNode
from fastws.brokers.redis.topology.port import Topology
from fastws.brokers.redis.wire.listener import Names
from fastws.errors import BrokerUnavailable
from fastws.hub.ports import Deliverer

# Channels that stay subscribed without subscribers, so that clients cannot make a process keep any number of them.
MAX_LINGERING: Final = 10_000

Ready = Callable[[], None]
Refused = Callable[[BrokerUnavailable], None]


class _Subscription:
    __slots__ = ("channel", "has_gap", "is_confirmed", "names", "node", "refusal", "waiting")

    def __init__(self, channel: str, names: Names, node: RedisNode) -> None:
        self.channel = channel
        self.node = node
        self.names = names
        self.is_confirmed = False
        # Publications may have been missed: subscribers get a gap notice after the next confirmation.
        self.has_gap = False
        # Set while the ACL of Redis forbids the channel.
        self.refusal: BrokerUnavailable | None = None
        # A list only while somebody waits.
        self.waiting: list[tuple[Ready, Refused | None]] | None = None

    def answer(self, error: BrokerUnavailable | None = None) -> None:
        """Answer all waiting subscribers, in order.

        Each counts as waiting until its turn: a client that has disconnected meanwhile leaves the channel in its turn,
        and the channel must be kept for the clients after it.
        """
        waiting = self.waiting
        if waiting is None:
            return
        waiting.reverse()
        while waiting:
            ready, refused = waiting.pop()
            if error is None:
                ready()
            else:
                self.refuse(error, ready, refused)
        self.waiting = None

    def wait(self, ready: Ready, refused: Refused | None) -> None:
        if self.waiting is None:
            self.waiting = []
        self.waiting.append((ready, refused))

    def refuse(self, error: BrokerUnavailable, ready: Ready, refused: Refused | None) -> None:
        """Refuse a subscriber. Without a `refused` callback it is accepted nevertheless and gets a gap notice later."""
        self.has_gap = True
        if refused is None:
            ready()
        else:
            refused(error)


class RedisSubscriptions:
    """Keeps a Redis subscription for each channel with local subscribers, and for a while after the last has left."""

    def __init__(
        self,
        deliverer: Deliverer,
        names: RedisNames,
        topology: Topology,
        linger_seconds: float,
    ) -> None:
        # Channel, form and, if it has one, history by Redis channel.
        self.routes: dict[bytes, tuple[str, Form, RedisHistory | None]] = {}
        self._deliverer = deliverer
        self._names = names
        self._node_of = topology.node_of
        self._other_feed_nodes = topology.other_feed_nodes
        # Feeds whose plain publishers may have been missed on a node that is not their own.
        self._missed: set[tuple[RedisNode, str]] = set()
        self._linger_seconds = linger_seconds
        self._subscriptions: dict[str, _Subscription] = {}
        # Channels without local subscribers and the times at which they are dropped, in the order of these times.
        self._lingering: dict[str, float] = {}
        # The same for channels that this process has to receive longer, because of their history. In any order.
        self._heard_until: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._subscriptions)

    def listen(self, channel: str, ready: Ready, refused: Refused | None = None) -> None:
        """Call `ready` when Redis has confirmed `channel`. While Redis is unavailable, call it at once; a gap notice
        follows later. If the ACL of Redis forbids the channel, call `refused` instead.
        """
        self._lingering.pop(channel, None)
        self._heard_until.pop(channel, None)
        subscription = self._subscriptions.get(channel)
        if subscription is None:
            subscription = self._subscribe(channel)
        if not subscription.node.listener.is_up:
            subscription.has_gap = True
            ready()
        elif subscription.is_confirmed:
            ready()
        elif subscription.refusal is not None:
            subscription.refuse(subscription.refusal, ready, refused)
        else:
            subscription.wait(ready, refused)

    def unlisten(self, channel: str, now: float) -> None:
        """The last local subscriber of `channel` has left. It stays subscribed for a while: clients often return."""
        subscription = self._subscriptions.get(channel)
        if subscription is None or subscription.waiting:
            return
        self._lingering.pop(channel, None)
        history = subscription.node.history
        seconds = 0.0 if history is None else history.plain.listen_seconds(channel)
        if len(self._lingering) + len(self._heard_until) >= MAX_LINGERING:
            self._forget(channel)
        elif seconds > self._linger_seconds:
            self._heard_until[channel] = now + seconds
        else:
            self._lingering[channel] = now + self._linger_seconds

    def is_confirmed(self, channel: str) -> bool:
        """Whether a publication on `channel` will come back to this process."""
        subscription = self._subscriptions.get(channel)
        return subscription is not None and subscription.is_confirmed

    def may_receive(self, channel: str) -> bool:
        """Whether a publication may come back: the channel is confirmed, or being subscribed again after a loss."""
        subscription = self._subscriptions.get(channel)
        if subscription is None:
            return False
        is_pending = subscription.has_gap and subscription.refusal is None and subscription.node.listener.is_up
        return subscription.is_confirmed or is_pending

    def refusal(self, channel: str) -> BrokerUnavailable | None:
        """The error for new subscribers of `channel` if the ACL of Redis forbids it, else None."""
        subscription = self._subscriptions.get(channel)
        return None if subscription is None else subscription.refusal

    def refused(self, names: Names) -> None:
        """The ACL forbids one of `names`: refuse waiting subscribers, notify present subscribers once."""
        route = self.routes.get(names[0])
        subscription = None if route is None else self._subscriptions.get(route[0])
        if subscription is None:
            return
        channel = subscription.channel
        is_new = subscription.refusal is None
        subscription.refusal = error = BrokerUnavailable(
            "Redis does not allow this server to subscribe to this channel", channel=channel
        )
        subscription.is_confirmed = False
        subscription.has_gap = True
        if is_new and self._deliverer.count(channel):
            self._deliverer.fail(channel, error)
        subscription.answer(error)

    def confirmed(self, node: RedisNode, name: bytes) -> None:
        """`node` has confirmed `name`. The gap notice comes first, because new subscribers have missed nothing."""
        route = self.routes.get(name)
        subscription = None if route is None else self._subscriptions.get(route[0])
        if subscription is None or name != subscription.names[-1]:
            return
        if node is not subscription.node:
            self._confirmed_elsewhere(node, subscription)
            return
        subscription.is_confirmed = True
        subscription.refusal = None
        node.refusals.accepted(subscription.names)
        node.listener.accepted(subscription.names)
        if subscription.has_gap:
            subscription.has_gap = False
            if node.history is not None and node.history.keeps(subscription.channel):
                node.history.confirmed(subscription.channel)
            else:
                self._deliverer.gap(subscription.channel)
        subscription.answer()

    def _confirmed_elsewhere(self, node: RedisNode, subscription: _Subscription) -> None:
        """A node that is not that of the feed has confirmed it."""
        names = subscription.names[-1:]
        node.refusals.accepted(names)
        node.listener.accepted(names)
        if (node, subscription.channel) in self._missed:
            self._missed.discard((node, subscription.channel))
            if subscription.is_confirmed:
                self._deliverer.gap(subscription.channel)

    def lost(self, node: RedisNode) -> None:
        """`node` is lost: accept waiting subscribers and mark its channels for a gap notice."""
        self._sweep_lingering(float("inf"))
        for subscription in list(self._subscriptions.values()):
            if subscription.node is not node:
                if len(subscription.names) > 1 and node in self._other_feed_nodes(subscription.channel):
                    self._missed.add((node, subscription.channel))
                continue
            subscription.is_confirmed = False
            subscription.has_gap = True
            subscription.refusal = None
            subscription.answer()

    def ended(self, node: RedisNode, names: Names) -> None:
        """`node` has ended the subscription to `names`: publications may be missed until it is made again."""
        route = self.routes.get(names[0])
        subscription = None if route is None else self._subscriptions.get(route[0])
        if subscription is None or subscription.node is not node:
            return
        subscription.is_confirmed = False
        subscription.has_gap = True
        if node.history is not None:
            node.history.ended(subscription.channel)

    def moved(self) -> None:
        """Channels may belong to other nodes than before: subscribe to those that do on their new node.

        Present subscribers get a gap notice, or what history has, when that has confirmed.
        """
        for subscription in list(self._subscriptions.values()):
            old, new = subscription.node, self._node_of(subscription.channel)
            if new is old:
                continue
            self._leave(subscription)
            if old.history is not None and old.history is not new.history:
                if new.history is None:
                    old.history.forget(subscription.channel)
                else:
                    new.history.take_over(subscription.channel, old.history)
            subscription.node = new
            subscription.is_confirmed = False
            subscription.has_gap = True
            subscription.refusal = None
            self._join(subscription)
            if not new.listener.is_up:
                subscription.answer()

    def sweep(self, now: float) -> None:
        """Unsubscribe the channels that have lingered long enough."""
        for channel in [channel for channel, until in self._heard_until.items() if until <= now]:
            del self._heard_until[channel]
            if not self._deliverer.count(channel):
                self._forget(channel)
        self._sweep_lingering(now)

    def _sweep_lingering(self, now: float) -> None:
        for channel, until in list(self._lingering.items()):
            if until > now:
                return
            if self._deliverer.count(channel):
                del self._lingering[channel]
            else:
                self._forget(channel)

    def _subscribe(self, channel: str) -> _Subscription:
        redis_channels = self._names.redis_channels(channel)
        names = tuple(redis_channel.name for redis_channel in redis_channels)
        subscription = self._subscriptions[channel] = _Subscription(channel, names, self._node_of(channel))
        self._join(subscription)
        return subscription

    def _join(self, subscription: _Subscription) -> None:
        """Subscribe on the node of the channel."""
        channel, node = subscription.channel, subscription.node
        history = node.history if node.history is not None and node.history.keeps(channel) else None
        for redis_channel in self._names.redis_channels(channel):
            self.routes[redis_channel.name] = (channel, redis_channel.form, history)
        node.listener.want(subscription.names)
        if len(subscription.names) > 1:
            for other in self._other_feed_nodes(channel):
                if not other.listener.is_up:
                    self._missed.add((other, channel))
                other.listener.want(subscription.names[-1:])

    def _leave(self, subscription: _Subscription) -> None:
        """Unsubscribe on the node of the channel."""
        subscription.node.refusals.forget(subscription.names)
        subscription.node.listener.drop(subscription.names)
        if len(subscription.names) > 1:
            for other in self._other_feed_nodes(subscription.channel):
                self._missed.discard((other, subscription.channel))
                other.refusals.forget(subscription.names[-1:])
                other.listener.drop(subscription.names[-1:])

    def _forget(self, channel: str) -> None:
        self._lingering.pop(channel, None)
        self._heard_until.pop(channel, None)
        subscription = self._subscriptions.pop(channel)
        for name in subscription.names:
            self.routes.pop(name, None)
        if subscription.node.history is not None:
            subscription.node.history.forget(channel)
        self._leave(subscription)
