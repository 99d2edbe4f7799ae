"""One scrape for all workers of a machine, whatever just happens to one of them."""

from __future__ import annotations

import select
import signal
import socket
from contextlib import ExitStack

import psutil

from tests.hostile.server_process import BROADCAST_KEY, PATIENCE_SECONDS
from tests.workers.conftest import Supervise
from tests.workers.supervised import Supervised, ask
from tests.workers.test_rolling import roll


def opened(server: Supervised) -> float:
    return server.metric("fastws_connections_opened_total")


def test_a_scrape_adds_up_all_workers(supervise: Supervise) -> None:
    server = supervise()
    clients = [server.connect() for _ in range(10)]
    for client in clients:
        ask(client, {"action": "subscribe", "channel": "admin"})
    assert len({server.worker_of(client).pid for client in clients}) == 2
    for _ in range(6):  # whichever worker answers
        assert opened(server) == 10
        assert server.metric("fastws_connections", dialect="channels") == 10
        assert server.metric("fastws_subscriptions") == 10
        assert server.metric("fastws_broker_up") == 1
    assert server.metric("process_max_fds") == sum(
        worker.rlimit(psutil.RLIMIT_NOFILE)[0] for worker in server.workers()
    )
    oldest = min(worker.create_time() for worker in server.workers())
    assert abs(server.metric("process_start_time_seconds") - oldest) < 2


def test_what_was_counted_stays_counted_when_workers_are_replaced(supervise: Supervise) -> None:
    server = supervise()
    clients = [server.connect() for _ in range(10)]
    server.publish("admin", 1)
    roll(server)
    roll(server)
    assert opened(server) == 10
    assert server.metric("fastws_connections_closed_total") == 10
    assert server.metric("fastws_publications_total") == 1
    assert server.metric("fastws_connections") == 0
    beats = server.metric("fastws_loop_lag_seconds_count")
    assert beats > 0
    assert server.metric("fastws_loop_lag_seconds_bucket", le="+Inf") >= beats
    assert len(clients) == 10


def test_what_was_counted_stays_counted_when_workers_are_killed(supervise: Supervise) -> None:
    server = supervise()
    for _ in range(10):
        server.connect()
    assert opened(server) == 10  # what is known of the dead is what the last scrape saw
    before = server.pids()
    for worker in server.workers():
        worker.kill()
    server.wait_until(lambda: len(server.workers()) == 2 and not server.pids() & before)
    server.wait_for("worker is ready", 4)
    assert opened(server) == 10
    assert server.metric("fastws_connections") == 0


def test_a_scrape_waits_for_no_worker_that_hangs(supervise: Supervise) -> None:
    server = supervise(workers=3)
    clients = [server.connect() for _ in range(12)]
    assert opened(server) == 12
    stuck = server.worker_of(clients[0])
    stuck.suspend()
    try:
        for _ in range(3):
            text = scrape_of_another(server)
            assert 'fastws_connections_opened_total{dialect="channels"} 12.0' in text
            assert 'fastws_connections{codec="json",dialect="channels"} 12.0' in text
    finally:
        stuck.resume()
    assert opened(server) == 12


def scrape_of_another(server: Supervised) -> str:
    """The response of the first worker to answer; connections to the socket of the blocked one are not accepted."""
    with ExitStack() as stack:
        asked = []
        for _ in range(12):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS))
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            asked.append(client)
        answering, _, _ = select.select(asked, [], [], PATIENCE_SECONDS)
        assert answering, "no worker answers"
        answer = answering[0].makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 200 ")
    return answer.decode()


def test_scrapes_continue_while_workers_die_and_come_back(supervise: Supervise) -> None:
    server = supervise()
    assert server.get("/metrics")[0] == 200
    for _ in range(3):
        victim = server.workers()[0]
        victim.kill()
        assert server.get("/metrics")[0] == 200
        server.wait_until(lambda victim=victim: len(server.workers()) == 2 and victim.pid not in server.pids())
    server.signal(signal.SIGHUP)
    while len(server.log_lines("worker replaced")) < 2:
        status, body = server.get("/metrics")
        assert status == 200
        assert b"fastws_connections_opened_total" in body
    headers = {"Authorization": f"Bearer {BROADCAST_KEY}"}
    assert server.get("/connections", headers)[0] == 200
    server.assert_clean_log()
