"""The messages of the channels dialect that the load client needs; every peer server uses them."""

from __future__ import annotations

from typing import Any

import orjson

Message = dict[str, Any]
parse = orjson.loads


def confirmation(channel: str) -> bytes:
    return orjson.dumps({"type": "subscription_succeeded", "channel": channel})


def delivery(message: Message) -> bytes:
    """The message to every subscriber of the channel, encoded once for all."""
    return orjson.dumps(
        {"channel": message["channel"], "event": message["event"], "data": message["data"], "from": "publisher"}
    )


def ack(channel: str, count: int) -> bytes:
    return orjson.dumps({"type": "send_success", "channel": channel, "sent": count, "failed": 0})
