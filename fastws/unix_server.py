"""A listening Unix socket whose file goes when it is closed."""

from __future__ import annotations

import asyncio
import contextlib
import os


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
