"""These tests run on uvloop, as the server does."""

from __future__ import annotations

from tests.serving import pytest_asyncio_loop_factories
from tests.session.late_broker import serve_late

__all__ = ["pytest_asyncio_loop_factories", "serve_late"]
