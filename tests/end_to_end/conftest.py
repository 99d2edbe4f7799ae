"""These tests run on uvloop, as the server does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving import pytest_asyncio_loop_factories

__all__ = ["folder", "pytest_asyncio_loop_factories"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the JavaScript client of the module's tests lies."""
    return tmp_path_factory.mktemp("node")
