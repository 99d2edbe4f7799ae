"""/health and /ready: whether the process runs, and whether it may be sent clients."""

from __future__ import annotations

from tests.endpoints.conftest import Ask
from tests.redis_server import RedisServer
from tests.serving import Join, Serve


async def test_a_full_server_is_healthy_and_not_ready(serve: Serve, join: Join, ask: Ask) -> None:
    server = await serve(max_connections=1)
    assert (await ask(server, "GET", "/ready", key=None)).json == {"status": "ready"}
    client = await join(server)
    answer = await ask(server, "GET", "/ready", key=None)
    assert (answer.status, answer.json["problems"]) == (503, ["full"])
    assert (await ask(server, "GET", "/health", key=None)).status == 200
    await client.socket.close()
    assert (await ask(server, "GET", "/ready", key=None)).status == 200


async def test_a_server_whose_redis_is_away_is_healthy_and_not_ready(
    serve: Serve, ask: Ask, own_redis_server: RedisServer
) -> None:
    own_redis_server.kill()
    server = await serve(redis_url=own_redis_server.url)
    answer = await ask(server, "GET", "/ready", key=None)
    assert (answer.status, answer.json["problems"]) == (503, ["broker"])
    assert (await ask(server, "GET", "/health", key=None)).status == 200
    answer = await ask(server, "POST", "/broadcast", {"channel": "a", "event": "e"})
    assert answer.error[:2] == (503, "broker_unavailable")


async def test_one_of_several_redis_servers_that_is_away_is_named_and_the_server_stays_ready(
    serve: Serve, ask: Ask, redis_server: RedisServer, own_redis_server: RedisServer
) -> None:
    own_redis_server.kill()
    server = await serve(redis_url=f"{redis_server.url},{own_redis_server.tcp_url}")
    answer = await ask(server, "GET", "/ready", key=None)
    assert (answer.status, answer.json) == (200, {"status": "ready", "redis_away": [own_redis_server.tcp_url]})
    metrics = (await ask(server, "GET", "/metrics")).body.decode()
    assert 'fastws_broker_nodes{state="up"} 1.0' in metrics
    assert 'fastws_broker_nodes{state="down"} 1.0' in metrics
    assert f'fastws_broker_node_up{{node="{own_redis_server.tcp_url}"}} 0.0' in metrics
    assert "fastws_broker_failovers_total 0.0" in metrics
