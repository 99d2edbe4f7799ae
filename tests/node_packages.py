"""Node and packages of npm for the tests of the browser's side; without them those tests are left out, saying why."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

PACKAGES = {"react": "19.3.1", "react-dom": "19.3.1", "@types/react": "19", "typescript": "5.9"}
PUSHER = {"pusher": "5.3.4"}
# Clients of browsers, and what an application needs beside them.
PUSHER_CLIENTS = {"pusher-js": "8.6.0", "laravel-echo": "2.5.0", "pusher": "5.3.4", "tweetnacl": "1.0.3"}
INSTALL_SECONDS = 110.0
RUN_SECONDS = 110.0
STATIC = Path(__file__).parent.parent / "fastws" / "static"


def node() -> str:
    """The node executable. Skips the test where there is none."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is missing: apt-get install nodejs")
    return found


def run_module(source: str, folder: Path, *arguments: str, given: str = "") -> str:
    """What the ES module `source` prints; it finds a copy of fastws/static beside itself. `given` is its stdin."""
    executable = node()
    if not (folder / "package.json").exists():
        shutil.copytree(STATIC, folder, dirs_exist_ok=True)
        (folder / "package.json").write_text('{"type": "module"}')  # older ones take .js for CommonJS otherwise
    script = folder / "script.js"
    script.write_text(source)
    return run([executable, str(script), *arguments], folder, given=given)


def run(command: list[str], folder: Path, *, given: str = "") -> str:
    """The standard output of `command` in `folder`; an exit code other than 0 fails the test."""
    done = subprocess.run(
        command, cwd=folder, input=given, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def packages() -> Path:
    """The node_modules with PACKAGES, installed once and kept. Skips the test where npm or its registry is missing."""
    return _installed(PACKAGES)


def pusher() -> Path:
    """The node_modules with Pusher's SDK for backends, in the same way."""
    return _installed(PUSHER)


def pusher_clients() -> Path:
    """The node_modules with pusher-js and Laravel Echo, in the same way."""
    return _installed(PUSHER_CLIENTS)


def _installed(wanted: dict[str, str]) -> Path:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("npm is missing: apt-get install nodejs npm")
    folder = Path(tempfile.gettempdir()) / f"fastws-npm-{'-'.join(wanted.values())}"
    if not (folder / "installed").exists():
        folder.mkdir(exist_ok=True)
        (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": wanted}))
        done = subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"npm cannot install {', '.join(wanted)}: {done.stderr.strip()[-300:]}")
        (folder / "installed").touch()
    return folder / "node_modules"
