"""fastws: a WebSocket publish/subscribe server."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastws.config import Config
    from fastws.server.server import Server
    from fastws.settings import load_config

__version__ = "0.1.0"
__all__ = ["Config", "Server", "__version__", "load_config"]


# Imported on first use: applications that only import `fastws.backend` do not load the server.
_MODULES = {"Config": "fastws.config", "Server": "fastws.server.server", "load_config": "fastws.settings"}


def __getattr__(name: str) -> object:
    """Import the names for embedding the server on first use: `Server`, `Config` and `load_config`."""
    if name not in _MODULES:
        raise AttributeError(f"module 'fastws' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)
