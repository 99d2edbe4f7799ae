"""nginx, HAProxy and Caddy in processes of their own, with the configurations that the package brings."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import pytest

from fastws.cli.deploy_files import content
from tests.ports import free_port

PATIENCE_SECONDS = 20.0
PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/bin", "/opt/homebrew/bin")
FILES = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg", "caddy": "Caddyfile"}
# A client at this address is outside: the shipped configurations count all of 127.0.0.0/8 as an internal network.
OUTSIDE = "127.0.0.9"


class ProxyProcess:
    """A proxy before servers on ports of loopback. Only addresses differ from the file that is shipped."""

    def __init__(self, kind: str, ports: Sequence[int]) -> None:
        self.kind = kind
        self.port = free_port()
        self.directory = tempfile.TemporaryDirectory(prefix="fastws-proxy-")
        program = shutil.which(kind, path=os.pathsep.join(PLACES))
        if program is None:
            pytest.skip(f"{kind} is not installed (apt install {'nginx-light' if kind == 'nginx' else kind})")
        self.log_path = Path(self.directory.name) / "log"
        path = Path(self.directory.name) / "configuration"
        path.write_text(_configured(kind, self.port, ports))
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [program, *_arguments(kind, path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "HOME": self.directory.name, "XDG_CONFIG_HOME": "", "XDG_DATA_HOME": ""},
            )

    async def until_it_listens(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                assert self.process.poll() is None, self.log()
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.01)
                else:
                    writer.close()
                    return

    def log(self) -> str:
        return self.log_path.read_text()

    def __enter__(self) -> ProxyProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)
        self.directory.cleanup()


def _configured(kind: str, port: int, servers: Sequence[int]) -> str:
    text = content(FILES[kind])
    changes = {f"fastws-{number}:8000": f"127.0.0.1:{server}" for number, server in enumerate(servers, 1)}
    changes["127.0.0.0/8"] = "127.0.0.0/29"
    if kind == "nginx":
        # Descriptors: as many as there are here. Two processes do for two cores.
        changes |= {
            "listen 80 ": f"listen 127.0.0.1:{port} ",
            "131072": "4096",
            "worker_processes auto": "worker_processes 2",
        }
        changes["worker_rlimit_nofile 1048576;"] = ""
    elif kind == "caddy":
        changes[":80 {\n"] = f":{port} {{\n\tbind 127.0.0.1\n"
    else:
        changes |= {"bind :80\n": f"bind 127.0.0.1:{port}\n", "maxconn 500000": "maxconn 2000"}
        changes["maxconn 200000"] = "maxconn 1000"
    for shipped, here in changes.items():
        assert shipped in text, shipped
        text = text.replace(shipped, here)
    return text


def _arguments(kind: str, path: Path) -> list[str]:
    if kind == "haproxy":
        return ["-db", "-f", str(path)]
    if kind == "caddy":
        return ["run", "--config", str(path), "--adapter", "caddyfile"]
    directives = f"daemon off; pid {path.parent}/pid; error_log stderr;"
    if os.geteuid() == 0:
        directives += " user root;"
    return ["-c", str(path), "-p", str(path.parent), "-g", directives]
