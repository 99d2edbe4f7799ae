"""The server: one process of fastws."""

from __future__ import annotations

from fastws.server.server import Server

__all__ = ["Server"]
