"""The supervisor: workers that die, hang, cannot start; its own end, however it comes."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import psutil
import pytest
from websockets.exceptions import ConnectionClosed

from tests.hostile.server_process import PATIENCE_SECONDS, SECRET
from tests.redis_server import RedisServer
from tests.serving import UPGRADE
from tests.workers.conftest import Supervise
from tests.workers.supervised import READY, Supervised, ask

# Does what it says on its first line the first N times that a worker imports it.
HOOK = """
import os, pathlib, signal, sys, time
place = pathlib.Path({place!r})
# The supervisor imports it, too, to see whether it can be.
for number in range({times}) if "fastws.workers.worker" in sys.orig_argv else ():
    try:
        place.with_suffix(f".{{number}}").touch(exist_ok=False)
    except FileExistsError:
        continue
    {deed}
def allows(user, action, channel, claims):
    return True
"""


def hook(folder: Path, deed: str, times: int = 1) -> dict[str, object]:
    """Settings by which the first `times` workers do `deed` while they start."""
    (folder / "hook_of_tests.py").write_text(HOOK.format(place=str(folder / "done"), times=times, deed=deed))
    return {"environment": {"PYTHONPATH": str(folder), "FASTWS_AUTHORIZER": "hook_of_tests:allows"}}


def run_to_its_end(*flags: str, **environment: str) -> tuple[int, list[str]]:
    """Exit code and lines on stderr of `fastws serve`, which is to give up by itself."""
    ended = subprocess.run(
        [sys.executable, "-m", "fastws", "serve", "--port", "0", *flags],
        env={**os.environ, **environment},
        capture_output=True,
        timeout=60,
        check=False,
        text=True,
    )
    return ended.returncode, ended.stderr.splitlines()


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_dead_worker_is_replaced_and_the_others_clients_do_not_notice(supervise: Supervise) -> None:
    server = supervise()
    clients = [server.connect() for _ in range(12)]
    victim = server.worker_of(clients[0])
    there, elsewhere = [], []
    for client in clients:
        (there if server.worker_of(client).pid == victim.pid else elsewhere).append(client)
    assert elsewhere
    victim.kill()
    server.wait_for(READY, 3)
    assert not psutil.pid_exists(victim.pid)  # nor is it a zombie
    for client in elsewhere:
        assert ask(client, {"action": "ping"})["type"] == "pong"
        client.close()
    for client in there:
        with pytest.raises(ConnectionClosed):
            client.recv(PATIENCE_SECONDS)
    line = server.wait_for("worker exited unexpectedly")[0]
    assert (line["pid"], line["code"]) == (victim.pid, -signal.SIGKILL)
    assert float(str(line["restart_in_seconds"])) <= 1.0


def test_worker_that_dies_while_it_starts_is_started_again(supervise: Supervise, tmp_path: Path) -> None:
    server = supervise(**hook(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)"))
    assert len(server.workers()) == 2
    assert len(server.log_lines("worker exited unexpectedly")) == 1


def test_workers_that_cannot_start_at_all_end_the_start(redis_server: RedisServer, tmp_path: Path) -> None:
    settings = hook(tmp_path, "os._exit(3)", times=100)["environment"]
    code, lines = run_to_its_end("--workers", "2", "--redis-url", redis_server.url, **settings)  # type: ignore[arg-type]
    assert code == 1
    aborted, stopping, stopped = lines[-3:]
    assert "start aborted" in aborted
    assert "stopping" in stopping
    assert "stopped" in stopped


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (("--authorizer", "no_such_module:function"), "no_such_module"),
        (("--redis-url", "http://127.0.0.1"), "redis_url"),
    ],
)
def test_setting_that_only_a_worker_finds_wrong_is_one_line_and_code_2(
    redis_server: RedisServer, flags: tuple[str, ...], names: str
) -> None:
    code, lines = run_to_its_end("--workers", "3", "--redis-url", redis_server.url, "--log-level", "warning", *flags)
    assert code == 2
    assert len(lines) == 1, lines
    assert lines[0].startswith("fastws: ")
    assert names in lines[0]


def test_workers_without_redis_are_refused_with_the_way_to_get_one() -> None:
    code, lines = run_to_its_end("--workers", "2")
    assert code == 2
    assert len(lines) == 1
    assert lines[0].startswith("fastws: workers: ")
    assert "redis-server" in lines[0]


def test_worker_that_keeps_dying_takes_no_connections_from_the_others(supervise: Supervise) -> None:
    server = supervise()
    well = server.workers()[1].pid
    for deaths in range(1, 5):
        server.wait_until(lambda: len(server.workers()) == 2)
        next(worker for worker in server.workers() if worker.pid != well).kill()
        server.wait_for("worker exited unexpectedly", deaths)
    assert server.log_lines("worker exited unexpectedly")[-1]["restart_in_seconds"] == 1.6
    let_in = 0
    while server.pids() == {well} and let_in < 40:
        server.connect().close()  # by the other one, for there is nobody else
        let_in += 1
    assert let_in
    server.wait_until(lambda: len(server.log_lines(READY)) >= 3 and len(server.workers()) == 2)
    for _ in range(200):
        client = server.connect()
        is_served_by_both = server.worker_of(client).pid != well
        client.close()
        if is_served_by_both:
            return
    raise AssertionError("the worker that recovered takes no connections")


def test_sigterm_drains_all_and_exits_with_0(supervise: Supervise) -> None:
    server = supervise()
    clients = [server.connect() for _ in range(8)]
    pids = server.pids()
    server.signal(signal.SIGTERM)
    for client in clients:
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(PATIENCE_SECONDS)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
    assert server.wait() == 0
    assert not any(map(is_running, pids))
    server.assert_clean_log()


def test_a_client_that_connects_while_all_workers_drain_is_refused_at_once(supervise: Supervise) -> None:
    server = supervise("--drain-timeout", str(4 * PATIENCE_SECONDS))
    staying = server.worker_of(server.connect()).pid
    while server.worker_of(second := server.connect()).pid != staying:
        second.close()
    # So the other worker has nobody to wait for, and leaves its socket to the supervisor.
    server.signal(signal.SIGTERM)
    server.wait_for("draining", 1)
    outcomes = set()
    for _ in range(20):
        try:
            with socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) as late:
                late.sendall(UPGRADE.format(path="/").encode())
                outcomes.add(late.recv(4096).partition(b"\r\n")[0])
        except ConnectionError:
            outcomes.add(b"")
    # Refused, closed or told so; a worker that nobody serves any more would keep them waiting.
    assert outcomes <= {b"", b"HTTP/1.1 503 Service Unavailable"}
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_second_signal_stops_at_once(supervise: Supervise) -> None:
    server = supervise("--drain-timeout", "60")
    clients = [server.connect() for _ in range(8)]
    busy = {server.worker_of(client).pid for client in clients}
    server.signal(signal.SIGINT)
    server.wait_for("draining", len(busy))
    server.signal(signal.SIGINT)
    assert server.wait(40) == 0


def test_worker_that_hangs_is_killed_in_the_end(supervise: Supervise) -> None:
    server = supervise()
    stuck = server.workers()[0]
    stuck.suspend()
    server.signal(signal.SIGTERM)
    assert server.wait(PATIENCE_SECONDS) == 1
    assert not is_running(stuck.pid)
    assert [line["pid"] for line in server.log_lines("worker timed out and was killed")] == [stuck.pid]


def test_workers_and_the_embedded_redis_end_with_a_supervisor_that_is_killed() -> None:
    with Supervised("embedded") as server:
        children = server.watched.children(recursive=True)
        assert len(children) == 4  # two workers, their image and Redis
        client = server.connect()
        server.process.kill()
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(PATIENCE_SECONDS)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        _, alive = psutil.wait_procs(children, PATIENCE_SECONDS)
        assert not alive


def test_port_of_a_supervisor_that_was_killed_is_free_at_once(supervise: Supervise) -> None:
    server = supervise("--drain-timeout", "20")
    for _ in range(8):
        server.connect()
    orphans = server.workers()
    server.process.kill()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(server.log_lines("draining")) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert any(orphan.is_running() for orphan in orphans)
    successor = supervise("--port", str(server.port))
    assert ask(successor.connect(), {"action": "ping"})["type"] == "pong"
    assert successor.worker_of(successor.connect())
    for orphan in orphans:
        orphan.kill()


def test_embedded_redis_that_dies_costs_the_clients_of_all_workers_a_notice() -> None:
    with Supervised("embedded") as server:
        clients = [server.connect() for _ in range(8)]
        assert len({server.worker_of(client).pid for client in clients}) == 2
        for client in clients:
            assert ask(client, {"action": "subscribe", "channel": "news"})["type"] == "subscription_succeeded"
        redis = next(child for child in server.watched.children() if child.name() == "redis-server")
        redis.kill()
        for client in clients:
            assert json.loads(client.recv(PATIENCE_SECONDS)) == {"type": "gap", "channel": "news"}
        server.wait_until(lambda: server.get("/ready")[0] == 200 and server.metric("fastws_broker_up") == 1)
        server.publish("news", "hello")
        for client in clients:
            assert json.loads(client.recv(PATIENCE_SECONDS))["data"] == "hello"


def test_generated_secrets_are_the_same_in_all_workers(supervise: Supervise) -> None:
    terminal, its_end = os.openpty()
    server = supervise(has_keys=False, stdout=its_end)
    os.close(its_end)
    with open(terminal, "rb", buffering=0) as output:
        lines = iter(output.readline, b"")
        token, command = islice((next(lines).decode().strip() for line in lines if b"using a temporary" in line), 2)
    key = command.partition("Bearer ")[2].partition("'")[0]
    for _ in range(12):
        headers = {"Authorization": f"Bearer {key}"}
        assert server.get("/connections", headers)[0] == 200
        server.connect(f"/api/v1/ws?token={token}").close()


def test_port_that_is_taken_ends_the_start(redis_server: RedisServer, supervise: Supervise) -> None:
    server = supervise()
    flags = ("--workers", "2", "--redis-url", redis_server.url, "--port", str(server.port))
    code, lines = run_to_its_end(*flags)
    assert code == 2
    (line,) = lines
    assert line.startswith(f"fastws: cannot listen on 127.0.0.1:{server.port}: Address already in use; ")
    assert "--port 0" in line


def test_all_addresses_of_a_host_are_listened_on(supervise: Supervise) -> None:
    server = supervise("--host", "localhost")
    addresses = {str(found[4][0]) for found in socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)}
    for address in addresses:
        with socket.create_connection((address, server.port), PATIENCE_SECONDS):
            pass


def test_workers_share_a_unix_socket_that_is_gone_afterwards(redis_server: RedisServer, tmp_path: Path) -> None:
    path = tmp_path / "fastws.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with Supervised(redis_server.url, "--unix-socket", str(path)) as server:
        for _ in range(6):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        flags = ("--workers", "2", "--redis-url", redis_server.url, "--unix-socket", str(path))
        code, lines = run_to_its_end(*flags)
        assert code == 2
        (line,) = lines
        assert line.startswith(f"fastws: cannot listen on {path}: Address already in use; ")
        assert "--port" not in line
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert not path.exists()


def test_settings_larger_than_any_pipe_reach_the_workers(supervise: Supervise, tmp_path: Path) -> None:
    file = tmp_path / "fastws.toml"
    origins = ", ".join(f'"https://origin-{number}.example.org"' for number in range(5000))
    file.write_text(f"allowed_origins = [{origins}]\n")
    server = supervise("--config", str(file))
    request = "GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://origin-4999.example.org\r\nUpgrade: websocket\r\n"
    request += "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) as client:
        client.sendall(request.encode())
        assert client.recv(100).startswith(b"HTTP/1.1 101 ")


def test_modules_in_the_working_directory_do_not_replace_those_of_python(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / "socket.py").write_text("raise SystemExit('the wrong socket')")
    command = [sys.executable, "-P", "-m", "fastws", "serve", "--port", "0", "--workers", "2", "--log-format", "json"]
    server = subprocess.Popen(
        [*command, "--redis-url", redis_server.url, "--jwt-secret", SECRET],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert server.stderr is not None
    with server.stderr as log:
        assert any(b'"event": "listening"' in line for line in iter(log.readline, b""))
        server.terminate()
        log.read()
    assert server.wait(PATIENCE_SECONDS) == 0


def test_workers_take_all_the_descriptors_that_they_may_have(supervise: Supervise) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        server = supervise()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [worker.rlimit(psutil.RLIMIT_NOFILE)[0] for worker in server.workers()] == [hard, hard]


def test_lines_of_the_log_say_which_worker_wrote_them(supervise: Supervise) -> None:
    server = supervise()
    for _ in range(20):
        server.connect().close()
    assert {line["worker"] for line in server.log_lines("connection opened")} == {0, 1}


def test_the_interrupt_of_a_terminal_reaches_only_the_supervisor(supervise: Supervise) -> None:
    server = supervise()
    assert all(os.getpgid(worker.pid) != os.getpgid(server.pid) for worker in server.workers())
