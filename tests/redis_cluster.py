"""A Redis Cluster of the tests' own: three primaries with a replica each, on free ports of loopback."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis

from tests.ports import free_port_with_bus
from tests.redis_server import executable

SLOTS = 16_384
SHARDS = 3
PATIENCE_SECONDS = 20.0
POLL_SECONDS = 0.02
VOTE_SECONDS = 0.2


class ClusterNode:
    """One redis-server in cluster mode. It keeps its port and its identity over restarts."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port_with_bus()
        self.directory = directory / str(self.port)
        self.directory.mkdir()
        self.client = redis.Redis("127.0.0.1", self.port, protocol=2, decode_responses=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        self.id = str(self.ask("CLUSTER", "MYID"))

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    def ask(self, *words: str | int) -> object:
        return self.client.execute_command(*words)

    def start(self) -> None:
        command = [
            *(executable(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)),
            *("--save", "", "--appendonly", "no", "--loglevel", "warning", "--cluster-enabled", "yes"),
            *("--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no"),
            *("--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0"),
        ]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        until(self._answers, "a node answers")

    def kill(self) -> None:
        """SIGKILL, also of a node that is paused."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """SIGSTOP: the sockets stay open, nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def info(self) -> Mapping[str, str]:
        """CLUSTER INFO."""
        reply = self.ask("CLUSTER", "INFO")
        if isinstance(reply, Mapping):
            return reply
        return dict(line.split(":", 1) for line in str(reply).split("\r\n") if ":" in line)

    def is_primary(self) -> bool:
        return self.client.info("replication")["role"] == "master"

    def is_replica_in_sync(self) -> bool:
        found = self.client.info("replication")
        return found["role"] == "slave" and found.get("master_link_status") == "up"

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.directory / "log").read_text()
        with contextlib.suppress(redis.ConnectionError, redis.BusyLoadingError):
            return bool(self.client.ping())
        return False


class RedisCluster:
    """`nodes` has the first primaries, then a replica of each, then nodes that were added later."""

    def __init__(self, directory: Path, shards: int = SHARDS, *, has_replicas: bool = True) -> None:
        self._directory = directory
        self.nodes = [ClusterNode(directory) for _ in range(shards * (2 if has_replicas else 1))]
        bounds = [SLOTS * shard // shards for shard in range(shards + 1)]
        for epoch, (node, (first, after)) in enumerate(
            zip(self.nodes[:shards], pairwise(bounds), strict=True), start=1
        ):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", epoch)
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, after - 1)
        for node in self.nodes[1:]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        self._wait_until_known()
        for primary, replica in zip(self.nodes[:shards], self.nodes[shards:], strict=False):
            replica.ask("CLUSTER", "REPLICATE", primary.id)
        self.wait_until_whole()

    @property
    def running(self) -> list[ClusterNode]:
        return [node for node in self.nodes if node.is_running]

    @property
    def seeds(self) -> list[tuple[str, int]]:
        return [node.address for node in self.nodes]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"{host}:{port}" for host, port in self.seeds)

    def owner(self, slot: int, view: ClusterNode | None = None) -> ClusterNode:
        """The primary of `slot`, as `view` (by default the first node that runs) knows it."""
        for first, last, port in _ranges(view or self.running[0]):
            if first <= slot <= last:
                return self._at(port)
        raise AssertionError(f"nobody owns slot {slot}")

    def replica_of(self, primary: ClusterNode) -> ClusterNode:
        for node in self.running:
            if node.client.info("replication").get("master_port") == primary.port:
                return node
        raise AssertionError(f"{primary.port} has no replica")

    def fail_over(self, replica: ClusterNode) -> None:
        """CLUSTER FAILOVER, while everybody runs. Returns when all nodes know it."""

        def is_promoted() -> bool:
            # The others vote only once in a while for a shard: after another failover it takes several attempts.
            if not replica.is_primary():
                replica.ask("CLUSTER", "FAILOVER")
                time.sleep(VOTE_SECONDS)
            return replica.is_primary()

        until(is_promoted, "the replica is promoted")
        self.wait_until_whole()

    def add_node(self) -> ClusterNode:
        """Add a primary without slots."""
        node = ClusterNode(self._directory)
        self.nodes.append(node)
        node.ask("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        self._wait_until_known()
        # It refuses keys for the first two seconds.
        self.wait_until_whole()
        return node

    def move_slots(self, slots: range, target: ClusterNode) -> None:
        """Move `slots` with their keys, as `redis-cli --cluster reshard` does it."""
        for slot in slots:
            source = self.owner(slot, target)
            if source is not target:
                self.begin_move(slot, source, target)
                self.carry_keys(slot, source, target)
                self.end_move(slot, source, target)

    def begin_move(self, slot: int, source: ClusterNode, target: ClusterNode) -> None:
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)

    def carry_keys(self, slot: int, source: ClusterNode, target: ClusterNode) -> None:
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
            assert isinstance(keys, list)
            source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)

    def end_move(self, slot: int, source: ClusterNode, target: ClusterNode) -> None:
        for node in (target, source):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.id)

    def wait_until_whole(self) -> None:
        """Wait until all running nodes agree on the owners of all slots, and the replicas have their data."""
        until(self._is_whole, "the cluster is whole")

    def _is_whole(self) -> bool:
        views = {str(_ranges(node)) for node in self.running}
        infos = [node.info() for node in self.running]
        # A primary accepts writes two seconds after its start.
        is_complete = all((info["cluster_slots_ok"], info["cluster_state"]) == (str(SLOTS), "ok") for info in infos)
        is_in_sync = all(node.is_primary() or node.is_replica_in_sync() for node in self.running)
        return len(views) == 1 and is_complete and is_in_sync

    def _wait_until_known(self) -> None:
        count = str(len(self.running))
        until(lambda: all(node.info()["cluster_known_nodes"] == count for node in self.running), "all nodes have met")

    def _at(self, port: int) -> ClusterNode:
        return next(node for node in self.nodes if node.port == port)

    def close(self) -> None:
        for node in self.nodes:
            node.kill()
            node.client.close()


def until(is_true: Callable[[], bool], what: str) -> None:
    """Wait until `is_true`; fail with `what` when that takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(POLL_SECONDS)


def _ranges(node: ClusterNode) -> list[tuple[int, int, int]]:
    """The first and the last slot of each range, and the port of its primary."""
    reply = node.ask("CLUSTER", "SLOTS")
    assert isinstance(reply, list)
    return sorted((first, last, primary[1]) for first, last, primary, *_ in reply)


@pytest.fixture(scope="module")
def _shared_redis_cluster() -> Iterator[RedisCluster]:
    with TemporaryDirectory(prefix="fastws-cluster-") as directory:
        cluster = RedisCluster(Path(directory))
        yield cluster
        cluster.close()


@pytest.fixture
def redis_cluster(_shared_redis_cluster: RedisCluster) -> Iterator[RedisCluster]:
    """A whole cluster, the same one for all tests of a module.

    A test may move slots, add nodes and kill nodes: they run again after it. Where slots and replicas are stays so.
    """
    cluster = _shared_redis_cluster
    yield cluster
    for node in cluster.nodes:
        node.resume()
        if not node.is_running:
            node.start()
    cluster.wait_until_whole()
    for node in cluster.running:
        with contextlib.suppress(redis.ReadOnlyError):
            node.client.flushall()
