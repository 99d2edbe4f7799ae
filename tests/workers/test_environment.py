"""What processes see that a worker's hook starts, and what becomes of those that are left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.hostile.server_process import ServerProcess
from tests.redis_server import RedisServer
from tests.workers.conftest import Supervise

HOOK = """
import json, os, pathlib, subprocess, sys
if "fastws.workers.worker" in sys.orig_argv:
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    place = pathlib.Path({place!r})
    (place / f"{{os.getpid()}}.part").write_bytes(subprocess.check_output([sys.executable, "-c", program]))
    (place / f"{{os.getpid()}}.part").rename(place / f"{{os.getpid()}}.json")
def allows(user, action, channel, claims):
    return True
"""


@pytest.mark.parametrize("path", [None, "own"])
def test_a_process_that_a_hook_starts_has_the_users_own_environment(
    supervise: Supervise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str | None
) -> None:
    place = tmp_path / "seen"
    place.mkdir()
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "hook_of_this_test.py").write_text(HOOK.format(place=str(place)))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    # Without PYTHONPATH, modules are found in the directory of the server.
    monkeypatch.chdir(folder if path is None else tmp_path)
    own = {} if path is None else {"PYTHONPATH": str(folder)}
    supervise("--authorizer", "hook_of_this_test:allows", environment=own)
    seen = [json.loads(file.read_text()) for file in place.glob("*.json")]
    assert len(seen) == 2
    for environment in seen:
        assert environment.get("PYTHONPATH") == own.get("PYTHONPATH")
        assert "NOTIFY_SOCKET" not in environment


def test_as_process_1_the_supervisor_collects_orphans(redis_server: RedisServer) -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-pf", "true"], check=False).returncode:
        pytest.skip("needs unshare (util-linux) and the right to create a PID namespace: run as root")
    command = ("unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m", "fastws", "serve")
    flags = ("--workers", "2", "--redis-url", redis_server.url)
    with ServerProcess(*flags, command=command) as server:
        (init,) = server.watched.children()
        # Its own children are two workers and their image. A shell in the namespace leaves a process behind,
        # which process 1 adopts.
        enter = ["nsenter", "--target", str(init.pid), "--pid", "sh", "-c", "sleep 0.01 & exit 0"]
        for _ in range(5):
            subprocess.run(enter, check=True)

        def are_collected() -> bool:
            return not any(child.status() == psutil.STATUS_ZOMBIE for child in init.children())

        server.wait_until(lambda: len(init.children()) == 3 and are_collected())
        assert server.get("/health")[0] == 200
        init.terminate()
        assert os.waitstatus_to_exitcode(server.wait() << 8) == 0
