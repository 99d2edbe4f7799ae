"""Limits on expensive tokens of a msgpack message, checked without decoding it."""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

from fastws.codec.codec import mebibytes
from fastws.errors import InvalidPayload

# All limits are per mebibyte. A mebibyte can contain a million arrays, which take 90 MB and block the loop for 250 ms.
MAX_CONTAINERS: Final = 65_536
# Binaries, extensions and timestamps take up to 2.3 µs each to encode for a JSON subscriber.
MAX_EXTENSIONS: Final = 16_384
# Strings of 32 bytes and more. In the shortest form at most 30,840 of them fit into a mebibyte.
MAX_LONG_STRINGS: Final = 32_768

# https://github.com/msgpack/msgpack/blob/master/spec.md, "Formats": first bytes of tokens.
_CONTAINERS: Final = frozenset((*range(0x80, 0xA0), *range(0xDC, 0xE0)))
_EXTENSIONS: Final = frozenset((*range(0xC4, 0xCA), *range(0xD4, 0xD9)))
_ALL_BUT_CONTAINERS: Final = bytes(byte for byte in range(256) if byte not in _CONTAINERS)
_ALL_BUT_EXTENSIONS: Final = bytes(byte for byte in range(256) if byte not in _EXTENSIONS)
# Tokens with a length field: the size of the length in bytes, and that of the extension type.
_SIZED: Final = {
    0xC4: (1, 0),
    0xC5: (2, 0),
    0xC6: (4, 0),
    0xC7: (1, 1),
    0xC8: (2, 1),
    0xC9: (4, 1),
    0xD9: (1, 0),
    0xDA: (2, 0),
    0xDB: (4, 0),
}
_LONG_STRINGS: Final = frozenset((0xD9, 0xDA, 0xDB))

_SHORT_STRINGS: Final = b"|".join(bytes((0xA0 + size,)) + b".{%d}" % size for size in range(1, 32))
_SCALAR: Final = (
    rb"[\x00-\x7f\xa0\xc0-\xc3\xe0-\xff]++"
    rb"|[\xcc\xd0].|[\xcd\xd1]..|[\xca\xce\xd2].{4}|[\xcb\xcf\xd3].{8}|" + _SHORT_STRINGS
)
_FIXED_EXTENSION: Final = rb"\xd4..|\xd5.{3}|\xd6.{5}|\xd7.{9}|\xd8.{17}"
_LONG_CONTAINER: Final = rb"[\xdc\xde]..|[\xdd\xdf].{4}"
# All tokens up to one with a length field. Possessive throughout, so that no byte is scanned twice.
_SEGMENT: Final = re.compile(
    b"(?:" + _SCALAR + rb"|[\x80-\x9f]++|" + _LONG_CONTAINER + b"|" + _FIXED_EXTENSION + b")*+", re.DOTALL
)
# Within a segment: cheap tokens, then consecutive arrays and maps, or one extension.
_STEP: Final = re.compile(
    b"(?:" + _SCALAR + rb")*+(?:([\x80-\x9f]++)|(" + _LONG_CONTAINER + b")|(" + _FIXED_EXTENSION + b"))?+", re.DOTALL
)


def check_tokens(payload: bytes) -> None:
    """Raise InvalidPayload if a message has too many arrays and maps, extensions and binaries, or long strings.

    Does not check whether the message is well-formed: the unpacker does. Cost: 0.1 µs for messages up to 16 KiB, 1 ms
    per mebibyte, and up to 40 ms if many bytes look like expensive tokens and must be parsed to find out.
    """
    if len(payload) <= MAX_EXTENSIONS:
        return
    size = mebibytes(payload)
    if (
        len(payload.translate(None, _ALL_BUT_CONTAINERS)) > MAX_CONTAINERS * size
        or len(payload.translate(None, _ALL_BUT_EXTENSIONS)) > MAX_EXTENSIONS * size
    ):
        _TokenCount(payload, size).run()


class _TokenCount:
    """Counts the expensive tokens of one message and raises InvalidPayload if there are too many."""

    def __init__(self, payload: bytes, size: int) -> None:
        self._payload = payload
        self._containers_left = MAX_CONTAINERS * size
        self._extensions_left = MAX_EXTENSIONS * size
        self._strings_left = MAX_LONG_STRINGS * size

    def run(self) -> None:
        payload, position = self._payload, 0
        end = len(payload)
        while position < end:
            segment = _SEGMENT.match(payload, position)
            if segment is not None and segment.end() > position:
                self._count_segment(position, segment.end())
                position = segment.end()
            sized = _SIZED.get(payload[position]) if position < end else None
            if sized is None:
                return  # the end, or not msgpack
            self._count_sized(payload[position])
            length_end = position + 1 + sized[0]
            position = length_end + sized[1] + int.from_bytes(payload[position + 1 : length_end], "big")

    def _count_sized(self, first: int) -> None:
        if first in _LONG_STRINGS:
            self._strings_left -= 1
            if self._strings_left < 0:
                raise InvalidPayload(f"a message has at most {MAX_LONG_STRINGS} long strings")
        else:
            self._extensions_left -= 1
            self._check_extensions()

    def _count_segment(self, start: int, end: int) -> None:
        steps = _STEP.finditer(self._payload, start, end)
        for step in islice(steps, self._containers_left + self._extensions_left + 2):
            kind = step.lastindex
            if kind == 1:
                self._containers_left -= step.end() - step.start(1)
            elif kind == 2:
                self._containers_left -= 1
            elif kind == 3:
                self._extensions_left -= 1
                self._check_extensions()
            if self._containers_left < 0:
                raise InvalidPayload(f"a message has at most {MAX_CONTAINERS} arrays and maps")

    def _check_extensions(self) -> None:
        if self._extensions_left < 0:
            raise InvalidPayload(f"a message has at most {MAX_EXTENSIONS} binaries, extensions and timestamps")
