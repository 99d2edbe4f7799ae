"""The kinds of clients and disruptions of a soak, and the selection for a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """`needs_server`: only a server that the soak has started can be treated so; `needs_redis`: one with a Redis."""

    does: str
    needs_server: bool = False
    needs_redis: bool = False


KINDS = {
    "listeners": Kind("stay subscribed and must get everything, in order"),
    "churners": Kind("connect, listen for a few seconds and leave in one of three ways"),
    "slow": Kind("subscribe and do not read"),
    "resetters": Kind("send a part of a client's bytes and reset the connection"),
    "jittery": Kind("pause and resume reading at random, within a crowd, and must get everything"),
    "hasty": Kind("subscribe and unsubscribe while they connect; the last request must win"),
    "tls": Kind("TLS listeners, and clients whose Finished and upgrade request share a segment", True, True),
    "revocations": Kind("revoke tokens, which every server must refuse from then on", True),
    "rights": Kind("Redis user without the feeds; strangers open them; they are given and taken away", True, True),
    "role": Kind("Redis is made a replica with its connections alive, and a primary again", True, True),
    "flush": Kind("FLUSHDB; revocations must be back in Redis within 30 s", True, True),
    "roll": Kind("replace all workers (--roll-every)", True),
    "kill-worker": Kind("SIGKILL a worker (--kill-worker-every)", True),
    "kill-redis": Kind("SIGKILL Redis and start it again (--kill-redis-every)", True, True),
}


def choose(only: set[str], without: set[str], *, has_own_server: bool) -> set[str]:
    """The kinds of a run. Raises ValueError for a name that is unknown, or that --url rules out."""
    unknown = sorted((only | without) - set(KINDS))
    if unknown:
        raise ValueError(f"unknown kind {', '.join(unknown)}: must be one of {', '.join(KINDS)}")
    possible = {name for name, kind in KINDS.items() if has_own_server or not kind.needs_server}
    impossible = sorted(only - possible)
    if impossible:
        raise ValueError(f"{', '.join(impossible)}: cannot be done to the server of --url; leave --url out")
    chosen = (only or possible) - without
    return chosen | {"revocations"} if "flush" in chosen else chosen


def needs_redis(kinds: set[str]) -> bool:
    return any(KINDS[name].needs_redis for name in kinds)
