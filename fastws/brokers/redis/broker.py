"""The broker for many processes: every publication goes through Redis, also to the subscribers of its own process."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final

import structlog

from fastws.brokers.envelope import encode_body, encode_rest, is_numbered
from fastws.brokers.history import HistoryRule, HistoryRules
from fastws.brokers.last_metrics import METRICS_UPDATE, is_kept
from fastws.brokers.redis.acl import channel_rule
from fastws.brokers.redis.channels import Form, RedisNames
from fastws.brokers.redis.history import RedisHistory
from fastws.brokers.redis.last_metrics import RedisMetrics
from fastws.brokers.redis.monitor import RedisMonitor
from fastws.brokers.redis.node import NodeOptions, RedisNode
from fastws.brokers.redis.node_histories import NodeHistories
from fastws.brokers.redis.once import Once, publish_once
from fastws.brokers.redis.plain_notes import is_note
from fastws.brokers.redis.receipts import RedisReceipts
from fastws.brokers.redis.refusals import RedisRefusals
from fastws.brokers.redis.services import RedisServices, Service
from fastws.brokers.redis.several_histories import history_of
from fastws.brokers.redis.subscriptions import RedisSubscriptions, Refused
from fastws.brokers.redis.topology.from_settings import topology_of
from fastws.brokers.redis.topology.port import MakeNode, Topology
from fastws.brokers.redis.wire.commander import RedisCommander
from fastws.brokers.redis.wire.listener import Names, RedisListener
from fastws.brokers.redis.wire.resp import refusal_text
from fastws.brokers.redis.wire.timeouts import DEFAULT_TIMEOUTS, RedisTimeouts
from fastws.config import Config
from fastws.counters import Counters
from fastws.errors import BrokerUnavailable, FastWSError
from fastws.hub.ports import Deliverer, Receipt
from fastws.hub.publication_log import LoggedReceipt
from fastws.logs import LogLevel
from fastws.redis_address import RedisAddress
from fastws.throttled_log import ThrottledLog
from fastws.vocabulary.connection_ids import new_node_id
from fastws.vocabulary.publication import Publication

if TYPE_CHECKING:
    from fastws.brokers.redis.topology.cluster_node import Cluster

# How long `start` waits for Redis before it returns without it.
START_SECONDS: Final = 1.0
# A rejected message may be quoted in the log up to this length.
MAX_REASON_LENGTH: Final = 200

_log = structlog.get_logger("fastws.redis")


class RedisBroker:
    """A Broker over Redis.

    Local subscribers get only what comes back from Redis, so that the order is the same in every process. While Redis
    is unavailable, subscriptions are accepted, publications are refused within 2 s, and every channel that was or
    became subscribed gets one gap notice before anything newer. Raises ConfigError for an invalid `redis_url`.
    """

    def __init__(
        self,
        deliverer: Deliverer,
        config: Config,
        *,
        node_id: str | None = None,
        counters: Counters | None = None,
        log_level: LogLevel | None = None,
        timeouts: RedisTimeouts = DEFAULT_TIMEOUTS,
        rules: HistoryRules | None = None,
        make_topology: Callable[[Config, MakeNode], Topology] = topology_of,
    ) -> None:
        self.node_id = node_id or new_node_id()
        self.names = RedisNames(config)
        self.timeouts = timeouts
        self.counters = counters or Counters()
        self._config = config
        self._log_level = log_level or LogLevel("info")
        self._rules = rules or HistoryRules()
        # Set by the registry, which knows the other nodes.
        self.remote_count: Callable[[str], int] = _no_remote_subscribers
        self._deliverer = deliverer
        self._services = RedisServices(self._reject_service)
        self._number = 0
        self._rejections = ThrottledLog(_log)
        self.topology = make_topology(config, self._make_node)
        self.subscriptions = RedisSubscriptions(deliverer, self.names, self.topology, timeouts.linger_seconds)
        self.receipts = RedisReceipts(deliverer.count, lambda channel: self.remote_count(channel), self.counters)
        self.history = history_of(self.topology)
        self._metrics = RedisMetrics(lambda channel: self.topology.node_of(channel).commander, self.names)

    def _make_node(self, address: RedisAddress, word: str, cluster: Cluster | None = None) -> RedisNode:
        """Make a node that is not started. `word` tells its probe from those of the other nodes of this process."""
        remedy = channel_rule(self._config, address.username or "default")
        options = NodeOptions(f"fastws-{self.node_id}", self.timeouts, self.counters.broker_lag.observe, remedy)
        probe_name = self.names.service("probe", self.node_id, *([word] if word else []))
        if cluster is None:
            node = RedisNode(address, probe_name, self, options)
        else:
            from fastws.brokers.redis.topology.cluster_node import ClusterNode  # others do without its memory

            node = ClusterNode(address, probe_name, self, options, cluster, is_home=not word)
        self._services.add(probe_name, Service(node.monitor.received, node.monitor.subscribed, node))
        if self._rules:
            node.history = self._histories.make(node)
        return node

    @cached_property
    def _histories(self) -> NodeHistories:
        return NodeHistories(
            *(self._deliverer, self._config, self.names, self._rules, self.counters),
            node_id=self.node_id,
            node_of=lambda channel: self.topology.node_of(channel),
            is_confirmed=lambda channel: self.subscriptions.is_confirmed(channel),
            echoed=self._echoed,
        )

    # --- what belongs to no channel

    @property
    def commander(self) -> RedisCommander:
        """The commander of the node that holds the data of the cluster."""
        return self.topology.home.commander

    @property
    def listener(self) -> RedisListener:
        return self.topology.home.listener

    @property
    def refusals(self) -> RedisRefusals:
        return self.topology.home.refusals

    @property
    def monitor(self) -> RedisMonitor:
        return self.topology.home.monitor

    @property
    def is_up(self) -> bool:
        """Whether messages pass through Redis, through one of several servers at least.

        A message to this process itself did in the last 3 seconds.
        """
        return any(node.is_up for node in self.topology.channel_nodes)

    @property
    def nodes(self) -> Sequence[RedisNode]:
        """All Redis servers of this installation that hold channels."""
        return self.topology.channel_nodes

    async def start(self) -> None:
        """Connect. Returns when messages pass through Redis, or after 1 s; it then continues to try."""
        await self.topology.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                await self.topology.wait_until_known()
                for node in self.topology.nodes:
                    await node.monitor.first_received.wait()

    async def stop(self) -> None:
        """Disconnect. Publications without an outcome are refused."""
        await self.topology.stop()
        self.receipts.refuse_all()

    def publish(self, publication: Publication, receipt: Receipt | None = None, message_id: str | None = None) -> None:
        """PUBLISH together with all others of this loop iteration. `receipt` gets the outcome within 2 s."""
        channel = publication.channel
        if publication.event == METRICS_UPDATE and is_kept(publication, self.names.workspaces):
            self._metrics.note(publication)
        node = self.topology.node_of(channel)
        history = node.history
        rule = None if history is None or publication.is_ephemeral else history.rule(channel)
        self._number = number = self._number + 1
        if receipt is not None:
            self.receipts.expect(number, receipt, channel, awaits_echo=self.subscriptions.may_receive(channel))
        try:
            if history is not None and rule is not None:
                self._publish_kept(history, rule, publication, number, message_id)
            else:
                if history is not None:
                    history.publisher.send_gathered(channel)
                redis_channel = self.names.redis_channels(channel)[-1]
                payload = redis_channel.form.encode(publication, self.node_id, number)
                published = partial(self._published, number)
                if message_id is None:
                    node.commander.publish(redis_channel.name, payload, published)
                else:
                    once = self.once_at(message_id, self.names.live(channel))
                    publish_once(node.commander, once, redis_channel.name, payload, published)
        except FastWSError as error:
            self.receipts.refused(number, error)

    def once_at(self, message_id: str, receiver: bytes) -> Once:
        """Return where Redis notes that this process has published a message on the Redis channel `receiver`."""
        return Once(self.names.message(message_id, receiver), b"!" + self.node_id.encode())

    def _publish_kept(
        self, history: RedisHistory, rule: HistoryRule, publication: Publication, number: int, message_id: str | None
    ) -> None:
        """Publish on a channel with a history; on a feed also in its format. Raises FastWSError."""
        redis_channels = self.names.redis_channels(publication.channel)
        on_feed = None
        if len(redis_channels) > 1:
            name, form = redis_channels[-1]
            on_feed = name, form.encode(publication, self.node_id, number, comes_numbered=True)
            publication = form.decode(on_feed[1], publication.channel).publication
        rest = encode_rest(publication, self.node_id, number)
        once = None if message_id is None else self.once_at(message_id, self.names.live(publication.channel))
        numbered = partial(self.receipts.numbered, number)
        history.publisher.publish(publication.channel, rule, rest, numbered, on_feed, once)

    @property
    def receives_everything(self) -> bool:
        return False

    def listen(self, channel: str, ready: Callable[[], None], refused: Refused | None = None) -> None:
        self.subscriptions.listen(channel, ready, refused)

    def refusal(self, channel: str) -> BrokerUnavailable | None:
        return self.subscriptions.refusal(channel)

    def unlisten(self, channel: str) -> None:
        self.subscriptions.unlisten(channel, asyncio.get_running_loop().time())

    def find_metrics(self, channel: str, metric_type: str, answer: Callable[[object], None]) -> None:
        """Call `answer` with the data of the last `metrics_update` of that type on `channel`, {} if there is none."""
        self._metrics.find(channel, metric_type, answer)

    def serve(
        self,
        name: bytes,
        receive: Callable[[bytes], None],
        subscribed: Callable[[], None],
        channel: str | None = None,
    ) -> None:
        """Subscribe to the internal Redis channel `name`, on the node of `channel` if that is given.

        `subscribed` is called after each (re)subscription.
        """
        # In a cluster, the home node leaves it to the owner of its slot, also after that has changed.
        is_home = channel is None or self.names.is_cluster
        node = self.topology.home if is_home else self.topology.node_of(channel or "")
        self._services.add(name, Service(receive, subscribed, node))

    def is_served(self, name: bytes) -> bool:
        """Whether messages on the internal Redis channel `name` arrive now."""
        return self._services.is_confirmed(name)

    def unserve(self, name: bytes) -> None:
        """Unsubscribe from the internal Redis channel `name`."""
        self._services.remove(name)

    def _reject(self, kind: str, reason: str) -> None:
        """Log a rejected message. The reason is cut because it may quote what another client published."""
        self._rejections.warning("message from redis rejected", kind=kind, reason=reason[:MAX_REASON_LENGTH])

    def _published(self, number: int, reply: object) -> None:
        if isinstance(reply, int):
            self.receipts.answered(number, asyncio.get_running_loop().time())
            return
        if not isinstance(reply, FastWSError):
            self._reject("publish", str(reply))
            reply = BrokerUnavailable(refusal_text(reply), cause=str(reply))
        self.receipts.failed(number, reply)

    def received(self, name: bytes, payload: bytes) -> None:
        """Pass one message from Redis to the hub or to the service of its channel. Never raises."""
        route = self.subscriptions.routes.get(name)
        if route is None:
            self._services.receive(name, payload)
            return
        channel, form, history = route
        try:
            if history is not None and self._receive_kept(history, channel, form, payload):
                return
            publication, node, number, _ = form.decode(payload, channel)
        except FastWSError as error:
            self.counters.feed_rejected[form.name] += 1
            self._reject(form.name, error.message)
            return
        if node is None:
            self._count_plain(publication)
        receipt = self._echoed(node, number)
        if node is None and self._log_level.is_debug:
            receipt = LoggedReceipt(publication, "redis", None)
        try:
            self._deliverer.deliver(publication, receipt)
        except Exception:  # noqa: BLE001 a bug in one delivery must not cost the publications after it
            _log.exception("bug while delivering a publication", channel=channel)

    def _receive_kept(self, history: RedisHistory, channel: str, form: Form, payload: bytes) -> bool:
        """Pass a message on a channel with a history on to it. Returns False for one that is delivered without.

        Raises BadRequest or Unencodable.
        """
        if is_numbered(payload):
            history.receive(channel, payload)
            return True
        if is_note(payload):
            history.plain.receive(channel, payload)
            return True
        publication, node, _, comes_numbered = form.decode(payload, channel)
        if comes_numbered:
            return True
        if publication.is_ephemeral or (node and not self.names.is_feed(channel)):
            return False
        if node is None:
            self._count_plain(publication)
        if self._log_level.is_debug:
            LoggedReceipt(publication, "redis", None).done(self._deliverer.count(channel), 0)
        at = time.time() if publication.timestamp is None else publication.timestamp
        history.plain.hear(replace(publication, data=encode_body(publication.data), timestamp=at))
        return True

    def _count_plain(self, publication: Publication) -> None:
        """Count a publication that no process of fastws has published, and so none has counted."""
        self.counters.publications["redis"] += 1
        if publication.event == METRICS_UPDATE and is_kept(publication, self.names.workspaces):
            self._metrics.note(publication)

    def _echoed(self, node: str | None, number: int) -> Receipt | None:
        return self.receipts.echoed(number) if node == self.node_id else None

    def _reject_service(self, error: Exception) -> None:
        self.counters.feed_rejected["service"] += 1
        self._reject("service", repr(error))

    def confirmed(self, node: RedisNode, name: bytes) -> None:
        try:
            if not self._services.confirmed(node, name):
                self.subscriptions.confirmed(node, name)
        except Exception:  # noqa: BLE001 a bug in one callback must not cost the confirmations after it
            _log.exception("bug while confirming a subscription")

    def refused(self, node: RedisNode, names: Names, name: bytes, reason: str) -> None:
        """The ACL of Redis forbids `name`, one of `names`; with empty `names`, the command `name`."""
        if not names:
            node.refusals.log(name.decode(), name, reason)
            return
        node.refusals.refused(names, name, reason)
        try:
            self.subscriptions.refused(names)
        except Exception:  # noqa: BLE001 a bug in one callback must not cost the refusals after it
            _log.exception("bug while refusing a subscription")

    def listener_lost(self, node: RedisNode) -> None:
        self.counters.broker_reconnects += 1
        node_of = self.topology.node_of
        self.receipts.listener_lost(lambda channel: node_of(channel) is node)
        self._services.lost(node)
        self.subscriptions.lost(node)

    def commander_lost(self, node: RedisNode) -> None:
        self.counters.broker_reconnects += 1

    def node_moved(self, node: RedisNode) -> None:
        self.counters.broker_failovers += 1

    def beat(self, node: RedisNode, now: float) -> None:
        if node is self.topology.home:
            self.subscriptions.sweep(now)
            self.receipts.sweep(now)

    def ended(self, node: RedisNode, names: Names) -> None:
        self._services.ended(node, names[0])
        self.subscriptions.ended(node, names)

    def moved(self) -> None:
        """Channels may belong to other nodes than before. For the topology; see topology/port.py."""
        for node in self.topology.nodes:
            if node.history is not None:
                node.history.publisher.moved()
        self.subscriptions.moved()
        self.receipts.listener_lost(lambda channel: not self.subscriptions.is_confirmed(channel))


def _no_remote_subscribers(channel: str) -> int:
    return 0
