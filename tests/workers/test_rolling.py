"""SIGHUP: every worker is replaced, all at one moment, and clients that connect meanwhile are not refused."""

from __future__ import annotations

import signal
import socket
import ssl
import threading
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.hostile.certificates import Certificate
from tests.hostile.server_process import PATIENCE_SECONDS, SECRET
from tests.serving import UPGRADE
from tests.workers.conftest import Supervise
from tests.workers.supervised import READY, Supervised, ask

REQUEST = UPGRADE.format(path="/").encode()


def roll(server: Supervised) -> None:
    """One whole roll."""
    rolled = len(server.log_lines("worker replaced")) + len(server.workers())
    server.signal(signal.SIGHUP)
    server.wait_for("worker replaced", rolled)


def connect_to_both(server: Supervised) -> list[ClientConnection]:
    """So many clients that each of two workers has one. It then takes its time to drain."""
    return [server.connect() for _ in range(24)]


def upgrade(port: int) -> bytes:
    """The status line that a new client gets."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as client:
        client.sendall(REQUEST)
        return client.recv(4096).partition(b"\r\n")[0]


def test_every_worker_is_replaced_and_its_clients_are_asked_to_reconnect(supervise: Supervise) -> None:
    server = supervise()
    before = server.pids()
    clients = [server.connect() for _ in range(8)]
    roll(server)
    assert len(server.pids()) == 2
    assert not server.pids() & before
    for client in clients:
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(PATIENCE_SECONDS)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
    server.assert_clean_log()


def test_a_thousand_connects_during_rolls_are_all_accepted(supervise: Supervise) -> None:
    server = supervise()
    answers: list[bytes | OSError] = []
    enough = threading.Event()

    def connect_again_and_again() -> None:
        while not enough.is_set():
            try:
                answers.append(upgrade(server.port))
            except OSError as error:
                answers.append(error)

    threads = [threading.Thread(target=connect_again_and_again) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        roll(server)
        while len(answers) < 1000:
            roll(server)
    finally:
        enough.set()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
    assert set(answers) == {b"HTTP/1.1 101 Switching Protocols"}


def test_connects_over_tls_during_a_roll_are_all_accepted(supervise: Supervise, tmp_path: Path) -> None:
    certificate = Certificate(tmp_path)
    server = supervise(*certificate.flags)
    trust = ssl.create_default_context(cafile=certificate.cert)
    answers: list[bytes | OSError] = []
    enough = threading.Event()

    def connect_again_and_again() -> None:
        while not enough.is_set():
            try:
                with (
                    socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) as plain,
                    trust.wrap_socket(plain, server_hostname="localhost") as client,
                ):
                    client.sendall(REQUEST)
                    answers.append(client.recv(4096).partition(b"\r\n")[0])
            except OSError as error:
                answers.append(error)

    threads = [threading.Thread(target=connect_again_and_again) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        roll(server)
        roll(server)
    finally:
        enough.set()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
    assert len(answers) > 100
    assert set(answers) == {b"HTTP/1.1 101 Switching Protocols"}


def test_a_client_that_has_connected_but_not_yet_sent_its_request_is_accepted_too(supervise: Supervise) -> None:
    server = supervise()
    early = [socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) for _ in range(12)]
    try:
        server.signal(signal.SIGHUP)
        server.wait_for(READY, 3)
        for client in early:
            client.sendall(REQUEST)
        assert {client.recv(4096).partition(b"\r\n")[0] for client in early} == {b"HTTP/1.1 101 Switching Protocols"}
        server.wait_for("worker replaced", 2)
    finally:
        for client in early:
            client.close()


def test_a_client_is_moved_once_and_to_a_new_worker(supervise: Supervise) -> None:
    """Replaced one by one, old workers took the clients of those before them, and moved them again."""
    server = supervise("--drain-timeout", "2", workers=3)
    clients = [server.connect() for _ in range(12)]
    server.signal(signal.SIGHUP)
    moved = []
    for client in clients:
        with pytest.raises(ConnectionClosed):
            client.recv(PATIENCE_SECONDS)
        moved.append(server.connect())
    lines = server.wait_for("worker replaced", 3)
    assert [line["left"] for line in lines] == [2, 1, 0]
    for client in moved:
        assert ask(client, {"action": "ping"})["type"] == "pong"
    assert server.metric("fastws_connections_closed_total", code="1012") == len(clients)


def test_new_worker_that_dies_before_the_others_are_ready_ends_the_roll(supervise: Supervise, tmp_path: Path) -> None:
    """The second of three new ones exits: the first one leaves again, no old one has stopped."""
    deed = "os._exit(3)"
    (tmp_path / "dies.py").write_text(
        "import os, pathlib, sys\n"
        f"place = pathlib.Path({str(tmp_path / 'starts')!r})\n"
        "if 'fastws.workers.worker' in sys.orig_argv:\n"
        "    with place.open('a') as starts:\n"
        "        starts.write('x')\n"
        f"    if len(place.read_text()) == 5:\n        {deed}\n"
        "def allows(user, action, channel, claims):\n    return True\n"
    )
    server = supervise("--authorizer", "dies:allows", workers=3, environment={"PYTHONPATH": str(tmp_path)})
    before = server.pids()
    client = server.connect()
    server.signal(signal.SIGHUP)
    server.wait_for("rolling restart stopped: the new worker failed, old workers keep running")
    server.wait_until(lambda: server.pids() == before)
    assert ask(client, {"action": "ping"})["type"] == "pong"
    roll(server)
    assert not server.pids() & before


def test_idle_http_connections_of_replaced_workers_are_closed(supervise: Supervise) -> None:
    server = supervise("--drain-timeout", "3")
    ready = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    websockets = connect_to_both(server)
    plain = [socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) for _ in range(8)]
    try:
        for client in plain:
            client.sendall(ready)
            assert b"Connection: close" not in client.recv(4096)
        server.signal(signal.SIGHUP)
        server.wait_for("draining", 2)
        closed = []
        for client in plain:
            try:
                client.sendall(ready)
                answer = client.recv(4096)
            except ConnectionError:
                answer = b""
            assert not answer or answer.startswith(b"HTTP/1.1 200 ")
            closed.append(not answer)
        assert all(closed)
    finally:
        for client in plain:
            client.close()
    assert websockets


def test_request_begun_before_its_worker_is_replaced_gets_a_last_answer(supervise: Supervise) -> None:
    server = supervise("--drain-timeout", "3")
    ready = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    websockets = connect_to_both(server)
    plain = [socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) for _ in range(8)]
    try:
        for client in plain:
            client.sendall(ready)
            assert b"Connection: close" not in client.recv(4096)
            client.sendall(ready[:-2])
        server.signal(signal.SIGHUP)
        server.wait_for("draining", 2)
        last = []
        for client in plain:
            client.sendall(ready[-2:])
            answer = client.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200 ")
            last.append(b"connection: close" in answer.lower())
        assert all(last)
    finally:
        for client in plain:
            client.close()
    assert websockets


def test_second_sighup_replaces_those_too_that_are_new_already(supervise: Supervise) -> None:
    server = supervise()
    server.signal(signal.SIGHUP)
    server.wait_for("worker replaced", 1)
    first_new = {int(str(line["pid"])) for line in server.log_lines(READY)}
    server.signal(signal.SIGHUP)
    server.wait_for("rolling restart started", 2)
    server.wait_until(lambda: len(server.workers()) == 2 and not server.pids() & first_new)
    assert len(server.wait_for("worker replaced", 3)) >= 3


@pytest.mark.parametrize("moment", ["rolling restart started", READY])
def test_sigterm_during_a_roll_drains_all_and_exits_with_0(supervise: Supervise, moment: str) -> None:
    server = supervise()
    clients = [server.connect() for _ in range(6)]
    server.signal(signal.SIGHUP)
    server.wait_for(moment, 1 if moment == "rolling restart started" else 3)
    server.signal(signal.SIGTERM)
    assert server.wait(PATIENCE_SECONDS) == 0
    for client in clients:
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(PATIENCE_SECONDS)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
    assert not server.log_lines("rolling restart stopped: the new worker failed, old workers keep running")


def test_new_workers_have_the_settings_as_they_are_now(supervise: Supervise, tmp_path: Path) -> None:
    file = tmp_path / "fastws.toml"
    file.write_text(f'broadcast_key = ["first"]\njwt_secret = "{SECRET}"\n')
    server = supervise("--config", str(file), has_keys=False)
    assert server.get("/connections", {"Authorization": "Bearer first"})[0] == 200
    file.write_text(f'broadcast_key = ["second"]\njwt_secret = "{SECRET}"\n')
    roll(server)
    for _ in range(8):
        assert server.get("/connections", {"Authorization": "Bearer second"})[0] == 200
        assert server.get("/connections", {"Authorization": "Bearer first"})[0] == 401


def test_settings_that_cannot_be_used_leave_all_as_it_was(supervise: Supervise, tmp_path: Path) -> None:
    file = tmp_path / "fastws.toml"
    file.write_text("max_connections = 100\n")
    server = supervise("--config", str(file))
    before = server.pids()
    file.write_text("max_conections = 100\n")
    server.signal(signal.SIGHUP)
    line = server.wait_for("rolling restart not started: invalid settings")[0]
    assert "max_conections" in str(line["error"])
    assert server.pids() == before
    file.write_text('authorizer = "no_such_module:function"\n')
    server.signal(signal.SIGHUP)
    line = server.wait_for("rolling restart stopped: the new worker failed, old workers keep running")[0]
    assert "no_such_module" in str(line["error"])
    assert server.pids() == before
    assert ask(server.connect(), {"action": "ping"})["type"] == "pong"


def test_a_new_worker_that_dies_at_once_does_not_affect_the_old_ones(supervise: Supervise, tmp_path: Path) -> None:
    server = supervise()
    before = server.pids()
    client = server.connect()
    server.signal(signal.SIGHUP)
    server.wait_until(lambda: server.pids() - before)
    for new in server.workers():
        if new.pid not in before:
            new.kill()
    server.wait_for("rolling restart stopped: the new worker failed, old workers keep running")
    assert ask(client, {"action": "ping"})["type"] == "pong"
    roll(server)
    assert not server.pids() & before


def test_old_worker_that_dies_during_its_roll_is_not_replaced_twice(supervise: Supervise) -> None:
    server = supervise()
    before = server.workers()
    server.signal(signal.SIGHUP)
    server.wait_until(lambda: len(server.workers()) == 3)
    for old in before:
        old.kill()
    server.wait_for("worker replaced", 2)
    server.wait_until(lambda: len(server.workers()) == 2)
    assert ask(server.connect(), {"action": "ping"})["type"] == "pong"
