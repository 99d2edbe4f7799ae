"""The codecs by name. Each reads the values that another has encoded, without importing it."""

from __future__ import annotations

from typing import Final, TypeVar

from fastws.codec.codec import Codec
from fastws.vocabulary.publication import Encoded

_CODECS: Final[dict[str, Codec]] = {}
C = TypeVar("C", bound=Codec)


def register(codec: C) -> C:
    """Make `codec` known by its name; returns it."""
    _CODECS[codec.name] = codec
    return codec


def decoded(data: object) -> object:
    """`data`, decoded where it is still in the bytes of a codec. Raises InvalidPayload or InvalidText."""
    return _CODECS[data.codec].loads(data.body) if isinstance(data, Encoded) else data
