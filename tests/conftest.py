"""Fixtures that every room's tests may use."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile

import pytest

from fastws.logs import log_through_logging
from tests.name_server import name_server
from tests.redis_cluster import _shared_redis_cluster, redis_cluster
from tests.redis_sentinel import sentinel_set_up
from tests.redis_server import _shared_redis_server, own_redis_server, redis_server
from tests.serving import join, open_raw, serve

__all__ = [
    "_shared_redis_cluster",
    "_shared_redis_server",
    "join",
    "name_server",
    "open_raw",
    "own_redis_server",
    "redis_cluster",
    "redis_server",
    "sentinel_set_up",
    "serve",
]

# Before any test captures lines: a server that starts would otherwise replace what captures them.
log_through_logging()

# A shell's background job ignores it, and so would all processes that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Servers of tests record themselves here instead of among the user's own.
os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="fastws-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)

# The folders whose files take longest. At the end of a run no process should wait for another one's last file.
LONGEST = ("end_to_end", "hostile", "workers", "browser", "readme", "loadtest", "brokers")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    tests = config.rootpath / "tests"

    def is_short(item: pytest.Item) -> bool:
        folder = item.path.relative_to(tests).parts[0] if item.path.is_relative_to(tests) else ""
        return folder not in LONGEST

    items.sort(key=is_short)
