"""Connection ids: the first six characters are those of the process (node) that has the connection."""

from __future__ import annotations

import secrets
from typing import Final

NODE_ID_LENGTH: Final = 6
CONNECTION_ID_LENGTH: Final = 28


def new_node_id() -> str:
    """Six URL-safe characters, 36 bits: no two processes on one Redis will meet."""
    return secrets.token_urlsafe(NODE_ID_LENGTH)[:NODE_ID_LENGTH]


def new_connection_id(node_id: str) -> str:
    """An unguessable id of a connection of `node_id`: 128 bits behind the node's six characters."""
    return node_id + secrets.token_urlsafe(16)


def node_of(connection_id: str) -> str | None:
    """The node that has this connection; None for what cannot be a connection id."""
    return connection_id[:NODE_ID_LENGTH] if len(connection_id) == CONNECTION_ID_LENGTH else None
