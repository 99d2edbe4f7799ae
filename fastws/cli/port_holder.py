"""Which process listens on a TCP port of this machine, as far as Linux lets this user see."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Final

# The state LISTEN in /proc/net/tcp, see proc_net_tcp.rst of the kernel's documentation.
_LISTEN: Final = "0A"
_LONGEST: Final = 60


def holder_of(port: int, proc: Path = Path("/proc")) -> str | None:
    """Return "process PID (COMMAND)" for the process that listens on `port`, None if it is unknown.

    Without root, only processes of the same user are known; elsewhere than on Linux, none.
    """
    sockets = {f"socket:[{inode}]" for inode in _listening(port, proc)}
    if not sockets:
        return None
    for process in proc.glob("[0-9]*"):
        with suppress(OSError):
            if any(_target(each) in sockets for each in (process / "fd").iterdir()):
                return f"process {process.name} ({_program((process / 'cmdline').read_bytes())})"
    return None


def _listening(port: int, proc: Path) -> list[str]:
    """Return the inodes of the sockets that listen on `port`."""
    inodes = []
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (proc / "net" / name).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == _LISTEN and int(words[1].rpartition(":")[2], 16) == port:
                    inodes.append(words[9])
    return inodes


def _program(command: bytes) -> str:
    """Return the words of a command line before its options, which may contain secrets."""
    words = command.decode(errors="replace").rstrip("\0").split("\0")
    shown = re.sub(r"[^\x20-\x7e]", "?", " ".join(takewhile(lambda word: not word.startswith("--"), words)))
    return shown if len(shown) <= _LONGEST else shown[:_LONGEST] + "…"


def _target(link: Path) -> str:
    with suppress(OSError):
        return os.readlink(link)
    return ""
