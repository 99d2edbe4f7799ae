"""Clients that reconnect by themselves: `connect` for asyncio, `fastws.client.threaded` for threads."""

from fastws.client.client import Client, connect

__all__ = ["Client", "connect"]
