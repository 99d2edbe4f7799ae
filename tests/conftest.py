"""Fixtures that every room's tests may use."""

from __future__ import annotations

import signal

from fastws.logs import log_through_logging
from tests.name_server import name_server
from tests.redis_cluster import _shared_redis_cluster, redis_cluster
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
    "serve",
]

# Before any test captures lines: a server that starts would otherwise replace what captures them.
log_through_logging()

# A shell's background job ignores it, and so would all processes that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
