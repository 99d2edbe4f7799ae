"""The Lua scripts of history in Redis, and the names of its keys.

The numbering of a channel is the hash `{prefix}{<channel>}:meta`: `epoch`, `top` (the last offset) and `run`, the run
id of the Redis in which the numbering was last known to be whole. Its publications are the stream
`{prefix}{<channel>}:stream`: the id of an entry is `<offset>-0`, its field `e` is the envelope as it was published.
"""

from __future__ import annotations

import re
from hashlib import sha1
from typing import Final, NamedTuple

# Numbers a publication, keeps it and publishes it, in one step. KEYS: meta, stream. ARGV: run, COUNT, SECONDS in
# milliseconds, Redis channel, life of the numbering in seconds ("" to leave it, but not for a first publication),
# "1" to begin a new epoch if nobody vouches, epoch and top heard here ("" and 0 if nothing), new epoch, rest of the
# envelope. Returns {offset, epoch}, or {0} if the numbering is of another run and has to be vouched for first.
_PUBLISH: Final = b"""
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'top', 'run')
local epoch, top = meta[1], tonumber(meta[2] or '0')
if epoch and epoch == ARGV[7] then
  if top < tonumber(ARGV[8]) then epoch = false end
elseif epoch and meta[3] ~= ARGV[1] then
  if ARGV[6] ~= '1' then return {0} end
  epoch = false
end
if not epoch then
  epoch, top = ARGV[9], 0
  redis.call('DEL', KEYS[2])
end
top = top + 1
local life = ARGV[5]
if top == 1 and life == '' then life = 86520 end
redis.call('HSET', KEYS[1], 'epoch', epoch, 'top', top, 'run', ARGV[1])
if life ~= '' then redis.call('EXPIRE', KEYS[1], life) end
local envelope = '\\193\\2' .. struct.pack('>I8', top) .. string.char(#epoch) .. epoch .. ARGV[10]
redis.call('XADD', KEYS[2], 'MAXLEN', '=', ARGV[2], top .. '-0', 'e', envelope)
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('PUBLISH', ARGV[4], envelope)
return {top, epoch}
"""

# Reads a numbering and what comes after an offset, and vouches for it. KEYS: meta, stream. ARGV: run, new epoch, epoch
# and top heard here, "1" to begin a new epoch if nobody vouches, offset (negative: so many before the end; of another
# epoch than the one heard: 0), number of entries, Redis channel, life of a numbering with and without a publication in
# seconds. Returns {top, epoch, milliseconds that the stream has left, entries}, or {0} as above. A new epoch is
# announced on the Redis channel. It writes only what has changed, so that a Redis that is full can be read.
_READ: Final = b"""
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'top', 'run')
local epoch, top = meta[1], tonumber(meta[2] or '0')
if epoch and epoch == ARGV[3] then
  if top < tonumber(ARGV[4]) then epoch = false end
elseif epoch and meta[3] ~= ARGV[1] then
  if ARGV[5] ~= '1' then return {0} end
  epoch = false
end
if not epoch then
  epoch, top = ARGV[2], 0
  redis.call('DEL', KEYS[2])
  redis.call('PUBLISH', ARGV[8], '\\193\\2' .. struct.pack('>I8', 0) .. string.char(#epoch) .. epoch .. 'g')
end
if epoch == ARGV[2] or meta[3] ~= ARGV[1] then
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'top', top, 'run', ARGV[1])
end
redis.call('EXPIRE', KEYS[1], top > 0 and ARGV[9] or ARGV[10])
local entries = {}
if tonumber(ARGV[7]) > 0 then
  local after = tonumber(ARGV[6])
  if after < 0 then after = math.max(top + after, 0) elseif epoch ~= ARGV[3] then after = 0 end
  entries = redis.call('XRANGE', KEYS[2], string.format('%.0f-0', after + 1), '+', 'COUNT', ARGV[7])
end
return {top, epoch, redis.call('PTTL', KEYS[2]), entries}
"""

# Begins a new epoch. KEYS: meta, stream. ARGV: run, new epoch, the epoch to replace ("" for any), Redis channel, life
# of a numbering without a publication in seconds. Returns {top, epoch} as they are now.
_CLEAR: Final = b"""
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if ARGV[3] ~= '' and epoch and epoch ~= ARGV[3] then
  return {tonumber(redis.call('HGET', KEYS[1], 'top') or '0'), epoch}
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'top', 0, 'run', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('PUBLISH', ARGV[4], '\\193\\2' .. struct.pack('>I8', 0) .. string.char(#ARGV[2]) .. ARGV[2] .. 'g')
return {0, ARGV[2]}
"""

# Reads a page for a request. KEYS: meta, stream. ARGV: "1" for reverse, start, end, number of entries. Returns
# {top, epoch, id of the first entry, entries}; the epoch is nil if there is no numbering.
_PAGE: Final = b"""
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'top')
local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)
local entries
if ARGV[1] == '1' then
  entries = redis.call('XREVRANGE', KEYS[2], ARGV[3], ARGV[2], 'COUNT', ARGV[4])
else
  entries = redis.call('XRANGE', KEYS[2], ARGV[2], ARGV[3], 'COUNT', ARGV[4])
end
return {tonumber(meta[2] or '0'), meta[1], first[1] and first[1][1] or '', entries}
"""


class Script(NamedTuple):
    """A script and the name by which Redis knows it once it is loaded."""

    text: bytes
    sha: bytes


def _script(text: bytes) -> Script:
    return Script(text, sha1(text, usedforsecurity=False).hexdigest().encode())


PUBLISH: Final = _script(_PUBLISH)
READ: Final = _script(_READ)
CLEAR: Final = _script(_CLEAR)
PAGE: Final = _script(_PAGE)
# Channels whose keys are kept: 0.1 µs, where making them takes 0.5 µs.
MAX_REMEMBERED_KEYS: Final = 4096
SCRIPTS: Final = (PUBLISH, READ, CLEAR, PAGE)
# The special characters of a pattern of Redis.
_ESCAPED: Final = re.compile(rb"[*?\[\]\\]")


class HistoryKeys:
    """The names in Redis of the history of a channel. `prefix` is redis_prefix."""

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._known: dict[str, tuple[bytes, bytes]] = {}
        # Matches the keys of all numberings.
        self.pattern = b"%b{*}:meta" % _ESCAPED.sub(rb"\\\g<0>", prefix)

    def of(self, channel: str) -> tuple[bytes, bytes]:
        """Return the keys of the numbering and of the stream, which are in one slot of a cluster."""
        keys = self._known.get(channel)
        if keys is None:
            if len(self._known) >= MAX_REMEMBERED_KEYS:
                self._known.clear()
            keys = self._known[channel] = self._make(channel)
        return keys

    def _make(self, channel: str) -> tuple[bytes, bytes]:
        encoded = channel.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")
        tag = b"%b{%b}" % (self._prefix, encoded.encode("utf-8", "surrogatepass"))
        return tag + b":meta", tag + b":stream"

    def channel_of(self, key: bytes) -> str:
        """Return the channel of a numbering."""
        tag = key[len(self._prefix) + 1 : -len(b"}:meta")].decode("utf-8", "surrogatepass")
        return tag.replace("%7D", "}").replace("%7B", "{").replace("%25", "%")

    def redis_channel(self, channel: str) -> bytes:
        """Return the Redis channel on which the publications of `channel` are published."""
        return b"%bchannel:%b" % (self._prefix, channel.encode("utf-8", "surrogatepass"))
