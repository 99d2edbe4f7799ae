"""fastws: a WebSocket publish/subscribe server that fans out as fast as the kernel lets anyone do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastws.config import Config
    from fastws.server import Server

__version__ = "0.1.0"
__all__ = ["Config", "Server", "__version__"]


def __getattr__(name: str) -> object:
    """`fastws.Server` and `fastws.Config`, loaded when asked for: a backend's import needs no server."""
    if name == "Server":
        from fastws.server import Server

        return Server
    if name == "Config":
        from fastws.config import Config

        return Config
    raise AttributeError(f"module 'fastws' has no attribute {name!r}")
