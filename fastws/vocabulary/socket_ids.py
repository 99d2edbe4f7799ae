"""Socket ids, the connection ids of Pusher clients: two numbers of up to ten digits.

Each one is the id of the node that has the connection and 30 random bits, encrypted: without the key, an id says
nothing about others, not even those of the same node. All processes must have the same key.
"""

from __future__ import annotations

import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

_SOCKET_ID: Final = re.compile(r"(\d{1,10})\.(\d{1,10})", re.ASCII)
_HALF_BITS: Final = 33
_HALF: Final = (1 << _HALF_BITS) - 1
_NODE_BITS: Final = 36
_RANDOM_BITS: Final = 2 * _HALF_BITS - _NODE_BITS
# Six characters of six bits are 36 bits; base64 works on 48.
_PADDING_BITS: Final = 12
_ROUNDS: Final = 6


class SocketIds:
    """Makes socket ids, and finds the node of one. Cost: 8 µs each."""

    __slots__ = ("_keys",)

    def __init__(self, key: bytes) -> None:
        self._keys = [blake2b(bytes([number]), key=key[:64]).digest()[:32] for number in range(_ROUNDS)]

    def of(self, node_id: str) -> Iterator[str]:
        """Yield ids of connections of this node without end."""
        node = int.from_bytes(urlsafe_b64decode(node_id + "AA"), "big") >> _PADDING_BITS
        first = secrets.randbits(_RANDOM_BITS)
        count = 0
        while True:
            # Counted, so that no id comes twice before 2^30 others.
            rest = (first + count) & ((1 << _RANDOM_BITS) - 1)
            count += 1
            left, right = divmod(self._mix(node << _RANDOM_BITS | rest, self._keys), 1 << _HALF_BITS)
            yield f"{left}.{right}"

    def node_of(self, socket_id: str) -> str | None:
        """Return the id of the node that has this connection; None if it is not a socket id."""
        found = _SOCKET_ID.fullmatch(socket_id)
        if found is None:
            return None
        left, right = int(found[1]), int(found[2])
        if max(left, right) > _HALF or socket_id != f"{left}.{right}":
            return None
        mixed = self._mix(right << _HALF_BITS | left, self._keys[::-1])
        node = (mixed & _HALF) << _HALF_BITS | mixed >> _HALF_BITS
        return urlsafe_b64encode((node >> _RANDOM_BITS << _PADDING_BITS).to_bytes(6, "big")).decode()[:6]

    def _mix(self, number: int, keys: list[bytes]) -> int:
        """Return `number` after a Feistel network with these keys: a permutation of all numbers of 66 bits."""
        left, right = number >> _HALF_BITS, number & _HALF
        for key in keys:
            digest = blake2b(right.to_bytes(5, "big"), key=key, digest_size=8).digest()
            left, right = right, left ^ (int.from_bytes(digest, "big") & _HALF)
        return left << _HALF_BITS | right


def is_socket_id(text: str) -> bool:
    """Whether `text` has the form of a socket id."""
    return _SOCKET_ID.fullmatch(text) is not None
