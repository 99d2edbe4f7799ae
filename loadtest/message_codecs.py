"""The two codecs of a conversation: how a message is written, read, and asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgpack
import websocket

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Codec:
    """`opcode` is the kind of frame, `subprotocols` what the upgrade offers: JSON is spoken unasked."""

    subprotocols: tuple[str, ...]
    opcode: int
    write: Callable[[Message], Any]
    read: Callable[[bytes], Message]


CODECS = {
    "json": Codec((), websocket.ABNF.OPCODE_TEXT, json.dumps, json.loads),
    "msgpack": Codec(("fastws.msgpack",), websocket.ABNF.OPCODE_BINARY, msgpack.packb, msgpack.unpackb),
}
