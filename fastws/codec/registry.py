"""The codecs by name, so that each can decode values of another without importing it."""

from __future__ import annotations

from typing import Final, TypeVar

from fastws.codec.codec import Codec
from fastws.vocabulary.publication import Encoded

_CODECS: Final[dict[str, Codec]] = {}
C = TypeVar("C", bound=Codec)


def register(codec: C) -> C:
    """Register `codec` under its name. Returns it."""
    _CODECS[codec.name] = codec
    return codec


def decoded(data: object) -> object:
    """Return `data`, decoded if it is an `Encoded`. Raises InvalidPayload or InvalidText."""
    return _CODECS[data.codec].loads(data.body) if isinstance(data, Encoded) else data
