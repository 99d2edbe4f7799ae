"""Checks of Python, the event loop and the C extensions."""

from __future__ import annotations

import asyncio
import importlib
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from fastws.doctor.finding import Finding, fail, ok, warn

OLDEST = (3, 11)


def check_python() -> Iterator[Finding]:
    """Yield the findings on this interpreter."""
    yield _python()
    yield _event_loop()
    yield _extension(
        "unmasking in C",
        "websockets.speedups",
        "websockets has no C extension here: unmasking client messages takes six times as long",
        "install the wheel for this platform: pip install --force-reinstall --only-binary :all: websockets",
    )
    yield _extension(
        "msgpack in C",
        "msgpack._cmsgpack",
        "msgpack runs in pure Python here, about twenty times slower",
        "install the wheel for this platform, and unset MSGPACK_PUREPYTHON",
    )


def _python() -> Finding:
    name = f"{platform.python_implementation()} {platform.python_version()}"
    if sys.version_info < OLDEST:
        return fail("python", name, "run fastws with Python 3.11 or newer")
    if sys.flags.dev_mode:
        return warn("python", f"{name} in development mode, which is slow", "unset PYTHONDEVMODE")
    return ok("python", name)


def _event_loop() -> Finding:
    remedy = "install uvloop for this platform: pip install --force-reinstall uvloop"
    try:
        uvloop = importlib.import_module("uvloop")
        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    except (ImportError, OSError) as error:
        return fail("event loop", f"uvloop does not start: {error}", remedy)
    try:
        is_debug = loop.get_debug()
    finally:
        loop.close()
    if is_debug:
        return warn("event loop", "uvloop in debug mode, which is slow", "unset PYTHONASYNCIODEBUG")
    return ok("event loop", f"uvloop {_version('uvloop')}")


def _extension(check: str, module: str, state: str, remedy: str) -> Finding:
    try:
        importlib.import_module(module)
    except ImportError:
        return warn(check, state, remedy)
    package = module.partition(".")[0]
    return ok(check, f"{package} {_version(package)}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"
