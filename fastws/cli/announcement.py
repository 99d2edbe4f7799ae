"""Reports that the server listens: to systemd, on the terminal or in the log, and to the other commands."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Collection
from dataclasses import dataclass

import structlog

from fastws.cli.running import Record, RunningServer
from fastws.server.server import Server
from fastws.server.start_up import log_start, reachable_url, start_up_text
from fastws.server.systemd import Notifier
from fastws.setting_sources import environment_warnings

log = structlog.stdlib.get_logger("fastws.cli")


@dataclass(frozen=True, slots=True)
class Announcement:
    """Reports that `server` listens. `settings_file` is the file that its settings were read from, if any."""

    server: Server
    generated: Collection[str]
    notifier: Notifier
    record: Record
    settings_file: str | None

    def make(self) -> None:
        """Report to systemd, on the terminal or in the log, and in the record of running servers."""
        self.notifier.ready(f"listening on {self.server.url}")
        self.record.write(_running(self.server))
        warnings = environment_warnings(os.environ)
        if not sys.stdout.isatty():
            log_start(self.server, self.generated, warnings, self.settings_file)
            return
        text = start_up_text(self.server, self.generated, warnings, self.settings_file)
        # In a thread: a terminal that is stopped (Ctrl-S) must stop neither the server nor its end.
        threading.Thread(target=_print, args=(text,), name="fastws-start-up-text", daemon=True).start()


def _running(server: Server) -> RunningServer:
    config = server.config
    url = reachable_url(server)
    return RunningServer(
        pid=os.getpid(),
        ws_url=url,
        http_url=url.replace("ws", "http", 1).rstrip("/"),
        unix_socket=None if config.unix_socket is None else os.path.abspath(config.unix_socket),
        key=next(iter(config.broadcast_key), ""),
        jwt_secret=config.jwt_secret,
    )


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except OSError as error:
        log.warning("start-up text not printed", error=str(error))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
