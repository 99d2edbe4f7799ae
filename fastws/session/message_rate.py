"""The message rate of one client: how many of its messages are processed, and when it is closed (spec 6).

Computes as access/rate_limit.Bucket does, but that one takes all or nothing, and one per session would cost 56 bytes
per connection. So a session has only the time at which its burst is available again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastws.access.rate_limit import ROUNDING_TOKENS
from fastws.errors import RateLimited
from fastws.wire.opcodes import BINARY

if TYPE_CHECKING:
    from fastws.session.session import Session

# Number of messages that may be refused before the client is closed, however small the burst is.
MIN_STRIKES: Final = 100


def allowance(session: Session, wanted: int) -> int:
    """Charge `wanted` messages to the client's rate. Returns how many are allowed; refused ones are not charged."""
    config = session.services.config
    rate = config.message_rate
    if not rate:
        return wanted
    now = session.services.clock()
    full_at = session.rate_full_at
    if full_at <= now:
        full_at = now
        session.strikes = 0
    allowed = min(wanted, int(config.message_burst + ROUNDING_TOKENS - (full_at - now) * rate))
    session.rate_full_at = full_at + allowed / rate
    return allowed


def refuse_excess(session: Session, messages: list[tuple[int, bytes]]) -> None:
    """Report how many of `messages` are not processed; close a client that keeps sending over the rate."""
    refused = sum(opcode <= BINARY for opcode, _ in messages)
    session.services.counters.rate_limited["message"] += refused
    session.strikes += refused
    session.refuse(RateLimited(f"too many messages: {refused} were not processed; send more slowly"), None)
    if session.strikes > max(session.services.config.message_burst, MIN_STRIKES):
        session.peer.end(1008, "too many messages", label="rate_limited")
        return
    # Pings (RFC 6455 section 5.5.2) and closes are answered, however many messages precede them.
    session.perform([message for message in messages if message[0] > BINARY])


def end_of_allowed(allowed: int, messages: list[tuple[int, bytes]]) -> int:
    """Return the index of the first data message after the first `allowed` ones; control frames do not count."""
    for position, (opcode, _) in enumerate(messages):
        if opcode <= BINARY:
            if not allowed:
                return position
            allowed -= 1
    return len(messages)
