"""The setting `webhooks`: a server tells URLs which channels have subscribers, of every dialect."""

from __future__ import annotations

import pytest

from fastws.callouts.webhooks import WebhookTarget
from fastws.config import Config
from fastws.errors import ConfigError
from fastws.settings import check
from tests.serving import Join, Serve
from tests.webhook_receiver import receiver

SECRET = "the secret of the receiver"


async def test_first_and_last_subscribers_of_every_dialect_are_told(serve: Serve, join: Join) -> None:
    async with receiver() as hook:
        server = await serve(
            webhooks=(hook.url,), webhook_secret=SECRET, webhook_channels=("chat:**",), webhook_grace=0.0
        )
        ann, bob = await join(server), await join(server)
        for client in (ann, bob):
            await client.ask({"action": "subscribe", "channel": "chat:1"})
            await client.ask({"action": "subscribe", "channel": "other"})
        await ann.socket.close()
        await bob.ask({"action": "unsubscribe", "channel": "chat:1"})
        assert await hook.until(2) == [("channel_occupied", "chat:1"), ("channel_vacated", "chat:1")]
        headers, body, _ = hook.requests[0]
        expected = WebhookTarget("", hook.url, SECRET, frozenset()).headers(body)
        assert expected.items() <= headers.items()


async def test_at_a_stop_what_waits_is_sent(serve: Serve, join: Join) -> None:
    async with receiver() as hook:
        server = await serve(webhooks=(hook.url,), webhook_secret=SECRET, drain_timeout=20.0)
        client = await join(server)
        await client.ask({"action": "subscribe", "channel": "c"})
        await client.socket.close()
        await server.drain()
        assert hook.told == [("channel_occupied", "c"), ("channel_vacated", "c")]
        assert server.counters.webhooks == {("channel_occupied", "sent"): 1, ("channel_vacated", "sent"): 1}


@pytest.mark.parametrize("url", ["ftp://example.com/", "example.com", "http://", "http://host:0/", "http://[::1/"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^webhooks: each URL must be like https://example.com/webhooks, beginning"):
        check(Config(webhooks=(url,), webhook_secret=SECRET))


def test_webhooks_need_a_secret() -> None:
    with pytest.raises(ConfigError, match=r"^webhook_secret: must be set, because webhooks is"):
        check(Config(webhooks=("http://127.0.0.1/",)))
