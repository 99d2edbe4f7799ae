"""The report at the start: a text on a terminal, log events elsewhere; what stops a start is named."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.server_process import PATIENCE_SECONDS, ServerProcess
from tests.redis_server import RedisServer
from tests.workers.test_supervisor import run_to_its_end


@pytest.mark.parametrize("workers", [1, 2])
def test_without_a_terminal_all_output_is_json_lines_without_a_secret(workers: int, redis_server: RedisServer) -> None:
    flags = ("--workers", str(workers), "--redis-url", redis_server.url)
    with ServerProcess(*flags, has_keys=False, environment={"FASTWS_PORTT": "1"}) as server:
        server.signal(signal.SIGTERM)
        assert server.wait(PATIENCE_SECONDS) == 0
        assert server.process.stdout is not None
        assert server.process.stdout.read() == b""
        events = {json.loads(line)["event"] for line in server.log().splitlines()}
        assert events >= {
            "listening",
            "temporary secrets generated: they are printed on a terminal only",
            "unsafe or unknown setting",
            "stopping",
            "stopped",
        }
        (line,) = server.log_lines("listening")
        assert (line["url"], line["workers"]) == (f"ws://127.0.0.1:{server.port}/", workers)
        assert line["mounts"]["/production"] == "channels"  # type: ignore[index]
        assert re.search(r"ey\w+\.ey|Bearer", server.log()) is None


def test_the_start_names_the_ids_and_keys_of_pusher_apps_and_no_secret() -> None:
    with ServerProcess("--pusher-apps", "4711:app-key:app-secret", "--pusher-apps", "4711:second:hidden") as server:
        server.wait_until(lambda: server.log_lines("serving a Pusher app"))
        (line,) = server.log_lines("serving a Pusher app")
        assert (line["app"], line["keys"]) == ("4711", ["app-key", "second"])
        assert "app-secret" not in server.log()
        assert "hidden" not in server.log()


def test_where_no_keys_are_the_log_says_what_is_refused() -> None:
    with ServerProcess("--host", "0.0.0.0", has_keys=False) as server:
        server.wait_until(lambda: server.log_lines("no JWT key set: all tokens are refused"))
        server.wait_until(
            lambda: server.log_lines("no broadcast_key set: POST /broadcast and /connections are refused")
        )
        assert not server.log_lines("temporary secrets generated: they are printed on a terminal only")


def test_warnings_are_logged() -> None:
    with ServerProcess("--jwt-secret", "x", "--broadcast-key", "k", has_keys=False) as server:
        server.wait_until(lambda: len(server.log_lines("unsafe or unknown setting")) == 2)
        reasons = [line["reason"] for line in server.log_lines("unsafe or unknown setting")]
        assert reasons == [
            "jwt_secret is shorter than 32 bytes: it can be guessed",
            "broadcast_key is shorter than 16 bytes: it can be guessed",
        ]


@pytest.mark.parametrize(
    ("flags", "seconds"),
    [((), 1.0), (("--drain-timeout", "7"), 7.0), (("--host", "0.0.0.0"), 8.0)],
)
def test_on_a_terminal_of_this_machine_the_drain_is_short_unless_it_is_set(
    flags: tuple[str, ...], seconds: float
) -> None:
    terminal, its_end = os.openpty()
    try:
        with ServerProcess(*flags, stdout=its_end) as server:
            server.signal(signal.SIGINT)
            assert server.wait(PATIENCE_SECONDS) == 0
            (line,) = server.log_lines("stopping")
            assert line["drain_seconds"] == seconds
            assert line["hint"] == "a second SIGINT (Ctrl-C) or SIGTERM stops at once"
            assert server.log_lines("stopped")
    finally:
        os.close(terminal)
        os.close(its_end)


def test_without_a_terminal_the_drain_is_that_of_the_settings() -> None:
    with ServerProcess() as server:
        server.signal(signal.SIGTERM)
        assert server.wait(PATIENCE_SECONDS) == 0
        (line,) = server.log_lines("stopping")
        assert line["drain_seconds"] == 8.0


def test_a_missing_temporary_directory_is_named(redis_server: RedisServer) -> None:
    program = (
        "import sys, tempfile; tempfile.tempdir = '/nowhere-to-write'; from fastws.cli import main; sys.exit(main())"
    )
    for redis_url, code, words in (
        (redis_server.url, 1, "fastws: cannot start: /nowhere-to-write/fastws-"),
        ("embedded", 2, "fastws: redis_url: cannot create a temporary directory in /nowhere-to-write: "),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, "serve", "--port", "0", "--workers", "2", "--redis-url", redis_url],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == code
        assert done.stderr.startswith(words)
        assert done.stderr.endswith("No such file or directory\n")
        assert done.stderr.count("\n") == 1


def test_an_address_that_cannot_be_listened_on_is_named(redis_server: RedisServer, tmp_path: Path) -> None:
    for workers in ("1", "2"):
        flags = ("--workers", workers, "--redis-url", redis_server.url, "--log-level", "error")
        path = tmp_path / "missing" / "s"
        code, lines = run_to_its_end(*flags, "--unix-socket", str(path))
        assert (code, lines) == (
            2,
            [f"fastws: cannot listen on {path}: No such file or directory; create its directory"],
        )
        code, lines = run_to_its_end(*flags, "--host", "192.0.2.1")
        assert code == 2
        (line,) = lines
        assert line == (
            "fastws: cannot listen on 192.0.2.1:0: Cannot assign requested address; "
            "this machine does not have this address: use one of its own, or 0.0.0.0 for all"
        )
