"""Keys from a JWKS URL and decisions of an application's HTTP callback, on a real server."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator

import jwt
import pytest
import pytest_asyncio
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from websockets.exceptions import InvalidStatus

from tests.serving import Join, Serve


class Elsewhere:
    """An identity provider and an application, in one small web server."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.kid = "one"
        self.asked: list[dict[str, object]] = []
        self.url = ""

    def rotate(self) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.kid = "two"

    def token(self, **claims: object) -> str:
        payload = {"sub": "ada", "exp": int(time.time()) + 600, **claims}
        return jwt.encode(payload, self.key, algorithm="RS256", headers={"kid": self.kid})

    async def keys(self, request: web.Request) -> web.Response:
        public = json.loads(RSAAlgorithm.to_jwk(self.key.public_key()))
        return web.json_response({"keys": [{**public, "kid": self.kid, "use": "sig", "alg": "RS256"}]})

    async def decide(self, request: web.Request) -> web.Response:
        question = await request.json()
        self.asked.append(question)
        return web.json_response({"allow": question["channel"] != "secret"})


@pytest_asyncio.fixture
async def elsewhere() -> AsyncIterator[Elsewhere]:
    there = Elsewhere()
    application = web.Application()
    application.router.add_get("/keys", there.keys)
    application.router.add_post("/decide", there.decide)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    there.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield there
    await runner.cleanup()


async def test_tokens_hold_by_the_keys_of_a_jwks_url_and_others_do_not(
    serve: Serve, join: Join, elsewhere: Elsewhere
) -> None:
    server = await serve(jwt_secret=None, jwt_jwks_url=f"{elsewhere.url}/keys")
    client = await join(server, token=elsewhere.token(channels=["news"]))
    assert (await client.ask({"action": "subscribe", "channel": "news"}))["type"] == "subscription_succeeded"
    elsewhere.rotate()  # signed by a key that the server has not seen: refused, and no other client waits for it
    with pytest.raises(InvalidStatus) as refused:
        await join(server, token=elsewhere.token())
    assert refused.value.response.status_code == 401
    assert server.counters.refused[(401, "unauthorized")] == 1


async def test_an_application_decides_and_is_asked_once_for_the_same(
    serve: Serve, join: Join, elsewhere: Elsewhere
) -> None:
    server = await serve(authorizer=f"{elsewhere.url}/decide")
    client = await join(server)
    assert (await client.ask({"action": "subscribe", "channel": "open"}))["type"] == "subscription_succeeded"
    refused = await client.ask({"action": "subscribe", "channel": "secret"})
    assert (refused["type"], refused["code"], refused["channel"]) == ("error", "forbidden", "secret")
    assert (await client.ask({"action": "send", "channel": "open", "event": "e"}))["channel"] == "open"
    assert (await client.hear())["type"] == "send_success"
    again = await join(server)
    await again.ask({"action": "subscribe", "channel": "open"})
    actions = [(question["action"], question["channel"]) for question in elsewhere.asked]
    assert actions.count(("publish", "open")) == 1
    assert ("subscribe", "secret") in actions
