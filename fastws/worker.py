"""One worker of a supervisor: `python -m fastws.worker` with its order as JSON on stdin."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import uvloop

from fastws.config import Config
from fastws.logs import start_logging
from fastws.running import serve_until_told
from fastws.server import Server


def main() -> int:
    """Serve on the inherited socket until SIGTERM. Returns the exit code."""
    order = json.load(sys.stdin)
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in order["config"].items()
    }
    config = Config(**values)
    listener = start_logging(config.log_format, config.log_level)
    try:
        server = Server(
            config,
            is_key_made_up=order["is_key_made_up"],
            listening_socket=socket.socket(fileno=order["socket"]),
            workers_folder=Path(order["folder"]),
        )
        if order["log_level"] != config.log_level:
            server.log_level.set(order["log_level"])
        return uvloop.run(_serve(server))
    finally:
        listener.stop()


async def _serve(server: Server) -> int:
    def ready() -> None:
        os.write(sys.stdout.fileno(), b"ready\n")
        # Whatever prints from now on must not be taken for a message to the supervisor.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    await serve_until_told(server, ready)
    return 0


if __name__ == "__main__":
    sys.exit(main())
