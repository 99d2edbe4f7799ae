"""The process that listens on a port is named by its program, without its options, which may be secrets."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from fastws.cli.port_holder import holder_of


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_this_process_is_found(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as listening:
        listening.bind((host, 0))
        port = listening.getsockname()[1]
        assert holder_of(port) is None  # bound, and does not listen yet
        listening.listen()
        found = holder_of(port)
    assert found is not None
    assert found.startswith(f"process {os.getpid()} (")
    assert holder_of(port) is None


def process(proc: Path, command: bytes) -> Path:
    """A process with a socket that listens on port 8000."""
    (proc / "net").mkdir()
    line = "0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1 0 100 0 0 10 0"
    (proc / "net" / "tcp").write_text(f"head\n{line}\n")
    (proc / "12" / "fd").mkdir(parents=True)
    (proc / "12" / "fd" / "3").symlink_to("socket:[4711]")
    (proc / "12" / "cmdline").write_bytes(command)
    return proc


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (b"uvicorn\0app:app\0--port\0008000\0", "uvicorn app:app"),
        (b"python\0-m\0fastws\0serve\0--jwt-secret\0hidden\0", "python -m fastws serve"),
        (b"x\x1b[31m\0", "x?[31m"),
        (b"a" * 100, "a" * 60 + "…"),
    ],
)
def test_its_command_is_shown_without_options(tmp_path: Path, command: bytes, shown: str) -> None:
    assert holder_of(8000, process(tmp_path, command)) == f"process 12 ({shown})"


def test_a_process_that_this_user_may_not_see_is_unknown(tmp_path: Path) -> None:
    proc = process(tmp_path, b"other")
    (proc / "12" / "fd" / "3").unlink()
    assert holder_of(8000, proc) is None
    assert holder_of(8001, proc) is None
    assert holder_of(8000, tmp_path / "missing") is None
