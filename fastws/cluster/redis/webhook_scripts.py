"""The scripts of webhooks over Redis. Each is one step that no other process can divide.

All keys begin with `fastws:{webhooks}:`, so that they are in one slot of a cluster:

- `nodes:<subject>` (set): the nodes with connections of the subject; `node:<node>` (set): the reverse.
- `told` (hash): the fields in events of each subject that was reported as present, until it is reported as gone.
- `leaving` (sorted set): subjects without connections, by the time in ms at which they are reported as gone.
- `alive` (sorted set): the nodes by their last beat in ms; `swept` (set): dead ones whose subjects are being removed.
- `batch` (hash): the number of the last batch of each node; `epoch`: random, so that a loss of all data is noticed.
- `queue:<target>` (stream): the events that wait for a URL; `lease:<target>`: the node that sends them.
"""

from __future__ import annotations

from hashlib import sha1
from typing import Final, NamedTuple

# KEYS: prefix of all keys, and another key that never exists. With two missing keys, a Redis Cluster refuses the script
# as a whole while the slot moves to another node (TRYAGAIN); with one, it would run where some data is missing.
# ARGV: node, configuration as JSON (`RedisWebhooks._config`), then those of each script.
_COMMON: Final = b"""
local prefix, node, config = KEYS[1], ARGV[1], cjson.decode(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local dropped = {}

local function put(app, name, channel, event)
  for _, target in ipairs((config.apps[app] or {}).targets or {}) do
    if target.events[name] then
      local queue = prefix .. 'queue:' .. target.id
      redis.call('XADD', queue, '*', 'n', name, 'c', channel, 'e', event)
      redis.call('EXPIRE', queue, 86400)
      local excess = redis.call('XLEN', queue) - config.limit
      if excess > 0 then
        for _, entry in ipairs(redis.call('XRANGE', queue, '-', '+', 'COUNT', excess)) do
          redis.call('XDEL', queue, entry[1])
          dropped[#dropped + 1] = target.id .. entry[2][2]
        end
      end
      redis.call(config.publish, config.channel, target.id)
    end
  end
end

local function put_subject(key, fields, come, gone)
  local app, channel, separator = string.match(key, '^([^\\n]*)\\n([^\\n]*)(\\n?)')
  local name = (separator == '' and 'channel_' or 'member_') .. (separator == '' and come or gone)
  put(app, name, channel, '{"name":"' .. name .. '",' .. fields .. '}')
end

local function leave(key, who)
  redis.call('SREM', prefix .. 'nodes:' .. key, who)
  redis.call('SREM', prefix .. 'node:' .. who, key)
  if redis.call('EXISTS', prefix .. 'nodes:' .. key) == 0 and redis.call('HEXISTS', prefix .. 'told', key) == 1 then
    local channel, app, user = string.match(key, '^(([^\\n]*)\\n[^\\n]*)(\\n?)')
    local due = now + ((config.apps[app] or {}).grace or 0) + (user == '' and 1 or 0)
    -- A channel is reported as vacated after its last member, also if its own departure came in an earlier batch.
    if user ~= '' then due = math.min(due, (redis.call('ZSCORE', prefix .. 'leaving', channel) or due + 1) - 1) end
    redis.call('ZADD', prefix .. 'leaving', 'NX', due, key)
  end
end
"""

