"""The Lua scripts of history in Redis, and the names of its keys.

The numbering of a channel is the hash `{prefix}{<channel>}:meta`: `epoch`, `top` (the last offset), `run` (the run id
of the Redis in which the numbering was last known to be whole), `found` (what `top` was when that run began) and `last`
(the run before). Its publications are the stream `{prefix}{<channel>}:stream`: the id of an entry is `<offset>-0`, its
field `e` is the envelope as it was published.

Where plain publishers speak, the hash also has `watch`, `place` and `numberer`: see plain_queue.py.
"""

from __future__ import annotations

import re
from hashlib import sha1
from typing import Final, NamedTuple

from fastws.redis_places import hash_tagged

# Numbers publications, keeps them and publishes them, in one step. KEYS: meta, stream. ARGV: run, COUNT, SECONDS in
# milliseconds, Redis channel, life of the numbering in seconds ("" to leave it, but not for a first publication),
# "1" to begin a new epoch if nobody vouches, epoch and top heard here ("" and 0 if nothing), new epoch, then the rest
# of each envelope. Returns {offset of the last one, epoch}, or {0} if the numbering is of another run and has to be
# vouched for first. `top` is written before the stream: an offset that failed is never given again.
_KEEP: Final = b"""
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
local last = #ARGV
local life = ARGV[5]
if top == 0 and life == '' then life = '86520' end
local new_top = string.format('%.0f', top + last - 9)
if epoch == meta[1] and meta[3] == ARGV[1] then
  redis.call('HSET', KEYS[1], 'top', new_top)
else
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'top', new_top, 'run', ARGV[1],
    'found', string.format('%.0f', top), 'last', meta[3] or '')
end
if life ~= '' then redis.call('EXPIRE', KEYS[1], life) end
local after_top = string.char(#epoch) .. epoch
for place = 10, last - 1 do
  top = top + 1
  local envelope = '\\193\\2' .. struct.pack('>I8', top) .. after_top .. ARGV[place]
  redis.call('XADD', KEYS[2], string.format('%.0f-0', top), 'e', envelope)
  redis.call('PUBLISH', ARGV[4], envelope)
end
top = top + 1
local envelope = '\\193\\2' .. struct.pack('>I8', top) .. after_top .. ARGV[last]
redis.call('XADD', KEYS[2], 'MAXLEN', '=', ARGV[2], new_top .. '-0', 'e', envelope)
redis.call('PUBLISH', ARGV[4], envelope)
redis.call('PEXPIRE', KEYS[2], ARGV[3])
"""
_PUBLISHED: Final = b"return {top, epoch}\n"
# A script with more arguments has one publication.
_KEEP_ONE: Final = _KEEP.replace(b"#ARGV", b"10")

# Does the same for one publication of a feed. ARGV: as above, then the Redis channel with the feed's own name and the
# message in its format.
_ON_FEED: Final = b"redis.call('PUBLISH', ARGV[11], ARGV[12])\n"

# Does the same for one publication with a message id, unless it was published before. KEYS: meta, stream, that of the
# id. ARGV: as for PUBLISH, then as for PUBLISH_ON_FEED or "" twice, then the mark and its life in seconds; see once.py.
# Returns {what the key of the id had} if it was published before.
_FIND_FIRST: Final = b"""
local first = redis.call('GET', KEYS[3])
if first then return {first} end
"""
_ON_FEED_IF_GIVEN: Final = b"if ARGV[11] ~= '' then redis.call('PUBLISH', ARGV[11], ARGV[12]) end"
_MARK: Final = b"""
redis.call('SET', KEYS[3], ARGV[13] .. ' ' .. new_top .. ' ' .. epoch, 'EX', ARGV[14])
"""

