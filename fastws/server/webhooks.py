"""Makes the webhooks of the settings, and reports to them what happens in the channels of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from fastws.brokers.memory import MemoryBroker
from fastws.brokers.redis.broker import RedisBroker
from fastws.callouts.webhooks import WebhookTarget
from fastws.cluster.app_subscribers import AppSubscribers
from fastws.cluster.memory_webhooks import MemoryWebhooks
from fastws.cluster.redis.webhooks import RedisWebhooks
from fastws.cluster.webhooks import Webhooks
from fastws.config import Config
from fastws.counters import Counters
from fastws.hub.hub import Hub
from fastws.vocabulary.channel_table import ChannelTable
from fastws.vocabulary.publication import Encoded, Publication
from fastws.vocabulary.pusher_apps import PusherApps, is_presence, user_of

# The app of the setting `webhooks`. Those of Pusher have an id.
NO_APP = ""
_EVENTS = frozenset({"channel_occupied", "channel_vacated"})


def make_webhooks(
    config: Config, apps: PusherApps, broker: MemoryBroker | RedisBroker, counters: Counters
) -> Webhooks | None:
    """Return the webhooks of all apps; None if no setting names a URL."""
    targets = [*_targets(config, counters), *_pusher_targets(apps, counters)]
    if not targets:
        return None
    if isinstance(broker, RedisBroker):
        return Webhooks(targets, RedisWebhooks(broker, targets))
    return Webhooks(targets, MemoryWebhooks(targets, asyncio.get_running_loop()))


def _targets(config: Config, counters: Counters) -> Iterator[WebhookTarget]:
    for url in dict.fromkeys(config.webhooks):
        yield WebhookTarget(
            *(NO_APP, url, config.webhook_secret or "", _EVENTS),
            grace_seconds=config.webhook_grace,
            results=counters.webhooks,
        )


def _pusher_targets(apps: PusherApps, counters: Counters) -> Iterator[WebhookTarget]:
    """Yield the URLs of each app, whose requests are signed with its first key."""
    for app in apps:
        key, secret = next(iter(app.secrets.items()))
        for url in app.webhook_urls:
            yield WebhookTarget(
                *(app.id, url, secret, app.webhook_events, key, app.webhook_batch_seconds, app.webhook_grace_seconds),
                results=counters.pusher_webhooks,
            )


class ChannelReports:
    """Reports to webhooks what happens in the channels of this process: hub/ports.Reports.

    Takes the place of `hub.count_changed`, and calls the one that is there. Make it when `hub` has all its other parts.
    """

    def __init__(
        self,
        webhooks: Webhooks,
        hub: Hub,
        config: Config,
        apps: PusherApps,
        subscribers: AppSubscribers | None,
    ) -> None:
        """`subscribers` counts those that are clients of an app; None without apps."""
        self._webhooks = webhooks
        self._hub = hub
        self._apps = apps
        self._subscribers = subscribers
        self._others = hub.count_changed
        patterns = (config.webhook_channels or (None,)) if config.webhooks else ()
        self._is_wanted = ChannelTable([(pattern, True) for pattern in patterns])
        # The user of each connection of this process in each channel, and the number of connections of each user.
        self._members: dict[tuple[str, str], str] = {}
        self._counts: dict[tuple[str, str], int] = {}
        hub.count_changed = self._count_changed

    def _count_changed(self, channel: str) -> None:
        if self._others is not None:
            self._others(channel)
        if self._is_wanted(channel):
            self._webhooks.set_present(NO_APP, channel, is_present=self._hub.count(channel) > 0)
        found = self._apps.of_channel(channel)
        if found is not None and user_of(found[1]) is None and found[0].webhook_urls:
            self._webhooks.set_present(found[0].id, found[1], is_present=self._has_pusher_clients(channel))

    def _has_pusher_clients(self, channel: str) -> bool:
        """Whether clients of an app, and not only those of other dialects, are subscribers."""
        return self._subscribers is not None and self._subscribers.clients(channel) > 0

    def member_entered(self, connection_id: str, channel: str, user: str) -> None:
        """A connection of `user` has entered `channel`."""
        key = (connection_id, channel)
        if key not in self._members:
            self._members[key] = user
            self._count_member(channel, user, 1)

    def member_left(self, connection_id: str, channel: str) -> None:
        """A connection, with or without a user, has left `channel`."""
        user = self._members.pop((connection_id, channel), None)
        if user is not None:
            self._count_member(channel, user, -1)

    def _count_member(self, channel: str, user: str, change: int) -> None:
        count = self._counts.get((channel, user), 0) + change
        if count:
            self._counts[channel, user] = count
        else:
            del self._counts[channel, user]
        found = self._apps.of_channel(channel)
        if found is not None and found[0].webhook_urls:
            if change > 0:
                # It is about to become a subscriber: the channel is reported before its member.
                self._webhooks.set_present(found[0].id, found[1], is_present=True)
            self._webhooks.set_present(found[0].id, found[1], user, is_present=count > 0)

    def client_event(self, publication: Publication) -> None:
        """A client event was published."""
        found = self._apps.of_channel(publication.channel)
        if found is None:
            return
        app, name = found
        data, attributes = publication.data, publication.attributes or {}
        fields: dict[str, object] = {
            "event": publication.event,
            "data": data.body.decode() if isinstance(data, Encoded) else data,
            "socket_id": publication.sender,
        }
        if is_presence(name) and "user_id" in attributes:
            fields["user_id"] = str(attributes["user_id"])
        self._webhooks.tell(app.id, "client_event", name, "", **fields)

    def cache_miss(self, channel: str) -> None:
        """A client has subscribed to a cache channel that has no event."""
        found = self._apps.of_channel(channel)
        if found is not None:
            self._webhooks.tell(found[0].id, "cache_miss", found[1], "miss")

    def subscription_count(self, channel: str, count: int) -> None:
        """The subscribers of a channel, on all processes, got a new count."""
        found = self._apps.of_channel(channel)
        if found is not None:
            self._webhooks.tell(found[0].id, "subscription_count", found[1], "owner", subscription_count=count)
