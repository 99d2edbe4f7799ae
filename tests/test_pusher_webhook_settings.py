"""The settings of webhooks of Pusher apps."""

from __future__ import annotations

from typing import Any

import pytest

from fastws.config import Config
from fastws.errors import ConfigError
from fastws.pusher_settings import pusher_apps
from fastws.vocabulary.pusher_apps import WEBHOOK_EVENTS

APPS = ("1:a:s", "2:b:s")


def read(**settings: Any) -> list[tuple[Any, ...]]:
    apps = pusher_apps(Config(pusher_apps=APPS, **settings))
    return [
        (app.webhook_urls, app.webhook_events, app.webhook_batch_seconds, app.webhook_grace_seconds) for app in apps
    ]


def test_urls_are_of_all_apps_or_of_one_and_may_contain_equals_signs() -> None:
    urls = ("https://all.example/?a=b", "2=http://two.example/?c=d", "https://all.example/?a=b")
    one, two = read(pusher_webhooks=urls)
    assert one == ((urls[0],), WEBHOOK_EVENTS, 0.0, 3.0)
    assert two[0] == (urls[0], "http://two.example/?c=d")


def test_the_other_settings_are_by_app() -> None:
    one, two = read(
        pusher_webhook_events=("2=cache_miss+client_event",),
        pusher_webhook_batch=("50", "2=0"),
        pusher_webhook_grace=("1.5",),
    )
    assert one == ((), WEBHOOK_EVENTS, 0.05, 1.5)
    assert two == ((), {"cache_miss", "client_event"}, 0.0, 1.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pusher_webhooks": ("3=http://x.example/",)}, "pusher_webhooks: '3' is not the ID of an app in pusher_apps"),
        ({"pusher_webhooks": ("1=ftp://x.example/",)}, "pusher_webhooks: each URL must be like https://example.com/"),
        ({"pusher_webhooks": ("x.example",)}, "pusher_webhooks: each URL must be like https://example.com/"),
        ({"pusher_webhook_events": ("1=member_added+left",)}, "pusher_webhook_events: must be some of cache_miss, "),
    ],
)
def test_mistakes_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(**settings)
    assert refused.value.message.startswith(message)
