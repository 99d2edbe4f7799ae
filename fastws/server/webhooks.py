"""Makes the webhooks of the settings, and reports the channels of this process to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastws.brokers.memory import MemoryBroker
from fastws.brokers.redis.broker import RedisBroker
from fastws.callouts.webhooks import WebhookTarget
from fastws.cluster.memory_webhooks import MemoryWebhooks
from fastws.cluster.redis.webhooks import RedisWebhooks
from fastws.cluster.webhooks import Webhooks
from fastws.config import Config
from fastws.counters import Counters
from fastws.hub.hub import Hub
from fastws.vocabulary.channel_table import ChannelTable

# The app of the setting `webhooks`. Those of Pusher have an id.
NO_APP = ""
_EVENTS = frozenset({"channel_occupied", "channel_vacated"})


def make_webhooks(config: Config, broker: MemoryBroker | RedisBroker, hub: Hub, counters: Counters) -> Webhooks | None:
    """Return the webhooks of all apps; None if no setting names a URL. Call it when `hub` has all its other parts."""
    targets = _targets(config, counters)
    if not targets:
        return None
    if isinstance(broker, RedisBroker):
        webhooks = Webhooks(targets, RedisWebhooks(broker, targets))
    else:
        webhooks = Webhooks(targets, MemoryWebhooks(targets, asyncio.get_running_loop()))
    if config.webhooks:
        hub.count_changed = _report(webhooks, hub, config)
    return webhooks


def _targets(config: Config, counters: Counters) -> list[WebhookTarget]:
    return [
        WebhookTarget(
            NO_APP,
            url,
            config.webhook_secret or "",
            _EVENTS,
            grace_seconds=config.webhook_grace,
            results=counters.webhooks,
        )
        for url in dict.fromkeys(config.webhooks)
    ]


def _report(webhooks: Webhooks, hub: Hub, config: Config) -> Callable[[str], None]:
    """Return a function that reports whether a channel has subscribers, and calls the one that `hub` has until now."""
    others = hub.count_changed
    is_wanted = ChannelTable([(pattern, True) for pattern in config.webhook_channels or (None,)])

    def count_changed(channel: str) -> None:
        if others is not None:
            others(channel)
        if is_wanted(channel):
            webhooks.set_present(NO_APP, channel, is_present=hub.count(channel) > 0)

    return count_changed
