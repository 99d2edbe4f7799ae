"""Makes the parts that know the channels of Pusher apps: cache channels, their subscribers, and counts of these."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastws.brokers.history import HistoryRule, HistoryRules, MemoryHistory
from fastws.cluster.app_subscribers import AppSubscribers
from fastws.cluster.subscription_counts import SubscriptionCounts
from fastws.config import Config
from fastws.hub.hub import Hub
from fastws.hub.ports import Reports
from fastws.settings import history_rules
from fastws.vocabulary.pusher_apps import PusherApps

_DIALECT = "pusher"


def make_history_rules(config: Config, apps: PusherApps) -> HistoryRules:
    """Return what each channel keeps."""
    table = [(pattern, rule and HistoryRule(*rule)) for pattern, rule in history_rules(config)]
    return HistoryRules(table, apps.cache_seconds if apps else None)


def make_history(config: Config, rules: HistoryRules, hub: Hub) -> MemoryHistory | None:
    """Return the history of a single process; None if no channel keeps anything."""
    if not rules:
        return None
    return MemoryHistory(
        rules, max_bytes=config.history_bytes, recover_limit=config.recover_limit, count=hub.count, gap=hub.gap
    )


def make_app_subscribers(apps: PusherApps, hub: Hub) -> AppSubscribers | None:
    """Return what counts the subscribers of apps; None without an app."""
    return AppSubscribers(hub, lambda channel: apps.of_channel(channel) is not None, _DIALECT) if apps else None


def make_subscription_counts(
    apps: PusherApps,
    subscribers: AppSubscribers | None,
    hub: Hub,
    total: Callable[[str], int],
    reports: Reports | None,
) -> SubscriptionCounts | None:
    """Return what publishes counts, called after each change of `hub`; None if no app wants them."""
    if subscribers is None or not any(app.has_subscription_count for app in apps):
        return None

    def published(channel: str, count: int) -> None:
        if reports is not None:
            reports.subscription_count(channel, count)

    loop = asyncio.get_running_loop()
    counts = SubscriptionCounts(
        *(apps.has_subscription_count, subscribers.clients, total, hub.notify, published),
        *(loop.call_later, loop.time),
    )
    others = hub.count_changed

    def changed(channel: str) -> None:
        if others is not None:
            others(channel)
        counts.changed(channel)

    hub.count_changed = changed
    return counts