# Executes the operations of one node, in order. ARGV: number of the batch, operations as JSON, epoch. A batch that was
# executed before is ignored. Returns the dropped events, each as id of the target and name; 0 if Redis or the other
# nodes have forgotten this node.
_BATCH: Final = b"""
if redis.call('GET', prefix .. 'epoch') ~= ARGV[5] or not redis.call('ZSCORE', prefix .. 'alive', node) then
  return 0
end
if redis.call('HGET', prefix .. 'batch', node) == ARGV[3] then return dropped end
redis.call('HSET', prefix .. 'batch', node, ARGV[3])
local told = prefix .. 'told'
for _, op in ipairs(cjson.decode(ARGV[4])) do
  if op[1] == 'enter' then
    redis.call('SADD', prefix .. 'nodes:' .. op[2], node)
    redis.call('SADD', prefix .. 'node:' .. node, op[2])
    redis.call('ZREM', prefix .. 'leaving', op[2])
    if redis.call('HSETNX', told, op[2], op[3]) == 1 and not op[4] then
      put_subject(op[2], op[3], 'occupied', 'added')
    end
  elseif op[1] == 'leave' then
    if op[4] then redis.call('HSETNX', told, op[2], op[3]) end
    leave(op[2], node)
  else
    local is_due = true
    if op[6] == 'miss' then
      is_due = redis.call('SET', prefix .. 'miss:' .. op[2] .. '\\n' .. op[3], '', 'PX', config.miss, 'NX')
    elseif op[6] == 'owner' then
      local nodes = redis.call('SMEMBERS', prefix .. 'nodes:' .. op[2] .. '\\n' .. op[3])
      table.sort(nodes)
      is_due = nodes[1] == node
    end
    if is_due then put(op[2], op[4], op[3], op[5]) end
  end
end
return dropped
"""

# Once a second. ARGV: ms after which a silent node is dead, or 0 for no sweep; a new epoch; ms of a lease.
# Returns the epoch, 1 if this node was not known to be alive, the dropped events, and for each target whose events
# this node sends its id and their number.
_BEAT: Final = b"""
redis.call('SETNX', prefix .. 'epoch', ARGV[4])
local is_new = redis.call('ZADD', prefix .. 'alive', now, node)
redis.call('SREM', prefix .. 'swept', node)
if tonumber(ARGV[3]) > 0 then
  for _, dead in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'alive', '-inf', now - ARGV[3])) do
    redis.call('ZREM', prefix .. 'alive', dead)
    redis.call('SADD', prefix .. 'swept', dead)
  end
end
for _, dead in ipairs(redis.call('SMEMBERS', prefix .. 'swept')) do
  local keys = redis.call('SRANDMEMBER', prefix .. 'node:' .. dead, 1000)
  for _, key in ipairs(keys) do leave(key, dead) end
  if #keys < 1000 then
    redis.call('SREM', prefix .. 'swept', dead)
    redis.call('HDEL', prefix .. 'batch', dead)
  end
end
for _, key in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'leaving', '-inf', now, 'LIMIT', 0, 1000)) do
  redis.call('ZREM', prefix .. 'leaving', key)
  local fields = redis.call('HGET', prefix .. 'told', key)
  redis.call('HDEL', prefix .. 'told', key)
  if fields then put_subject(key, fields, 'vacated', 'removed') end
end
local held = {}
for _, app in pairs(config.apps) do
  for _, target in ipairs(app.targets) do
    local lease = prefix .. 'lease:' .. target.id
    local holder = redis.call('GET', lease)
    if not holder or holder == node then
      redis.call('SET', lease, node, 'PX', ARGV[5])
      held[#held + 1] = target.id
      held[#held + 1] = redis.call('XLEN', prefix .. 'queue:' .. target.id)
    end
  end
end
return {redis.call('GET', prefix .. 'epoch'), is_new, dropped, held}
"""

# Gives up the leases, and is no longer alive unless another node must remove subjects.
_BYE: Final = b"""
for _, app in pairs(config.apps) do
  for _, target in ipairs(app.targets) do
    local lease = prefix .. 'lease:' .. target.id
    if redis.call('GET', lease) == node then redis.call('DEL', lease) end
  end
end
if redis.call('EXISTS', prefix .. 'node:' .. node) == 0 then
  redis.call('ZREM', prefix .. 'alive', node)
  redis.call('HDEL', prefix .. 'batch', node)
end
redis.call(config.publish, config.channel, '')
return 1
"""


class Script(NamedTuple):
    text: bytes
    sha: bytes


def _script(text: bytes) -> Script:
    whole = _COMMON + text
    return Script(whole, sha1(whole, usedforsecurity=False).hexdigest().encode())


BATCH: Final = _script(_BATCH)
BEAT: Final = _script(_BEAT)
BYE: Final = _script(_BYE)
