"""These tests run on uvloop, as the server does."""

from __future__ import annotations

from tests.serving import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
