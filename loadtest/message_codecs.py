"""The two codecs of a connection: how messages are encoded and decoded, and what the upgrade requests."""

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
    """`opcode` is the kind of frame; `subprotocols` are offered in the upgrade (JSON is the default of the server)."""

    subprotocols: tuple[str, ...]
    opcode: int
    encode: Callable[[Message], Any]
    decode: Callable[[bytes], Message]


CODECS = {
    "json": Codec((), websocket.ABNF.OPCODE_TEXT, json.dumps, json.loads),
    "msgpack": Codec(("fastws.msgpack",), websocket.ABNF.OPCODE_BINARY, msgpack.packb, msgpack.unpackb),
}
