"""How long the Redis broker waits for what: one redis_channel, so that tests can be impatient."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True, kw_only=True)
class RedisTimeouts:
    """All in seconds. The defaults keep the promises of the README; their sums are what users feel."""

    # A publication or command is refused when Redis has not answered it for so long (promised: 2 s).
    answer_seconds: float = 1.8
    # Commands unanswered for so long hold back those behind them: what was not sent was not published.
    stall_seconds: float = 0.5
    # A listener that has read nothing for `ping_seconds` asks; after `silence_seconds` the line is dead.
    ping_seconds: float = 2.0
    silence_seconds: float = 8.0
    # A message to ourselves through Redis: how often, when it counts as down, when to open new connections.
    probe_seconds: float = 1.0
    probe_late_seconds: float = 3.0
    probe_lost_seconds: float = 5.0
    # A channel nobody here listens to any more is kept so long, against churn.
    linger_seconds: float = 3.0
    # Nodes tell each other what changed, and forget one that has been silent.
    heartbeat_seconds: float = 1.0
    node_expiry_seconds: float = 10.0
    # A question to another node.
    request_seconds: float = 2.0


PATIENT = RedisTimeouts()
