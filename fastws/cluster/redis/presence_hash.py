"""Reads a hash of presence in pages, so that a large one stalls neither Redis nor this process."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from fastws.brokers.redis.wire.commander import RedisCommander
from fastws.brokers.redis.wire.resp import pack
from fastws.cluster.channel_presence import Entry
from fastws.cluster.redis.presence_entries import decode_hash
from fastws.vocabulary.presence import PresenceMode

# Fields in one reply, roughly: Redis takes 0.1 ms for it. It sends small hashes whole.
PAGE_FIELDS: Final = 500


class FoundEntries(NamedTuple):
    """The entries of a hash, and its fields of another form."""

    entries: dict[str, Entry]
    foreign: set[str]

    @property
    def fields(self) -> set[str]:
        return self.entries.keys() | self.foreign


# Gets FoundEntries, or the reply with which Redis has refused a page.
Answered = Callable[[object], None]


def read_hash(commander: RedisCommander, key: bytes, mode: PresenceMode, answered: Answered) -> None:
    """Call `answered` with the entries of `key`. Those that come or go meanwhile may be among them or not."""
    _read_page(commander, key, b"0", partial(_has_page, commander, key, mode, FoundEntries({}, set()), answered))


def _read_page(commander: RedisCommander, key: bytes, cursor: bytes, answered: Answered) -> None:
    # A cursor counts only in the Redis that has returned it: after a failover, entries would be left out.
    commander.send(pack(b"HSCAN", key, cursor, b"COUNT", PAGE_FIELDS), answered, is_bound=cursor != b"0")


def _has_page(
    commander: RedisCommander, key: bytes, mode: PresenceMode, found: FoundEntries, answered: Answered, reply: object
) -> None:
    if not isinstance(reply, list):
        answered(reply)
        return
    cursor, fields = reply
    entries, foreign = decode_hash(fields, mode)
    found.entries.update(entries)
    found.foreign.update(foreign)
    if cursor == b"0":
        answered(found)
    else:
        _read_page(commander, key, cursor, partial(_has_page, commander, key, mode, found, answered))
