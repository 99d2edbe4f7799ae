"""The messages that every peer speaks: the fewest of the channels dialect with which a load client can work."""

from __future__ import annotations

from typing import Any

import orjson

Message = dict[str, Any]
read = orjson.loads


def confirmation(channel: str) -> bytes:
    return orjson.dumps({"type": "subscription_succeeded", "channel": channel})


def delivery(message: Message) -> bytes:
    """What every subscriber of the channel hears; made once for all of them."""
    return orjson.dumps(
        {"channel": message["channel"], "event": message["event"], "data": message["data"], "from": "publisher"}
    )


def receipt(channel: str, count: int) -> bytes:
    return orjson.dumps({"type": "send_success", "channel": channel, "sent": count, "failed": 0})
