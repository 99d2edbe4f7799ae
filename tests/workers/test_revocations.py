"""Revoked tokens while Redis is away or empty: each new worker learns them from the other workers."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.hostile.server_process import BROADCAST_KEY, PATIENCE_SECONDS, token_of
from tests.redis_server import RedisServer
from tests.workers.conftest import Supervise
from tests.workers.supervised import READY, Supervised
from tests.workers.test_rolling import roll

REVOKED = {"t1": token_of("u1", jti="t1"), "u2": token_of("u2", iat=1)}
VALID = token_of("u3", jti="t3", iat=1)
TOKENS = "fastws:revoked:tokens"


def revoke(server: Supervised, body: dict[str, object]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_SECONDS)
    try:
        headers = {"Authorization": f"Bearer {BROADCAST_KEY}"}
        connection.request("POST", "/revocations", json.dumps(body), headers)
        assert connection.getresponse().status == 204
    finally:
        connection.close()


def revoke_both(server: Supervised) -> None:
    """Revoke a token by its id and one by its user; return when both workers have closed its connections."""
    clients = [server.connect(f"/?token={token}") for token in REVOKED.values() for _ in range(8)]
    assert len({server.worker_of(client).pid for client in clients}) == 2
    revoke(server, {"jti": "t1"})
    revoke(server, {"user": "u2"})
    for client in clients:
        with contextlib.suppress(ConnectionClosed):
            list(client)
        assert client.close_code == 4401


def assert_refused(server: Supervised) -> None:
    """The revoked tokens are refused and the valid one is accepted, whichever worker is asked."""
    for _ in range(8):
        for token in REVOKED.values():
            with pytest.raises(InvalidStatus) as refusal:
                server.connect(f"/?token={token}")
            assert refusal.value.response.status_code == 401
        server.connect(f"/?token={VALID}")


def test_workers_replaced_while_redis_is_away_refuse_revoked_tokens(
    supervise: Supervise, own_redis_server: RedisServer
) -> None:
    server = supervise(redis_url=own_redis_server.url)
    revoke_both(server)
    own_redis_server.kill()
    roll(server)
    roll(server)
    assert_refused(server)
    own_redis_server.start()
    with own_redis_server.client() as client:
        server.wait_until(lambda: client.zscore(TOKENS, "t1") is not None)
    assert_refused(server)
    server.assert_clean_log()


def test_workers_replaced_after_redis_has_returned_empty_refuse_revoked_tokens(
    supervise: Supervise, own_redis_server: RedisServer
) -> None:
    server = supervise(redis_url=own_redis_server.url)
    revoke_both(server)
    server.signal(signal.SIGHUP)
    own_redis_server.restart_empty()
    server.wait_for("worker replaced", 2)
    assert_refused(server)


def test_workers_that_replace_killed_ones_while_redis_is_away_refuse_revoked_tokens(
    supervise: Supervise, own_redis_server: RedisServer
) -> None:
    server = supervise(redis_url=own_redis_server.url)
    revoke_both(server)
    own_redis_server.kill()
    for number, worker in enumerate(server.workers(), start=1):
        worker.kill()
        server.wait_for(READY, 2 + number)
    assert_refused(server)
