"""fastws: a WebSocket publish/subscribe server that fans out as fast as the kernel lets anyone do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastws.config import Config
    from fastws.server.server import Server
    from fastws.settings import load_config

__version__ = "0.1.0"
__all__ = ["Config", "Server", "__version__", "load_config"]


# Loaded when asked for: a backend's import needs no server.
_PLACES = {"Config": "fastws.config", "Server": "fastws.server", "load_config": "fastws.settings"}


def __getattr__(name: str) -> object:
    """What an application needs to embed the server: `fastws.Server`, `fastws.Config`, `fastws.load_config`."""
    if name not in _PLACES:
        raise AttributeError(f"module 'fastws' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)
