"""Checks of Redis: reachable, fast, large enough, clock in sync."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, RedisError, ResponseError
from redis.retry import Retry

from fastws.backend.redis_servers import RedisServers
from fastws.brokers.redis.acl import acl_rule
from fastws.brokers.redis.channels import feed_prefix
from fastws.brokers.redis.embedded import EMBEDDED
from fastws.config import Config
from fastws.doctor.finding import Finding, fail, ok, warn
from fastws.doctor.history import NO_EVICTION, check_history_in_redis
from fastws.redis_address import RedisAddress
from fastws.redis_places import ClusterAddress, Place, SentinelAddress, is_cluster_url
from fastws.resolver import lookup
from fastws.vocabulary.channels import WORKSPACE_ID

if TYPE_CHECKING:
    from fastws.backend.redis_cluster import ClusterPublisher

CONNECT_SECONDS: Final = 3.0
# Of a Redis Cluster.
SLOTS: Final = 16_384
PINGS: Final = 20
SLOW_SECONDS: Final = 0.005
OLDEST: Final = (6, 0)
# Redis's default. With less, Redis disconnects a process that stalls for a moment.
MIN_BUFFER_BYTES: Final = 32 << 20
CONNECTIONS_PER_PROCESS: Final = 2
SKEW_SECONDS: Final = 1.0
# Part of maxmemory from which it is a warning.
NEARLY_FULL: Final = 0.9
_START: Final = (
    "check redis_url and its password, or start Redis (apt install redis-server, or docker run -p 6379:6379 redis:7)"
)

# Each command is tried once.
_ONCE: Final[dict[str, Any]] = {
    "socket_timeout": CONNECT_SECONDS,
    "socket_connect_timeout": CONNECT_SECONDS,
    "retry": Retry(NoBackoff(), 0),
    "decode_responses": True,
}

Answers = Mapping[str, Any]
# redis-py leaves `execute_command` and `pubsub` without types.
Untyped = Any


def check_redis(config: Config) -> Iterator[Finding]:
    """Yield the findings on `redis_url`. If Redis is not set or does not answer (within 3 s), this is the only one."""
    if config.redis_url is None:
        yield ok("redis", "not set: one process with the in-memory broker")
        return
    if config.redis_url == EMBEDDED:
        yield ok("redis", "embedded: started by `fastws serve` on this machine")
        return
    servers = RedisServers(config.redis_url)
    for position, place in enumerate(servers.places):
        if isinstance(place, SentinelAddress):
            yield from _check_sentinels(place)
        hosts = _hosts(place)
        unknown = [host for host in hosts if not _answers_for(host)]
        for host in unknown:
            yield fail(
                "redis", f"{host}: the name server does not answer", "correct /etc/resolv.conf, or give an IP address"
            )
        if len(unknown) == len(hosts):
            continue
        client = servers.client(position, _ONCE)
        if isinstance(client, redis.Redis):
            yield from _check_server(config, client, place)
        else:
            yield from _check_cluster(config, client, place)


def _hosts(place: Place) -> Sequence[RedisAddress]:
    """Return the servers that the URL names."""
    if isinstance(place, SentinelAddress):
        return place.sentinels
    return place.seeds if isinstance(place, ClusterAddress) else (place,)


def _check_cluster(config: Config, cluster: ClusterPublisher, place: Place) -> Iterator[Finding]:
    """Yield whether all slots have an owner, and the findings on each of these owners."""
    check = "redis cluster"
    try:
        slots, clients = cluster.check()
    except (RedisError, OSError) as error:
        yield fail(check, f"{place} does not answer: {error}", "check redis_url, and redis-cli --cluster check")
        return
    unserved = sum(slots.owner(slot) is None for slot in range(SLOTS))
    state = f"{len(clients)} primaries"
    alone = [str(node) for node, client in clients.items() if _replicas(client) == 0]
    if unserved:
        state += f", {unserved} of {SLOTS} slots without an owner: channels there are unavailable"
        yield fail(check, state, "redis-cli --cluster fix")
    elif alone:
        state += f", without a replica: {', '.join(alone)}: when such a primary dies, its channels stay unavailable"
        yield warn(check, state, "add a replica for each primary")
    else:
        yield ok(check, state)
    for node, client in clients.items():
        yield from _check_server(config, client, replace(_hosts(place)[0], host=node.host, port=node.port))
    cluster.close()


def _check_sentinels(place: SentinelAddress) -> Iterator[Finding]:
    """Yield whether all Sentinels answer, know the service, and name the same primary."""
    from fastws.backend.redis_sentinel import sentinel_answers

    check, answers = "redis sentinel", sentinel_answers(place, _ONCE)
    failed = [f"{host} ({answer})" for host, answer in answers.items() if not isinstance(answer, tuple)]
    named = sorted({f"{host}:{port}" for host, port in (a for a in answers.values() if isinstance(a, tuple))})
    remedy = f"check the Sentinels: SENTINEL CKQUORUM {place.service}"
    if not named:
        yield fail(check, f"no Sentinel names a primary of {place.service}: {', '.join(failed)}", remedy)
    elif len(named) > 1:
        yield fail(check, f"the Sentinels disagree on the primary of {place.service}: {', '.join(named)}", remedy)
    elif failed:
        yield warn(check, f"{place.service} is at {named[0]}, but no answer from {', '.join(failed)}", remedy)
    else:
        yield ok(check, f"{place.service} is at {named[0]}, say all {len(answers)} Sentinels")


def _answers_for(address: RedisAddress) -> bool:
    """Whether the name server answers in time. A name that does not exist is reported by the connection attempt."""
    try:
        # No time limit of redis-py covers the lookup.
        lookup(None if address.path else address.host, address.port).exception(CONNECT_SECONDS)
    except TimeoutError:
        return False
    return True


def _replicas(client: Untyped) -> int | None:
    """Return the number of connected replicas, None if INFO is not permitted or not answered."""
    try:
        return int(client.info("replication")["connected_slaves"])
    except (RedisError, OSError):
        return None


def _check_server(config: Config, client: redis.Redis, address: Place) -> Iterator[Finding]:
    """Yield the findings on a Redis server."""
    with client:
        user = (address.primary if isinstance(address, SentinelAddress) else _hosts(address)[0]).username or "default"
        try:
            seconds = ping_seconds(client.ping)
            yield from _findings(client, config, str(address), user)
            yield _latency(seconds)
        except NoPermissionError as error:
            yield fail("redis", f"{address} refuses what fastws needs: {error}", acl_rule(config, user))
        except (RedisError, OSError) as error:
            yield fail("redis", f"{address} does not answer: {error}", _START)


def _findings(client: Untyped, config: Config, address: str, user: str) -> Iterator[Finding]:
    """Yield the findings on a server that answers. Raises RedisError if it stops answering."""
    info = _info(client)
    yield _server(address, info, is_cluster=_is_cluster(config))
    yield _permissions(client, config, user)
    yield from check_history_in_redis(config, info, user, lambda command: _may(client, command))
    yield memory_finding(info)
    yield buffer_finding(_setting(client, "client-output-buffer-limit"))
    yield _clients(_setting(client, "maxclients"), info, config.workers)
    if _may(client, ("TIME",)):
        yield _clock(client, config.jwt_leeway)


def ping_seconds(ping: Callable[[], object]) -> float:
    """Return the median round-trip time."""
    spans = []
    for _ in range(PINGS):
        began = time.perf_counter()
        ping()
        spans.append(time.perf_counter() - began)
    return statistics.median(spans)


def _info(client: Untyped) -> Answers:
    """INFO; where the ACL lacks that, the role alone; nothing where it lacks ROLE too."""
    try:
        return cast("Answers", client.info())
    except NoPermissionError:
        pass
    try:
        return {"role": client.execute_command("ROLE")[0]}
    except NoPermissionError:
        return {}


def _permissions(client: Untyped, config: Config, user: str) -> Finding:
    """Tries what fastws does. Nothing is published on the feeds, where backends and clients would hear it."""
    check, prefix = "redis permissions", config.redis_prefix
    commands = (*_commands(f"{prefix}doctor"), *(_CLUSTER_COMMANDS if _is_cluster(config) else ()))
    missing = [command[0] for command in commands if not _may(client, command)]
    feeds = (config.jobs_channel, config.workspace_channel.replace(WORKSPACE_ID, "doctor"))
    channels = (f"{prefix}doctor", *(feed_prefix(config) + feed for feed in feeds))
    subscribes = {f"SUBSCRIBE {channel}": _may_subscribe(client, channel) for channel in channels}
    if _is_cluster(config):
        missing += [] if _may(client, ("SPUBLISH", channels[0], "")) else [f"SPUBLISH {channels[0]}"]
        subscribes[f"SSUBSCRIBE {channels[0]}"] = _may_subscribe(client, channels[0], is_sharded=True)
    missing += [command for command, may in subscribes.items() if may is False]
    unknown = [command for command, may in subscribes.items() if may is None]
    remedy = acl_rule(config, user)
    if unknown and not missing:
        return warn(check, f"cannot tell whether {user} may use {', '.join(unknown)}: no answer", remedy)
    if not missing:
        unsure = [command[0] for command in (("ROLE",), ("CLIENT", "ID")) if not _may(client, command)]
        if unsure:
            return warn(
                check, f"{user} may not use {', '.join(unsure)}: it works, but failures are noticed later", remedy
            )
        return ok(check, f"{user} may do all that fastws does")
    return fail(check, f"{user} may not use {', '.join(missing)}", remedy)


# Without a key. Redis checks them before it looks at the slot of a key, so that any node can be asked.
_CLUSTER_COMMANDS: Final = (("CLUSTER", "SLOTS"), ("ASKING",))


def _is_cluster(config: Config) -> bool:
    return config.redis_url is not None and is_cluster_url(config.redis_url)


def _commands(name: str) -> tuple[tuple[str, ...], ...]:
    """One of each kind, on a key and a channel that nobody uses; the key is deleted in the end."""
    return (
        ("PUBLISH", name, ""),
        ("ZADD", name, "GT", "0", "doctor"),
        ("ZCOUNT", name, "0", "0"),
        ("ZRANGE", name, "0", "0"),
        ("ZREMRANGEBYSCORE", name, "0", "0"),
        *(("HSET", name, "doctor", ""), ("HDEL", name, "doctor"), ("HSCAN", name, "0"), ("HLEN", name)),
        ("EXPIRE", name, "1"),
        ("SET", name, "", "EX", "1"),
        ("GET", name),
        ("DEL", name),
    )


def _may(client: Untyped, command: tuple[str, ...]) -> bool:
    try:
        client.execute_command(*command)
    except NoPermissionError:
        return False
    except ResponseError:
        return True  # it was let through, and failed for another reason (OOM, READONLY): others tell of that
    return True


def _may_subscribe(client: Untyped, channel: str, *, is_sharded: bool = False) -> bool | None:
    """Whether Redis confirms a subscription to `channel`; None if it does not answer in time."""
    with client.pubsub() as listener:
        (listener.ssubscribe if is_sharded else listener.subscribe)(channel)
        try:
            message = listener.get_message(timeout=CONNECT_SECONDS)
        except NoPermissionError:
            return False
        except ResponseError:
            return True  # MOVED: it was let through
    return None if message is None else True


def _server(address: str, info: Answers, *, is_cluster: bool) -> Finding:
    name = f"{address}, version {info.get('redis_version', 'unknown')}"
    version = tuple(int(part) for part in str(info.get("redis_version", "")).split(".")[:2] if part.isdigit())
    if info.get("role") == "slave":
        return fail(
            "redis",
            f"{name} is a replica: messages from the primary may not arrive",
            "use the primary's address",
        )
    if "role" not in info:
        return warn("redis", f"{name}: cannot tell whether it is a primary, without ROLE and INFO", "allow ROLE")
    if version and version < OLDEST:
        return warn("redis", f"{name} is old", "run Redis 6 or newer; fastws is tested with 6.2 and 7")
    if info.get("cluster_enabled") and not is_cluster:
        return warn(
            "redis",
            f"{name} is a cluster node: every publication is sent to all nodes of the cluster",
            "set redis_url to redis+cluster://, or use a separate Redis for fastws",
        )
    return ok("redis", name)


def _latency(seconds: float) -> Finding:
    state = f"PING takes {seconds * 1000:.2f} ms"
    if seconds > SLOW_SECONDS:
        return warn("redis latency", state, "move Redis closer; every publication makes this round trip")
    return ok("redis latency", state)


def _setting(client: redis.Redis, name: str) -> str | None:
    """Return the result of CONFIG GET, or None if it is not permitted, as on managed Redis services."""
    try:
        return cast("Mapping[str, str]", client.config_get(name)).get(name)
    except ResponseError:
        return None


def buffer_finding(setting: str | None) -> Finding:
    """Return the finding on `client-output-buffer-limit`, "normal 0 0 0 … pubsub HARD SOFT SECONDS"."""
    check = "redis output buffer"
    remedy = "CONFIG SET client-output-buffer-limit 'pubsub 256mb 64mb 60' (and the same in redis.conf)"
    words = (setting or "").split()
    if "pubsub" not in words:
        return warn(
            check,
            "cannot tell: no permission for CONFIG GET",
            "check client-output-buffer-limit at your Redis provider",
        )
    hard, soft, seconds = (int(word) for word in words[words.index("pubsub") + 1 :][:3])
    if hard == 0 and soft == 0:
        return warn(check, "no limit for pubsub: a process that stops reading fills the memory of Redis", remedy)
    state = f"pubsub clients are disconnected at {_size(hard)}, or above {_size(soft)} for {seconds} s"
    if 0 < hard < MIN_BUFFER_BYTES:
        return warn(check, f"{state}: a process that stalls for a moment loses messages (clients get a gap)", remedy)
    return ok(check, state)


def memory_finding(info: Answers) -> Finding:
    """Return the finding on the memory of Redis and on what it does when that is full, from INFO."""
    check = "redis memory"
    if "used_memory" not in info:
        return warn(check, "cannot tell: no permission for INFO", "check used_memory and maxmemory at your provider")
    used, limit = int(info["used_memory"]), int(info.get("maxmemory", 0))
    policy = str(info.get("maxmemory_policy", NO_EVICTION))
    if not limit:
        return ok(check, f"{_size(used)} used, no maxmemory")
    state = f"{_size(used)} of {_size(limit)} used, maxmemory-policy {policy}"
    if policy != NO_EVICTION:
        return warn(
            check,
            f"{state}: revocations may be evicted, and revoked tokens accepted until they are put back",
            f"use a separate Redis for fastws, with CONFIG SET maxmemory-policy {NO_EVICTION}",
        )
    if used >= limit:
        return fail(check, f"{state}: publications with a message_id are refused with 503", "raise maxmemory")
    if used >= limit * NEARLY_FULL:
        return warn(check, f"{state}: when it is full, publications with a message_id are refused", "raise maxmemory")
    return ok(check, state)


def _clients(setting: str | None, info: Answers, workers: int) -> Finding:
    connected, wanted = int(info.get("connected_clients", 0)), workers * CONNECTIONS_PER_PROCESS
    limit = int(setting) if setting is not None else int(info.get("maxclients", 0))
    if not limit or "connected_clients" not in info:
        return warn(
            "redis maxclients",
            "cannot tell: no permission for CONFIG GET or INFO",
            "check maxclients at your Redis provider",
        )
    state = f"{connected:,} of {limit:,} clients; each fastws process uses {CONNECTIONS_PER_PROCESS}"
    if connected + wanted > limit:
        return fail("redis maxclients", state, "CONFIG SET maxclients 10000, and raise the file limit of Redis")
    return ok("redis maxclients", state)


def _clock(client: redis.Redis, leeway_seconds: float) -> Finding:
    before = time.time()
    seconds, micros = client.time()
    after = time.time()
    return clock_finding(seconds + micros / 1e6 - (before + after) / 2, leeway_seconds)


def clock_finding(skew_seconds: float, leeway_seconds: float) -> Finding:
    """Return the finding on the clock difference; positive if the clock of Redis is ahead."""
    state = f"{abs(skew_seconds):.3f} s {'behind' if skew_seconds > 0 else 'ahead of'} the clock of Redis"
    remedy = "synchronize both clocks with NTP (timedatectl set-ntp true); tokens and revocations depend on them"
    if abs(skew_seconds) > leeway_seconds:
        return fail("clock", f"{state}, more than jwt_leeway ({leeway_seconds:g} s)", remedy)
    if abs(skew_seconds) > SKEW_SECONDS:
        return warn("clock", state, remedy)
    return ok("clock", state)


def _size(number: int) -> str:
    return f"{number >> 20} MB" if number >= 1 << 20 else f"{number} bytes"
