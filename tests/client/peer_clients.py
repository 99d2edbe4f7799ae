"""Clients of the peer in conftest.py that reconnect without a delay."""

from __future__ import annotations

import asyncio
from typing import Any

from fastws.client import Client, connect


def client_of(peer: Any, *args: Any, **options: Any) -> Client:
    """A client that reconnects at once."""
    return connect(peer.url, *args, **{"first_delay": 0.0, **options})


async def next_of(client: Client) -> dict[str, Any]:
    """The next message, within 5 s."""
    return await asyncio.wait_for(anext(client), 5)
