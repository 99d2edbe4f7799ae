"""What the Redis that joins processes is like: there, quick, roomy, and of the same time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from fastws.brokers.redis.embedded import EMBEDDED
from fastws.brokers.redis.wire.address import parse_address
from fastws.config import Config
from fastws.doctor.finding import Finding, fail, ok, warn

CONNECT_SECONDS: Final = 3.0
PINGS: Final = 20
SLOW_SECONDS: Final = 0.005
OLDEST: Final = (6, 0)
# Redis's own default; below it a process that is held up for a moment is cut off.
LEAST_BUFFER_BYTES: Final = 32 << 20
CONNECTIONS_PER_PROCESS: Final = 2
SKEW_SECONDS: Final = 1.0
_START: Final = (
    "start one (apt install redis-server, or docker run -p 6379:6379 redis:7), check redis_url and its password"
)

Answers = Mapping[str, Any]


def check_redis(config: Config) -> Iterator[Finding]:
    """Findings on `redis_url`; one, where there is none or it does not answer. Takes 3 s at most for that."""
    if config.redis_url is None:
        yield ok("redis", "none: one process, with its broker in memory")
        return
    if config.redis_url == EMBEDDED:
        yield ok("redis", "one of its own, started by `fastws serve` for this machine")
        return
    address = parse_address(config.redis_url)
    client = redis.Redis.from_url(
        config.redis_url,
        socket_timeout=CONNECT_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )
    with client:
        try:
            seconds = ping_seconds(client.ping)
            info = cast("Answers", client.info())
        except (RedisError, OSError) as error:
            yield fail("redis", f"{address} does not answer: {error}", _START)
            return
        yield _server(str(address), info)
        yield _latency(seconds)
        yield buffer_finding(_setting(client, "client-output-buffer-limit"))
        yield _clients(_setting(client, "maxclients"), info, config.workers)
        yield _clock(client, config.jwt_leeway)


def ping_seconds(ping: Callable[[], object]) -> float:
    """The median round trip."""
    spans = []
    for _ in range(PINGS):
        began = time.perf_counter()
        ping()
        spans.append(time.perf_counter() - began)
    return statistics.median(spans)


def _server(address: str, info: Answers) -> Finding:
    name = f"{address}, version {info.get('redis_version', 'unknown')}"
    version = tuple(int(part) for part in str(info.get("redis_version", "")).split(".")[:2] if part.isdigit())
    if info.get("role") == "slave":
        return fail(
            "redis", f"{name} is a replica: what is published elsewhere may never arrive", "give the primary's address"
        )
    if version and version < OLDEST:
        return warn("redis", f"{name} is old", "run Redis 6 or newer; fastws is tested with 6.2 and 7")
    if info.get("cluster_enabled"):
        return warn(
            "redis",
            f"{name} is a node of a cluster: each publication goes to every node of it",
            "use a Redis of its own for fastws; it stores next to nothing",
        )
    return ok("redis", name)


def _latency(seconds: float) -> Finding:
    state = f"PING takes {seconds * 1000:.2f} ms"
    if seconds > SLOW_SECONDS:
        return warn("redis latency", state, "bring Redis nearer; every publication takes that way twice")
    return ok("redis latency", state)


def _setting(client: redis.Redis, name: str) -> str | None:
    """CONFIG GET; None where Redis does not let us ask, as managed ones do."""
    try:
        return cast("Mapping[str, str]", client.config_get(name)).get(name)
    except ResponseError:
        return None


def buffer_finding(setting: str | None) -> Finding:
    """On `client-output-buffer-limit`: "normal 0 0 0 … pubsub HARD SOFT SECONDS"."""
    check = "redis output buffer"
    remedy = "CONFIG SET client-output-buffer-limit 'pubsub 256mb 64mb 60' (and the same in redis.conf)"
    words = (setting or "").split()
    if "pubsub" not in words:
        return warn(check, "Redis does not say its client-output-buffer-limit", "look it up where it is managed")
    hard, soft, seconds = (int(word) for word in words[words.index("pubsub") + 1 :][:3])
    if hard == 0 and soft == 0:
        return warn(check, "no limit for pubsub: a process that stops reading fills Redis's memory", remedy)
    state = f"pubsub: cut off at {_size(hard)}, or over {_size(soft)} for {seconds} s"
    if 0 < hard < LEAST_BUFFER_BYTES:
        return warn(check, f"{state}: a process held up for a moment loses messages (its clients get a gap)", remedy)
    return ok(check, state)


def _clients(setting: str | None, info: Answers, workers: int) -> Finding:
    connected, wanted = int(info.get("connected_clients", 0)), workers * CONNECTIONS_PER_PROCESS
    limit = int(setting) if setting is not None else int(info.get("maxclients", 0))
    if not limit:
        return warn(
            "redis maxclients", "Redis does not say how many clients it takes", "look it up where it is managed"
        )
    state = f"{connected:,} of {limit:,} clients; each process of fastws takes {CONNECTIONS_PER_PROCESS}"
    if connected + wanted > limit:
        return fail("redis maxclients", state, "CONFIG SET maxclients 10000, and the file limit of Redis to match")
    return ok("redis maxclients", state)


def _clock(client: redis.Redis, leeway_seconds: float) -> Finding:
    before = time.time()
    seconds, micros = client.time()
    after = time.time()
    return clock_finding(seconds + micros / 1e6 - (before + after) / 2, leeway_seconds)


def clock_finding(skew_seconds: float, leeway_seconds: float) -> Finding:
    """On how far Redis's clock is ahead of ours."""
    state = f"{abs(skew_seconds):.3f} s {'behind' if skew_seconds > 0 else 'ahead of'} Redis's"
    remedy = "let NTP set both clocks (timedatectl set-ntp true): tokens and revocations are judged by them"
    if abs(skew_seconds) > leeway_seconds:
        return fail("clock", f"{state}, more than jwt_leeway ({leeway_seconds:g} s)", remedy)
    if abs(skew_seconds) > SKEW_SECONDS:
        return warn("clock", state, remedy)
    return ok("clock", state)


def _size(number: int) -> str:
    return f"{number >> 20} MB" if number >= 1 << 20 else f"{number} bytes"
