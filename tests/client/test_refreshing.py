import base64
import json
import time

import pytest

from fastws.client import refreshing
from fastws.client.link import ConnectionLost
from fastws.client.refreshing import keep_token_fresh
from fastws.client.tokens import TokenSource
from fastws.errors import Unauthorized

SOON = time.time() + 0.2
NEVER = "has no end"


def token_until(expires):
    body = base64.urlsafe_b64encode(json.dumps({"exp": expires}).encode()).decode().rstrip("=")
    return f"e30.{body}.sig"


class Link:
    """Records requests, and fails those that a test chooses."""

    def __init__(self, error=None):
        self.requests = []
        self.error = error

    async def request(self, message):
        self.requests.append(message)
        if self.error is not None:
            raise self.error
        return {}


def source_of(*tokens):
    waiting = list(tokens)

    async def provider():
        token = waiting.pop(0)
        if isinstance(token, Exception):
            raise token
        return token

    return TokenSource(token_until(SOON), provider)


async def test_the_new_token_is_sent_in_the_format_of_the_dialect():
    link = Link()
    await keep_token_fresh(source_of(NEVER), link, "action")
    assert link.requests == [{"action": "refresh", "token": NEVER}]


async def test_it_continues_with_the_token_after_that():
    link = Link()
    await keep_token_fresh(source_of(token_until(SOON + 0.1), NEVER), link, "type")
    assert [request["token"] for request in link.requests] == [token_until(SOON + 0.1), NEVER]


async def test_a_provider_that_fails_is_asked_again(monkeypatch, caplog):
    monkeypatch.setattr(refreshing, "RETRY_SECONDS", 0.01)
    link = Link()
    await keep_token_fresh(source_of(LookupError("down"), NEVER), link, "type")
    assert [request["token"] for request in link.requests] == [NEVER]
    assert "called again" in caplog.text


async def test_the_same_token_again_is_not_sent(caplog):
    link = Link()
    await keep_token_fresh(source_of(token_until(SOON)), link, "type")
    assert link.requests == []
    assert "about to expire" in caplog.text


@pytest.mark.parametrize(("error", "said"), [(ConnectionLost("x"), ""), (Unauthorized("other user"), "other user")])
async def test_a_refresh_that_fails_is_left_to_the_servers_close(error, said, caplog):
    await keep_token_fresh(source_of(NEVER), Link(error), "type")
    assert said in caplog.text
