"""fastws and the servers it is compared with: how each is started, and whether it is installed."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PEERS: Final = Path(__file__).resolve().parents[1] / "peers"
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fastws-benchmarks"
START_SECONDS: Final = 60.0


@dataclass(slots=True, frozen=True)
class Peer:
    """A server under test. `packages` are its PyPI distributions; a server for node has a `node_package` instead."""

    name: str
    title: str
    command: tuple[str, ...]
    packages: tuple[str, ...] = ()
    node_package: str = ""

    def version(self) -> str | None:
        """The installed version as text; None if it is not installed."""
        if self.node_package:
            return _node_version(self.node_package)
        try:
            return " + ".join(f"{name} {importlib.metadata.version(name)}" for name in self.packages)
        except importlib.metadata.PackageNotFoundError:
            return None

    @property
    def how_to_install(self) -> str:
        if self.node_package:
            return f"npm package {self.node_package} is not available (it needs node, npm and a network)"
        return f"not installed; pip install {' '.join(self.packages)}"


def choices(names: Sequence[str]) -> Callable[[str], set[str]]:
    """An argparse type for a comma-separated list of `names`."""

    def parse(text: str) -> set[str]:
        unknown = sorted(set(text.split(",")) - set(names))
        if unknown:
            raise argparse.ArgumentTypeError(f"must be of {', '.join(names)}, not {', '.join(unknown)}")
        return set(text.split(","))

    return parse


def _python(program: str) -> tuple[str, ...]:
    return (sys.executable, str(PEERS / program), "{port}")


FASTWS: Final = Peer(
    "fastws",
    "fastws",
    (
        *(sys.executable, "-m", "fastws", "serve", "--port", "{port}"),
        *("--mount", "/echo=echo", "--log-level", "warning"),
    ),
    ("fastws-server",),
)
ALL: Final[Sequence[Peer]] = (
    FASTWS,
    Peer("socketify", "socketify (uWebSockets)", _python("socketify_server.py"), ("socketify",)),
    Peer("ws", "node ws", ("node", str(PEERS / "ws_server.js"), "{port}"), node_package="ws"),
    Peer("picows", "picows", _python("picows_server.py"), ("picows", "uvloop")),
    Peer("websockets", "websockets broadcast", _python("websockets_broadcast.py"), ("websockets", "uvloop")),
    Peer("aiohttp", "aiohttp", _python("aiohttp_server.py"), ("aiohttp", "uvloop")),
    Peer("starlette", "uvicorn + starlette", _python("starlette_uvicorn.py"), ("uvicorn", "starlette", "uvloop")),
)


def installed(names: set[str], program: str) -> tuple[list[Peer], dict[str, str]]:
    """Returns those of `names` (empty: all) that are installed, and their versions. Reports the others on stderr."""
    peers, versions = [], {}
    for peer in ALL:
        if names and peer.name not in names:
            continue
        version = peer.version()
        if version is None:
            print(f"{program}: skipping {peer.name}: {peer.how_to_install}", file=sys.stderr)
            continue
        peers.append(peer)
        versions[peer.name] = version
    return peers, versions


@contextlib.contextmanager
def running(peer: Peer, *, server_core: int, client_core: int) -> Iterator[tuple[int, str]]:
    """Start `peer` on one core, and pin this process and the load client that it starts to the other.

    Yields its process id and its URL.
    """
    port = free_port()
    command = [part.format(port=port) for part in peer.command]
    environment = {**os.environ, "NODE_PATH": str(CACHE / "node_modules")}
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {server_core})  # inherited by every thread of the server
    try:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    finally:
        os.sched_setaffinity(0, {client_core})
    try:
        wait_until_open(process, port, peer.name)
        yield process.pid, f"ws://127.0.0.1:{port}/"
    finally:
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.sched_setaffinity(0, everywhere)


def free_port() -> int:
    """Returns a port below the range of ephemeral ports, which clients may be using."""
    while True:
        port = random.randrange(15_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("0.0.0.0", port))
            return port


def wait_until_open(process: subprocess.Popen[bytes], port: int, name: str) -> None:
    """Returns when `port` accepts connections. Raises RuntimeError if the server exits or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{name} exited with code {process.returncode} instead of starting")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            time.sleep(0.3)
            return
        time.sleep(0.05)
    raise RuntimeError(f"{name} did not open its port within {START_SECONDS:.0f} s")


def _node_version(package: str) -> str | None:
    """The version of an npm package, downloaded into the cache at the first call; None without node or network."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return None
    directory = CACHE / "node_modules" / package
    if not directory.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(CACHE), package]
        if subprocess.run(command, capture_output=True, timeout=180, check=False).returncode:
            return None
    ask = "console.log(require('{0}/package.json').version + ' on node ' + process.versions.node)"
    environment = {**os.environ, "NODE_PATH": str(CACHE / "node_modules")}
    answer = subprocess.run(
        ["node", "-e", ask.format(package)], env=environment, capture_output=True, text=True, check=False
    )
    return f"{package} {answer.stdout.strip()}" if answer.returncode == 0 else None
