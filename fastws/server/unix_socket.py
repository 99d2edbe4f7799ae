"""A listening Unix socket: never one that somebody else listens at, and its file goes when it is closed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from pathlib import Path
from typing import Final

# Connections that may wait to be accepted, on any listening socket of ours.
BACKLOG: Final = 4096


class UnixServer:
    """`server`, listening at `path`. Neither loop takes the file away before Python 3.13."""

    def __init__(self, server: asyncio.Server, path: str) -> None:
        self._server = server
        self._path = path
        self._inode = os.stat(path).st_ino

    def close(self) -> None:
        """Stop listening, and remove the file unless another process has put its own in the place."""
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self._path).st_ino == self._inode:
                os.unlink(self._path)
        self._server.close()


def listen_at(path: Path) -> socket.socket:
    """A listening Unix socket; one that nobody answers at is taken away first. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        if path.is_socket():
            if listener.connect_ex(str(path)) == 0:
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))  # noqa: TRY301 one way out
            path.unlink()
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
