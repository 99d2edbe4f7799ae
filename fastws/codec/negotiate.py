"""Selects the codec and the subprotocol of a connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from fastws.codec.codec import Codec
from fastws.codec.json_text import JSON
from fastws.codec.msgpack_binary import MSGPACK
from fastws.errors import BadRequest

CODECS: Final[Mapping[str, Codec]] = {"json": JSON, "msgpack": MSGPACK}
SUBPROTOCOLS: Final[Mapping[str, Codec]] = {"fastws.json": JSON, "fastws.msgpack": MSGPACK}


def negotiate(subprotocols: Sequence[str], format_name: str | None) -> tuple[Codec, str | None]:
    """Return the codec and the subprotocol to select, or None to select no subprotocol.

    The first known subprotocol takes precedence over `?format=`, which is for clients that cannot set one.
    Raises BadRequest for an unknown format.
    """
    for offered in subprotocols:
        codec = SUBPROTOCOLS.get(offered)
        if codec is not None:
            return codec, offered
    if format_name is None:
        return JSON, None
    codec = CODECS.get(format_name)
    if codec is None:
        raise BadRequest(f"`format` must be json or msgpack, not {format_name[:32]!r}")
    return codec, None
