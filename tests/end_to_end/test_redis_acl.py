"""A Redis user without the right to a feed: clients of the feed get an error in their dialect, others none."""

from __future__ import annotations

import time

import jwt

from tests.brokers.redis.documented_user import url_of_documented_user
from tests.end_to_end.ears import get, post
from tests.redis_server import RedisServer
from tests.serving import SECRET, Join, Serve

JOBS = "botrix:jobs:updates"
WORDS = "Redis does not allow this server to subscribe to this channel"


def token() -> str:
    claims = {"sub": "ann", "workspace_id": "w1", "exp": time.time() + 600, "channels": ["workspace:w1"]}
    return jwt.encode(claims, SECRET)


def without_feeds(server: RedisServer) -> str:
    """The documented user without the feeds."""
    url = url_of_documented_user(server)
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "fastws", "resetchannels", "&fastws:*")
    return url


async def test_clients_of_a_forbidden_feed_get_an_error_and_others_get_their_messages(
    own_redis_server: RedisServer, serve: Serve, join: Join
) -> None:
    server = await serve(redis_url=without_feeds(own_redis_server))
    listener = await join(server)
    assert (await listener.ask({"action": "subscribe", "channel": "news"}))["type"] == "subscription_succeeded"
    for _ in range(2):
        job_client = await join(server, "/ws", greets=False)
        assert await job_client.hear() == {"type": "error", "message": WORDS}
    workspace = await join(server, "/ws", token=token(), workspace_id="w1", greets=False)
    assert (await workspace.hear())["event"] == "connected"
    assert await workspace.hear() == {"event": "error", "message": WORDS}
    for _ in range(2):
        reply = await listener.ask({"action": "subscribe", "channel": JOBS, "id": 5})
        assert reply == {"type": "error", "code": "broker_unavailable", "message": WORDS, "channel": JOBS, "id": 5}
    assert (await post(server, {"channel": JOBS, "event": "e", "data": {}})).status_code == 503
    for number in range(5):
        answer = await post(server, {"channel": "news", "event": "e", "data": number})
        assert (answer.status_code, answer.json()["sent"]) == (200, 1)
        assert (await listener.hear())["data"] == number
    assert (await get(server, "/ready")).status_code == 200

    # After the ACL is corrected they receive messages without reconnecting.
    url_of_documented_user(own_redis_server)
    assert await job_client.hear() == {"type": "gap"}
    assert await workspace.hear() == {"event": "gap", "workspace_id": "w1"}
    assert (await listener.ask({"action": "subscribe", "channel": JOBS}))["type"] == "subscription_succeeded"
    assert (await post(server, {"channel": JOBS, "event": "e", "data": {"job_id": "1"}})).json()["sent"] == 3
