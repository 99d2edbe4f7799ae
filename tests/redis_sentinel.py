"""A primary, its replicas and their Sentinels: real processes, with intervals that make a failover quick."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import redis

from tests.redis_server import RedisServer, executable, free_port

SERVICE = "main"
PATIENCE_SECONDS = 30.0
# The first Sentinel notices first, and alone calls for the votes of the others: votes that were split would be repeated
# after 4 s and more.
# A replica is good if its last INFO is younger than five ping periods, and while the primary is down it is asked for
# every second: hence 300 ms. With no good replica the next attempt follows after 4 s and more, too.
DOWN_AFTER_MS = 800
LATER_MS = 1500
QUORUM = 1
FAILOVER_TIMEOUT_MS = 2000


class SentinelProcess:
    """One Sentinel that watches the primary at `primary_port`. `more` are further lines of its configuration."""

    def __init__(self, primary_port: int, place: int = 0, more: Sequence[str] = ()) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="fastws-sentinel-"))
        self.port = free_port()
        self._down_after = DOWN_AFTER_MS + place * LATER_MS
        self._config = self.directory / "sentinel.conf"
        self._config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.directory}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary_port} {QUORUM}\n"
            f"sentinel down-after-milliseconds {SERVICE} {self._down_after}\n"
            f"sentinel failover-timeout {SERVICE} {FAILOVER_TIMEOUT_MS}\n" + "\n".join(more)
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            command = [executable(), str(self._config), "--sentinel"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_until(self._is_quick)

    def _is_quick(self) -> bool:
        with self.client() as client:
            try:
                client.execute_command(
                    *("SENTINEL", "DEBUG", "info-period", "500", "publish-period", "200"),
                    *("ping-period", "300", "ask-period", "200"),
                )
            except redis.ConnectionError:
                return False
        return True

    def forget(self) -> None:
        """SENTINEL REMOVE."""
        with self.client() as client:
            client.execute_command("SENTINEL", "REMOVE", SERVICE)

    def watch(self, primary_port: int) -> None:
        """SENTINEL MONITOR."""
        with self.client() as client:
            client.execute_command("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", primary_port, QUORUM)
            client.execute_command("SENTINEL", "SET", SERVICE, "down-after-milliseconds", self._down_after)
            client.execute_command("SENTINEL", "SET", SERVICE, "failover-timeout", FAILOVER_TIMEOUT_MS)

    @property
    def primary_port(self) -> int:
        """The port that it names."""
        with self.client() as client:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, decode_responses=True, socket_timeout=5.0)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.send_signal(signal.SIGCONT)
            self.process.wait()
            self.process = None

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class SentinelSetUp:
    """`1 + replicas` servers and `sentinels` Sentinels. `url` names all Sentinels."""

    def __init__(self, replicas: int = 2, sentinels: int = 3) -> None:
        options = ("--repl-diskless-sync-delay", "0", "--repl-timeout", "5")
        self.servers = [RedisServer(*options) for _ in range(1 + replicas)]
        primary = self.servers[0]
        primary.start()
        for replica in self.servers[1:]:
            replica.start("--replicaof", "127.0.0.1", str(primary.port))
        self.sentinels = [SentinelProcess(primary.port, place) for place in range(sentinels)]
        for sentinel in self.sentinels:
            sentinel.start()
        self.wait_until_whole()

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}"

    @property
    def primary_port(self) -> int:
        """The port that the first running Sentinel names."""
        sentinel = next(sentinel for sentinel in self.sentinels if sentinel.process is not None)
        return sentinel.primary_port

    @property
    def primary(self) -> RedisServer:
        port = self.primary_port
        return next(server for server in self.servers if server.port == port)

    def replace_primary_by_hand(self) -> None:
        """Promote a replica, demote the primary, and give the Sentinels the new one, which they tell nobody.

        All connections to the old primary stay open.
        """
        old = self.primary
        new = next(server for server in self.servers if server is not old)
        for sentinel in self.sentinels:
            sentinel.forget()
        with new.client() as client:
            client.replicaof("NO", "ONE")
        for server in self.servers:
            if server is not new:
                with server.client() as client:
                    client.replicaof("127.0.0.1", new.port)
        for sentinel in self.sentinels:
            sentinel.watch(new.port)

    def start_failover(self) -> None:
        """SENTINEL FAILOVER, tried again while a Sentinel has no good replica."""

        def begins() -> bool:
            with self.sentinels[0].client() as client:
                try:
                    client.execute_command("SENTINEL", "FAILOVER", SERVICE)
                except redis.ResponseError:
                    return False
            return True

        wait_until(begins)

    def repair(self) -> None:
        """Start again what was killed, or let it continue, and wait until all is in order."""
        for sentinel in self.sentinels:
            if sentinel.process is None:
                sentinel.start()
        primary_port = str(self.primary_port)
        for server in self.servers:
            if server.process is None:
                server.start("--replicaof", "127.0.0.1", primary_port)
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Wait until every Sentinel knows all others, and replicas in good order."""
        wait_until(lambda: all(self._is_whole(sentinel) for sentinel in self.sentinels))

    def _is_whole(self, sentinel: SentinelProcess) -> bool:
        with sentinel.client() as client:
            (primary,) = client.sentinel_masters().values()
            replicas = client.sentinel_slaves(SERVICE)
        good = [one for one in replicas if one["flags"] == "slave" and one["master-link-status"] == "ok"]
        return (
            primary["num-other-sentinels"] == len(self.sentinels) - 1
            and primary["flags"] == "master"
            and len(good) == sum(server.process is not None for server in self.servers) - 1
        )

    def close(self) -> None:
        for sentinel in self.sentinels:
            sentinel.close()
        for server in self.servers:
            server.close()


def wait_until(condition: object) -> None:
    """Wait for a state of another process that nothing reports."""
    assert callable(condition)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS} s"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def sentinel_set_up() -> Iterator[SentinelSetUp]:
    """A running set-up for the tests of a module. Who kills a server starts it again as a replica."""
    set_up = SentinelSetUp()
    yield set_up
    set_up.close()
