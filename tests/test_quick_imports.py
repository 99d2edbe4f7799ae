"""What the processes of fastws import, and what they spare themselves."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from fastws.quick_imports import quick_imports
from fastws.workers.image import IMAGE_PROGRAM, WORKER_PROGRAM

# How the command line and a worker begin. The order of the worker stops it when all is imported.
BEGINNINGS = {
    "command line": "from fastws.cli import parser; parser('serve')",
    "worker": WORKER_PROGRAM.rpartition("sys.exit")[0],
    "image of workers": IMAGE_PROGRAM.rpartition("sys.exit")[0],
}


@pytest.mark.parametrize("program", BEGINNINGS.values(), ids=BEGINNINGS)
def test_a_process_imports_no_rich_and_leaves_it_to_others(program: str, tmp_path: Path) -> None:
    (tmp_path / "rich.py").write_text("is_ours = True")
    report = "import gc, sys; print('fastws.server.server' in sys.modules, 'rich' in sys.modules, gc.isenabled())"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\n{report}\nimport rich; print(rich.is_ours)"],
        input=json.dumps({"path": [str(tmp_path), *sys.path]}),
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("True False True\nTrue\n", "")


def test_a_process_on_one_redis_imports_nothing_for_a_cluster() -> None:
    program = """
from fastws.brokers.redis.broker import RedisBroker
from fastws.config import Config
from fastws.server.server import Server
from tests.brokers.recording_hub import RecordingHub
import sys
RedisBroker(RecordingHub(), Config(redis_url="redis://localhost"))
print(sorted(name for name in sys.modules if "redis.wire.cluster" in name or "cluster_node" in name or name == "redis"))
RedisBroker(RecordingHub(), Config(redis_url="redis+cluster://localhost"))
print("fastws.brokers.redis.wire.cluster.slots" in sys.modules, "redis" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\nTrue False\n", "")


def test_what_was_imported_and_switched_off_before_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", gc)
    gc.disable()
    try:
        with quick_imports():
            assert sys.modules["rich"] is gc
        assert sys.modules["rich"] is gc
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_an_import_that_fails_leaves_all_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "rich", raising=False)
    with pytest.raises(ImportError), quick_imports():
        import_module("rich")
    assert gc.isenabled()
    assert "rich" not in sys.modules
