"""Rows A13, F10 and I4: all clients at once, and too little memory for all."""

from __future__ import annotations

import selectors
import signal
import socket
import time

from tests.hostile.conftest import Run, Watch
from tests.hostile.raw_client import connected, upgrade

MIB = 1 << 20


class Storm:
    """`count` clients that connect and upgrade at the same time; `left` are those without an answer at the end."""

    def __init__(self, port: int, count: int, *, bound_seconds: float) -> None:
        self._selector = selectors.DefaultSelector()
        self._begun: set[socket.socket] = set()
        self.statuses: dict[int, int] = {}
        self.open: list[socket.socket] = []
        for number in range(count):
            client = socket.socket()
            client.setblocking(False)
            client.bind((f"127.0.{number // 200}.{2 + number % 200}", 0))
            client.connect_ex(("127.0.0.1", port))
            self._begun.add(client)
            self._selector.register(client, selectors.EVENT_WRITE)
        deadline = time.monotonic() + bound_seconds
        while self._begun and time.monotonic() < deadline:
            for key, events in self._selector.select(0.5):
                assert isinstance(key.fileobj, socket.socket)
                self._go_on(key.fileobj, events)
        self.left = len(self._begun)

    def _go_on(self, client: socket.socket, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                client.send(upgrade())
                self._selector.modify(client, selectors.EVENT_READ)
                return
            answer = client.recv(4096)
        except OSError:
            answer = b""
        status = int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self._begun.discard(client)
        self._selector.unregister(client)
        self.open.append(client)

    def close(self) -> None:
        for client in (*self.open, *self._begun):
            client.close()
        self._selector.close()


def test_f10_all_clients_reconnect_at_once_after_a_crash(run: Run) -> None:
    count = 4000
    first = run()
    before = Storm(first.port, count, bound_seconds=60)
    assert before.statuses == {101: count}
    first.signal(signal.SIGKILL)
    first.wait()
    before.close()
    second = run("--port", str(first.port))
    after = Storm(second.port, count, bound_seconds=60)
    try:
        assert after.left == 0
        assert after.statuses == {101: count}
        second.wait_until(lambda: second.metric("fastws_connections") == count)
    finally:
        after.close()
    second.wait_until(lambda: second.metric("fastws_connections") == 0)
    second.assert_clean_log()


def test_a13_over_a_limit_a_storm_is_turned_away_at_once_and_those_inside_are_served(run: Run, watch: Watch) -> None:
    server = run("--max-connections", "500")
    canary = watch(server, comes_anew=False)
    server.wait_until(lambda: canary.pings)
    storm = Storm(server.port, 3000, bound_seconds=60)
    try:
        assert storm.left == 0
        assert set(storm.statuses) == {101, 503}
        assert storm.statuses[101] == 499  # and the canary
    finally:
        storm.close()
    server.wait_until(lambda: server.metric("fastws_connections") <= 2)
    assert server.metric("fastws_handshakes_refused_total", reason="full") >= storm.statuses[503]
    server.assert_clean_log()
    canary.check(ping_seconds=5.0)


def test_i4_with_little_memory_clients_that_do_not_read_are_closed_and_the_process_lives(
    run: Run, watch: Watch
) -> None:
    server = run("--max-queue-messages", "100000", address_space=700 * MIB)
    canary = watch(server)
    stalled = []
    for _ in range(200):
        client = connected(server.port, receive_buffer=4096)
        client.say({"action": "subscribe", "channel": "a"})
        stalled.append(client)
    while server.metric("fastws_slow_consumers_total") < 200:
        server.publish("a", "x" * (MIB // 2))
    for client in stalled:
        client.close()
    canary.check(ping_seconds=5.0, handshake_seconds=10.0)
    server.assert_clean_log()
