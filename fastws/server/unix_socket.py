"""Listening Unix sockets: stale files are replaced, and the file is deleted on close."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path
from typing import Final, Protocol

# Backlog of all listening sockets.
BACKLOG: Final = 4096


class Closable(Protocol):
    def close(self) -> None: ...


class UnixServer:
    """`server`, listening on `path`. Deletes the file on close, which the event loops do not before Python 3.13."""

    def __init__(self, server: Closable, path: str) -> None:
        self._server = server
        self._path = path
        self._inode = os.stat(path).st_ino

    def close(self) -> None:
        """Stop listening and delete the file, unless another process has replaced it."""
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self._path).st_ino == self._inode:
                os.unlink(self._path)
        self._server.close()


def listen_at(path: Path) -> socket.socket:
    """Return a listening Unix socket. Replaces a file on which no process listens. Raises OSError."""
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
