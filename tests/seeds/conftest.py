"""The examples of the documents that this server replaces, as they stand there. On uvloop, as the server."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.serving import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]

PACKAGES = ("ws@8.18.3", "wscat@6.1.0")


@pytest.fixture(scope="session")
def node_folder() -> Path:
    """A folder whose node_modules has `ws` and `wscat`, kept for the next run. Skips where there is no node or npm."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    name = "-".join(("fastws-tests", str(os.getuid()), *PACKAGES)).replace("@", "-")
    folder = Path(tempfile.gettempdir()) / name
    if not (folder / "node_modules" / "wscat").is_dir():
        making = Path(tempfile.mkdtemp(prefix="fastws-npm-"))
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(making), *PACKAGES]
        subprocess.run(command, check=True, capture_output=True, timeout=100)
        try:
            making.rename(folder)
        except OSError:  # another run was quicker
            shutil.rmtree(making)
    return folder
