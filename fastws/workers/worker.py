"""The main function of a worker process, which `Child` starts with its order."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import Any

import structlog

from fastws.config import Config
from fastws.errors import ConfigError
from fastws.logs import start_logging
from fastws.server.exit import run_own_process
from fastws.server.process import run as run_loop
from fastws.server.process import serve_until_stopped
from fastws.server.server import Server
from fastws.workers.reports import ERROR, READY, report

log = structlog.stdlib.get_logger("fastws.workers.worker")


def run(order: dict[str, Any]) -> int:
    """Serve on the inherited sockets until stopped. Returns the exit code: 2 for invalid settings."""
    return run_own_process(lambda: _main(order))


def _main(order: dict[str, Any]) -> int:
    for number in (*order["sockets"], order["lifeline"], order["report"]):
        os.set_inheritable(number, False)  # noqa: FBT003 processes that a hook starts must not inherit them
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in order["config"].items()
    }
    config = Config(**values)
    start_logging(config.log_format, config.log_level)
    structlog.contextvars.bind_contextvars(worker=order["slot"])
    try:
        return _serve(order, config)
    except ConfigError as error:
        _report(order["report"], ERROR, error.message)
        return 2


def _serve(order: dict[str, Any], config: Config) -> int:
    folder = Path(order["folder"])
    server = Server(
        config,
        generated=order["generated"],
        listening_sockets=tuple(socket.socket(fileno=number) for number in order["sockets"]),
        workers_folder=folder,
    )
    if order["log_level"] != config.log_level:
        server.log_level.set(order["log_level"])
    is_orphan = run_loop(
        serve_until_stopped(server, lambda: _report(order["report"], READY), lifeline=order["lifeline"])
    )
    if is_orphan:
        # The supervisor can no longer delete it. Every worker tries; the last one succeeds.
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _report(pipe: int, kind: str, text: str = "") -> None:
    if not report(pipe, kind, text):
        log.warning("report not sent: the supervisor has exited", report=kind)