# Does the same for one plain message, if its place is the next one. ARGV: as for PUBLISH, then the watch, the place,
# this node, "1" to become the numberer. Returns what is wrong otherwise: "watch" if this one has ended, "numbered" if
# the message has its offset, "missing" if the one before has none, "first" if only the node that began the watch may
# begin to number, "numberer" if that is another node.
_CHECK_PLACE: Final = b"""
local at = redis.call('HMGET', KEYS[1], 'watch', 'place', 'numberer')
if at[1] ~= ARGV[11] then return {'watch'} end
local place, last = tonumber(ARGV[12]), tonumber(at[2])
if not last and at[3] ~= ARGV[13] then return {'first'} end
if last and place <= last then return {'numbered'} end
if last and place > last + 1 then return {'missing'} end
if at[3] ~= ARGV[13] and ARGV[14] ~= '1' then return {'numberer'} end
"""
_NUMBERED: Final = b"""
redis.call('HSET', KEYS[1], 'place', ARGV[12], 'numberer', ARGV[13])
"""

# Joins the watch of a channel, or begins one if there is none or only the one that has to end; in that case with a new
# epoch. KEYS: meta, stream. ARGV: run, new epoch, token, this node, the watch to end (or ""), Redis channel, life of a
# numbering without a publication in seconds, place of the last message received before the watch, "1" if this node has
# messages to number. Publishes a note for all processes. Returns {watch, number of processes that hear the channel}; if
# the watch was begun, its name is the token.
_WATCH: Final = b"""
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'watch', 'place')
local watch = meta[2]
if watch and watch ~= ARGV[5] then
  redis.call('PUBLISH', ARGV[6], '\\193\\3' .. cmsgpack.pack({'join', watch, ARGV[3]}))
  local found = redis.pcall('PUBSUB', 'NUMSUB', ARGV[6])
  return {watch, found[2] or 2}
end
if watch or not meta[1] then
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'top', 0, 'run', ARGV[1])
  redis.call('EXPIRE', KEYS[1], ARGV[7])
  redis.call('PUBLISH', ARGV[6], '\\193\\2' .. struct.pack('>I8', 0) .. string.char(#ARGV[2]) .. ARGV[2] .. 'g')
end
local skips = watch and tonumber(meta[3]) and 1 or 0
local place = (skips == 1 or ARGV[9] ~= '1') and ARGV[8] or ''
redis.call('HSET', KEYS[1], 'watch', ARGV[3], 'place', place, 'numberer', ARGV[4])
redis.call('PUBLISH', ARGV[6], '\\193\\3' .. cmsgpack.pack({'new', ARGV[3], ARGV[4], skips}))
return {ARGV[3], 0}
"""

# Reads a numbering and what comes after an offset, and vouches for it. KEYS: meta, stream. ARGV: run, new epoch, epoch
# and top heard here, "1" to begin a new epoch if nobody vouches, offset (negative: so many before the end; of another
# epoch than the one heard: 0), number of entries, Redis channel, life of a numbering with and without a publication in
# seconds, the watch that this process has joined. Returns {top, epoch, milliseconds that the stream has left, entries,
# found, last}, {0} as above, or {1} if the watch has to be joined first. A new epoch is announced on the Redis channel.
# It writes only what has changed, so that a Redis that is full can be read.
_READ: Final = b"""
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'top', 'run', 'watch', 'found', 'last')
local epoch, top = meta[1], tonumber(meta[2] or '0')
if meta[4] and meta[4] ~= ARGV[11] then return {1} end
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
  meta[5], meta[6] = string.format('%.0f', top), meta[3] or ''
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'top', top, 'run', ARGV[1], 'found', meta[5], 'last', meta[6])
end
redis.call('EXPIRE', KEYS[1], top > 0 and ARGV[9] or ARGV[10])
local entries = {}
if tonumber(ARGV[7]) > 0 then
  local after = tonumber(ARGV[6])
  if after < 0 then after = math.max(top + after, 0) elseif epoch ~= ARGV[3] then after = 0 end
  entries = redis.call('XRANGE', KEYS[2], string.format('%.0f-0', after + 1), '+', 'COUNT', ARGV[7])
end
return {top, epoch, redis.call('PTTL', KEYS[2]), entries, meta[5], meta[6]}
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

# Reads a page for a request. KEYS: meta, stream. ARGV: "1" for reverse, start, end, number of entries, Redis channel.
# Returns {top, epoch, id of the first entry, entries, "1" if plain messages may be missing at the end, milliseconds
# that the stream has left}; the epoch is nil if there is no numbering.
_PAGE: Final = b"""
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'top', 'watch')
local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)
local entries
if ARGV[1] == '1' then
  entries = redis.call('XREVRANGE', KEYS[2], ARGV[3], ARGV[2], 'COUNT', ARGV[4])
