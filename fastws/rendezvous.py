"""Rendezvous hashing: which of several servers holds a channel. The server and the backends compute the same."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b


def score(identity: str, channel: str) -> bytes:
    """Return the BLAKE2b-64 of `identity`, a zero byte and `channel` in UTF-8. Compare two as big-endian numbers."""
    text = f"{identity}\0{channel}".encode("utf-8", "surrogatepass")
    return blake2b(text, digest_size=8).digest()


def position_of(channel: str, identities: Sequence[str]) -> int:
    """Return the position of the server that holds `channel`: the one with the highest score.

    The order of the servers does not matter. One that is added takes its share from each of the others, and nothing
    moves between those.
    """
    scores = [(score(identity, channel), identity) for identity in identities]
    return scores.index(max(scores))
