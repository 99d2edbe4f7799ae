"""systemd's protocols: state, watchdog, and sockets that it listens on."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from fastws.config import Config
from fastws.server.systemd import Notifier, take_sockets, with_address_of
from tests.hostile.server_process import PATIENCE_SECONDS, ServerProcess
from tests.redis_server import RedisServer


def state(server: ServerProcess, beginning: str) -> str:
    """The next state that the server reports that begins with these words. It may have exited since."""
    for _ in range(int(PATIENCE_SECONDS / 0.1)):
        text = server.notification()
        if text is not None and text.startswith(beginning):
            return text
    raise AssertionError(f"no {beginning!r}: {server.log()}")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_service_reports_that_it_is_ready_reloads_and_stops(workers: int, redis_server: RedisServer) -> None:
    flags = ("--workers", str(workers), "--redis-url", redis_server.url, "--log-format", "json")
    with ServerProcess(*flags) as server:  # which waits for READY=1
        server.signal(signal.SIGHUP)
        assert state(server, "RELOADING=1\nMONOTONIC_USEC=").rpartition("=")[2].isdecimal()
        state(server, "READY=1\n")
        server.signal(signal.SIGTERM)
        state(server, "STOPPING=1\n")
        assert server.wait(PATIENCE_SECONDS) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_the_watchdog_is_fed_until_the_process_hangs(workers: int, redis_server: RedisServer) -> None:
    flags = ("--workers", str(workers), "--redis-url", redis_server.url)
    with ServerProcess(*flags, environment={"WATCHDOG_USEC": "200000"}) as server:
        for _ in range(3):
            state(server, "WATCHDOG=1")
        server.signal(signal.SIGSTOP)
        while server.notification() is not None:  # those that were sent before
            continue
        assert server.notification() is None
        server.signal(signal.SIGCONT)
        state(server, "WATCHDOG=1")


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000000"}, 15.0),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"NOTIFY_SOCKET": "/x"}, None),
        ({"WATCHDOG_USEC": "30000000"}, None),
    ],
)
def test_the_watchdog_is_that_of_this_process(environment: dict[str, str], seconds: float | None) -> None:
    assert Notifier(environment).watchdog_seconds == seconds
    assert environment == {}  # so that what a hook starts does not speak for the server


def test_a_name_in_the_abstract_namespace_is_reached() -> None:
    name = f"fastws-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready("here")
        assert manager.recv(100) == b"READY=1\nSTATUS=here"


def test_a_service_manager_that_is_gone_does_no_harm(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nothing")}).ready("here")
    Notifier({}).stopping()


# --- sockets

# systemd sets LISTEN_PID after the fork: the shell keeps its process id for the server.
ACTIVATED = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" -m fastws serve "$@"'


def run_activated(listener: socket.socket, *flags: str) -> ServerProcess:
    """A server that listens on `listener`, as descriptor 3."""

    def pass_as_3() -> None:
        os.dup2(listener.fileno(), 3)

    return ServerProcess(*flags, command=("sh", "-c", ACTIVATED, sys.executable), preparation=pass_as_3)


@pytest.mark.parametrize("workers", [1, 2])
def test_it_listens_on_the_socket_of_systemd(workers: int, redis_server: RedisServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        flags = ("--port", "1", "--workers", str(workers), "--redis-url", redis_server.url)
        with run_activated(listener, *flags) as server:
            assert server.port == port
            assert server.get("/health")[0] == 200
            server.signal(signal.SIGTERM)
            assert server.wait(PATIENCE_SECONDS) == 0
        # The socket is systemd's: clients wait in its backlog until the next start.
        with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as waiting:
            waiting.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            with run_activated(listener, *flags):
                assert waiting.recv(100).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("workers", [1, 2])
def test_the_file_of_an_inherited_unix_socket_stays(workers: int, redis_server: RedisServer, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        flags = ("--workers", str(workers), "--redis-url", redis_server.url)
        with run_activated(listener, *flags) as server, socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")
            server.signal(signal.SIGTERM)
            assert server.wait(PATIENCE_SECONDS) == 0
        assert path.exists()


def test_sockets_for_another_process_are_not_used() -> None:
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x"}
    assert take_sockets(environment) == []
    assert environment == {}


def test_the_address_of_inherited_sockets_decides_which_clients_are_local() -> None:
    config = Config(unix_socket="/configured")
    with socket.create_server(("127.0.0.1", 0)) as here, socket.create_server(("0.0.0.0", 0)) as everywhere:
        assert with_address_of(config, [here]).host == "127.0.0.1"
        both = with_address_of(config, [here, everywhere])
        assert (both.host, both.port, both.unix_socket) == ("0.0.0.0", everywhere.getsockname()[1], None)
    assert with_address_of(config, []) == config