else
  entries = redis.call('XRANGE', KEYS[2], ARGV[2], ARGV[3], 'COUNT', ARGV[4])
end
local is_open = ''
if meta[3] and redis.pcall('PUBSUB', 'NUMSUB', ARGV[5])[2] == 0 then is_open = '1' end
return {tonumber(meta[2] or '0'), meta[1], first[1] and first[1][1] or '', entries, is_open,
  redis.call('PTTL', KEYS[2])}
"""


class Script(NamedTuple):
    """A script and the name by which Redis knows it once it is loaded."""

    text: bytes
    sha: bytes


def _script(text: bytes) -> Script:
    return Script(text, sha1(text, usedforsecurity=False).hexdigest().encode())


PUBLISH: Final = _script(_KEEP + _PUBLISHED)
PUBLISH_ON_FEED: Final = _script(_KEEP_ONE + _ON_FEED + _PUBLISHED)
PUBLISH_ONCE: Final = _script(_FIND_FIRST + _KEEP_ONE + _ON_FEED_IF_GIVEN + _MARK + _PUBLISHED)
NUMBER: Final = _script(_CHECK_PLACE + _KEEP_ONE + _NUMBERED + _PUBLISHED)
WATCH: Final = _script(_WATCH)
READ: Final = _script(_READ)
CLEAR: Final = _script(_CLEAR)
PAGE: Final = _script(_PAGE)


class Scripts(NamedTuple):
    """All scripts, as one kind of Redis needs them."""

    publish: Script
    publish_on_feed: Script
    publish_once: Script
    read: Script
    clear: Script
    page: Script
    number: Script
    watch: Script


CLASSIC: Final = Scripts(PUBLISH, PUBLISH_ON_FEED, PUBLISH_ONCE, READ, CLEAR, PAGE, NUMBER, WATCH)


def sharded_scripts() -> Scripts:
    """Return the scripts for a Redis Cluster, which publish with SPUBLISH, except on the name of a feed."""
    publish, _, _, *others = (_script(_sharded(script.text)) for script in CLASSIC)
    keep = _sharded(_KEEP_ONE)
    once = _FIND_FIRST + keep + _ON_FEED_IF_GIVEN + _MARK + _PUBLISHED
    return Scripts(publish, _script(keep + _ON_FEED + _PUBLISHED), _script(once), *others)


def _sharded(text: bytes) -> bytes:
    return text.replace(b"'PUBLISH'", b"'SPUBLISH'").replace(b"'NUMSUB'", b"'SHARDNUMSUB'")


# Channels whose keys are kept: 0.1 µs, where making them takes 0.5 µs.
MAX_REMEMBERED_KEYS: Final = 4096
# The special characters of a pattern of Redis.
_ESCAPED: Final = re.compile(rb"[*?\[\]\\]")


class HistoryKeys:
    """The names in Redis of the history of a channel, and the scripts. `prefix` is redis_prefix."""

    def __init__(self, prefix: bytes, *, is_cluster: bool = False) -> None:
        self.scripts = sharded_scripts() if is_cluster else CLASSIC
        self._is_cluster = is_cluster
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
        tagged = hash_tagged(self._prefix, channel)
        return tagged + b":meta", tagged + b":stream"

    def channel_of(self, key: bytes) -> str:
        """Return the channel of a numbering."""
        tag = key[len(self._prefix) + 1 : -len(b"}:meta")].decode("utf-8", "surrogatepass")
        return tag.replace("%7D", "}").replace("%7B", "{").replace("%25", "%")

    def redis_channel(self, channel: str) -> bytes:
        """Return the Redis channel on which the publications of `channel` are published: that of RedisNames.live."""
        if self._is_cluster:
            return hash_tagged(self._prefix, channel) + b":live"
        return b"%bchannel:%b" % (self._prefix, channel.encode("utf-8", "surrogatepass"))
