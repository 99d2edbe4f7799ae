"""The servers of this user that run on this machine: each records its address and keys in a file of mode 600.

The file is locked while the server runs: a file without a lock was left behind by a server that was killed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import structlog

from fastws.errors import ConfigError

log = structlog.stdlib.get_logger("fastws.cli")


@dataclass(frozen=True, slots=True)
class RunningServer:
    """How clients and backends on this machine reach a server. `unix_socket` is the path of its socket, if any."""

    pid: int
    ws_url: str
    http_url: str
    unix_socket: str | None
    key: str
    jwt_secret: str | None

    @property
    def place(self) -> str:
        return self.unix_socket or self.http_url


class Record:
    """The file of this process. `write` creates it, `remove` deletes it."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._descriptor = -1

    def write(self, server: RunningServer) -> None:
        """Record `server`. Where that is not possible, the commands need --url and --key: it is logged."""
        folder = folder_of_user()
        if folder is None:
            return
        path = folder / f"{server.pid}.json"
        fresh = path.with_suffix(".new")
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            fresh.unlink(missing_ok=True)
            self._descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(self._descriptor, orjson.dumps(asdict(server)))
            fresh.rename(path)
        except OSError as error:
            log.debug("running server not recorded", path=str(path), error=str(error))
            return
        self._path = path

    def remove(self) -> None:
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._path, self._descriptor = None, -1


def folder_of_user() -> Path | None:
    """Return the folder of the records: in XDG_RUNTIME_DIR, else in HOME; None without both."""
    runtime, home = os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("HOME")
    if runtime:
        return Path(runtime) / "fastws"
    return Path(home) / ".fastws" if home else None


def running_servers() -> list[RunningServer]:
    """Return the servers of this user that run, by address. Deletes the records of those that were killed."""
    folder = folder_of_user()
    found = [] if folder is None else [server for path in folder.glob("*.json") for server in _read(path)]
    return sorted(found, key=lambda server: server.place)


def _read(path: Path) -> Iterator[RunningServer]:
    with suppress(OSError, orjson.JSONDecodeError, TypeError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield RunningServer(**orjson.loads(file.read()))
        else:
            path.unlink(missing_ok=True)


def the_running_server(*, over_tcp: bool = False) -> RunningServer | None:
    """Return the server that runs, None if none does. Raises ConfigError if several do.

    `over_tcp`: those on a Unix socket do not count.
    """
    servers = [server for server in running_servers() if not (over_tcp and server.unix_socket)]
    if len(servers) > 1:
        url = "ws" if over_tcp else "http"
        listed = ", ".join((each.ws_url if over_tcp else each.place) for each in servers)
        raise ConfigError(f"several servers run on this machine: choose one with --url ({url}://…): {listed}")
    return servers[0] if servers else None


def running_server_at(url: str) -> RunningServer | None:
    """Return the server of this user that runs at `url`, whatever the path; None if none does."""
    address = urlsplit(url).netloc
    return next((each for each in running_servers() if urlsplit(each.http_url).netloc == address), None)
