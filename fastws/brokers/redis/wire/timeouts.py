"""All time limits and intervals of the Redis broker in one place, so that tests can shorten them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True, kw_only=True)
class RedisTimeouts:
    """All values in seconds. The defaults keep the times that the documentation promises."""

    # A publication or command is refused if Redis does not answer it in this time (the documentation promises 2 s).
    answer_seconds: float = 1.8
    # While the oldest command has been unanswered for longer than this, no further commands are sent: a command that
    # was not sent was certainly not published.
    stall_seconds: float = 0.5
    # A listener that has received nothing for `ping_seconds` sends PING; after `silence_seconds` it reconnects.
    ping_seconds: float = 2.0
    silence_seconds: float = 8.0
    # The probe, a message of the process to itself through Redis: its interval, the age at which the broker counts as
    # down, and the age at which both connections are replaced.
    probe_seconds: float = 1.0
    probe_late_seconds: float = 3.0
    probe_lost_seconds: float = 5.0
    # Interval at which Redis is asked whether it is still a primary.
    role_seconds: float = 2.0
    # Longest interval between two comparisons of the revocations here with those in Redis.
    revocations_seconds: float = 4.0
    # Interval at which the presence of a channel is compared with that in Redis.
    presence_seconds: float = 3.0
    # A channel without local subscribers stays subscribed for this long, because clients often return.
    linger_seconds: float = 3.0
    # Interval at which a node publishes its changed statistics, and the silence after which others remove it.
    heartbeat_seconds: float = 1.0
    node_expiry_seconds: float = 10.0
    # Time limit of a request to another node.
    request_seconds: float = 2.0


DEFAULT_TIMEOUTS = RedisTimeouts()
