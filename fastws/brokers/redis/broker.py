"""The broker of many processes: publications go out by PUBLISH and reach everybody, us too, by SUBSCRIBE alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

from fastws.brokers.last_metrics import METRICS_UPDATE, is_kept
from fastws.brokers.redis.channels import RedisNames
from fastws.brokers.redis.last_metrics import RedisMetrics
from fastws.brokers.redis.probe import RedisProbe
from fastws.brokers.redis.receipts import RedisReceipts
from fastws.brokers.redis.subscriptions import RedisSubscriptions
from fastws.brokers.redis.wire.address import parse_address
from fastws.brokers.redis.wire.commander import RedisCommander
from fastws.brokers.redis.wire.link import RedisLink
from fastws.brokers.redis.wire.listener import RedisListener
from fastws.brokers.redis.wire.timeouts import PATIENT, RedisTimeouts
from fastws.brokers.rejections import Rejections
from fastws.config import Config
from fastws.counters import Counters
from fastws.errors import BadRequest, BrokerUnavailable, ConfigError, FastWSError
from fastws.hub.ports import Deliverer, Receipt
from fastws.vocabulary.connection_ids import new_node_id
from fastws.vocabulary.publication import Publication

# How long a start waits for Redis before it goes on without.
START_SECONDS: Final = 1.0
# A beat that comes later than this was held up by our own process, and proves nothing about Redis.
_HELD_UP_SECONDS: Final = 0.5

_log = structlog.get_logger("fastws.redis")


class Service:
    """A Redis channel of the processes themselves. `began` is called whenever it is heard (again)."""

    __slots__ = ("began", "hear")

    def __init__(self, hear: Callable[[bytes], None], began: Callable[[], None]) -> None:
        self.hear = hear
        self.began = began


class RedisBroker:
    """A Broker through Redis.

    Local subscribers hear what comes back from Redis and nothing else, so that the order is the same everywhere.
    While Redis is away subscriptions are accepted, publications are refused within 2 s, and every channel that was
    or became subscribed gets one gap notice before anything newer. Raises ConfigError for a bad `redis_url`.
    """

    def __init__(
        self,
        deliverer: Deliverer,
        config: Config,
        *,
        node_id: str | None = None,
        counters: Counters | None = None,
        timeouts: RedisTimeouts = PATIENT,
    ) -> None:
        if config.redis_url is None:
            raise ConfigError("redis_url: is not set")
        self.address = parse_address(config.redis_url)
        self.node_id = node_id or new_node_id()
        self.names = RedisNames(config)
        self.timeouts = timeouts
        self.counters = counters or Counters()
        # Set by the registry, which knows the other processes.
        self.remote_count: Callable[[str], int] = _nobody
        name = f"fastws-{self.node_id}"
        self.commander = RedisCommander(f"{name}-commands", self._commander_up, self._commander_down, timeouts)
        self.listener = RedisListener(self._hear, self._confirmed, self._listener_up, self._listener_down)
        self.subscriptions = RedisSubscriptions(deliverer, self.names, self.listener, timeouts.linger_seconds)
        self.receipts = RedisReceipts(deliverer.count, lambda channel: self.remote_count(channel))
        self._deliverer = deliverer
        self._links = (
            RedisLink(self.address, self.commander, "commands", name=f"{name}-commands"),
            RedisLink(self.address, self.listener, "listener", name=f"{name}-listener"),
        )
        self._metrics = RedisMetrics(self.commander, self.names)
        self._services: dict[bytes, Service] = {}
        self._canary_name = self.names.service("canary", self.node_id)
        self._probe: RedisProbe | None = None
        self._first_canary = asyncio.Event()
        self._number = 0
        self._rejections = Rejections()
        self._tasks: list[asyncio.Task[None]] = []
        self._beat_timer: asyncio.TimerHandle | None = None
        self._beat_due = 0.0

    @property
    def is_up(self) -> bool:
        """Whether messages come through Redis: one of our own did in the last 3 seconds."""
        return self._probe is not None and self._probe.is_fresh

    async def start(self) -> None:
        """Connect. Returns when messages come through, or after a second without Redis; it goes on trying."""
        loop = asyncio.get_running_loop()
        self._probe = RedisProbe(loop.time, self.counters.broker_lag.observe, self.timeouts)
        self.serve(self._canary_name, self._hear_canary, self._send_probe)
        self._tasks = [loop.create_task(link.run()) for link in self._links]
        self._schedule_beat()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._first_canary.wait(), START_SECONDS)

    async def stop(self) -> None:
        """Leave Redis. Whoever still waits for a publication hears that it was refused."""
        if self._beat_timer is not None:
            self._beat_timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        # The loop closes the sockets in its next turn.
        await asyncio.sleep(0)
        self.receipts.refuse_all()

    def publish(self, publication: Publication, receipt: Receipt | None = None) -> None:
        """PUBLISH with all others of this loop turn; `receipt` hears within 2 s how it ended."""
        channel = publication.channel
        if publication.event == METRICS_UPDATE and is_kept(publication, self.names.workspaces):
            self._metrics.note(publication)
        redis_channel = self.names.redis_channels(channel)[-1]
        self._number = number = self._number + 1
        try:
            payload = redis_channel.form.encode(publication, self.node_id, number)
        except FastWSError as error:
            if receipt is not None:
                receipt.refused(error)
            return
        if receipt is not None:
            self.receipts.expect(number, receipt, channel, awaits_echo=self.subscriptions.hears(channel))
        self.commander.publish(redis_channel.name, payload, partial(self._published, number))

    def listen(self, channel: str, ready: Callable[[], None]) -> None:
        self.subscriptions.listen(channel, ready)

    def unlisten(self, channel: str) -> None:
        self.subscriptions.unlisten(channel, asyncio.get_running_loop().time())

    def find_metrics(self, channel: str, metric_type: str, answer: Callable[[object], None]) -> None:
        """Answer with the data of the last `metrics_update` of that type on `channel`; {} where there is none."""
        self._metrics.find(channel, metric_type, answer)

    def serve(self, name: bytes, hear: Callable[[bytes], None], began: Callable[[], None]) -> None:
        """Hear the Redis channel `name` of the processes themselves; `began` is called whenever that begins anew."""
        self._services[name] = Service(hear, began)
        self.listener.want((name,))

    def _published(self, number: int, reply: object) -> None:
        if isinstance(reply, int):
            self.receipts.answered(number, asyncio.get_running_loop().time())
            return
        self.counters.dropped["broker"] += 1
        if isinstance(reply, BrokerUnavailable):
            self.receipts.refused(number, reply)
        else:
            self._rejections.note("publish", str(reply))
            self.receipts.refused(number, BrokerUnavailable("Redis refused it"))

    def _hear(self, name: bytes, payload: bytes) -> None:
        """One message from Redis: to the hub, or to the service it is for. Never raises."""
        route = self.subscriptions.routes.get(name)
        if route is None:
            self._hear_service(name, payload)
            return
        channel, form = route
        try:
            publication, node, number = form.decode(payload, channel)
        except BadRequest as error:
            self.counters.feed_rejected[form.name] += 1
            self._rejections.note(form.name, error.message)
            return
        if node is None:
            # Published by somebody who is none of us: nobody else has counted it.
            self.counters.publications["redis"] += 1
            if publication.event == METRICS_UPDATE and is_kept(publication, self.names.workspaces):
                self._metrics.note(publication)
        receipt = self.receipts.echoed(number) if node == self.node_id else None
        try:
            self._deliverer.deliver(publication, receipt)
        except Exception:  # noqa: BLE001 one publication's bug must not cost those behind it
            _log.exception("a publication could not be delivered", channel=channel)

    def _hear_service(self, name: bytes, payload: bytes) -> None:
        service = self._services.get(name)
        if service is None:
            return
        try:
            service.hear(payload)
        except Exception as error:  # noqa: BLE001 anybody may publish there, anything at all
            self.counters.feed_rejected["service"] += 1
            self._rejections.note("service", repr(error))

    def _confirmed(self, name: bytes) -> None:
        service = self._services.get(name)
        try:
            if service is not None:
                service.began()
            else:
                self.subscriptions.confirmed(name)
        except Exception:  # noqa: BLE001 one subscriber's bug must not cost those behind it
            _log.exception("a subscription could not be confirmed")

    def _listener_up(self) -> None:
        self._both_up()

    def _commander_up(self) -> None:
        self._both_up()
        self._send_probe()

    def _both_up(self) -> None:
        for link in self._links:
            link.reconnect_now()
        if self._probe is not None and self.listener.is_up and self.commander.is_up:
            self._probe.connected()

    def _listener_down(self, reason: str) -> None:
        self.counters.broker_reconnects += 1
        self.receipts.no_echoes()
        self.subscriptions.lost()

    def _commander_down(self, reason: str) -> None:
        self.counters.broker_reconnects += 1

    def _send_probe(self) -> None:
        if self._probe is not None and self.listener.is_up and self.commander.is_up:
            self.commander.publish(self._canary_name, self._probe.payload(), _nothing)

    def _hear_canary(self, payload: bytes) -> None:
        if self._probe is not None:
            self._probe.received(payload)
            self._first_canary.set()

    def _beat(self) -> None:
        """Every second: sing, look whether the lines are alive, let go of what is no longer needed."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        was_held_up = now - self._beat_due > _HELD_UP_SECONDS
        self._schedule_beat()
        self._send_probe()
        self.subscriptions.sweep(now)
        self.receipts.sweep(now)
        if not was_held_up:
            self._check_lines(now)

    def _schedule_beat(self) -> None:
        loop = asyncio.get_running_loop()
        self._beat_due = loop.time() + self.timeouts.probe_seconds
        self._beat_timer = loop.call_at(self._beat_due, self._beat)

    def _check_lines(self, now: float) -> None:
        if not self.listener.is_up:
            return
        silence_seconds = now - self.listener.heard_at
        if silence_seconds > self.timeouts.silence_seconds:
            self.listener.give_up(f"silent for {silence_seconds:.0f} s")
        elif silence_seconds > self.timeouts.ping_seconds:
            self.listener.ping()
        if self.commander.is_up and self._probe is not None and self._probe.is_lost():
            self.listener.give_up("it answers, but what is published does not come back")
            self.commander.give_up("it answers, but what is published does not come back")


def _nobody(channel: str) -> int:
    """No other process is known."""
    return 0


def _nothing(reply: object) -> None:
    """The canary's own return says more than Redis's answer."""
