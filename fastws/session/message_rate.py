"""The message rate of one client: how many of its messages are done, and what happens to the others (spec 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastws.errors import RateLimited
from fastws.wire.opcodes import BINARY

if TYPE_CHECKING:
    from fastws.session.session import Session

# So many messages may be refused before the client is closed, however small the burst.
MIN_STRIKES: Final = 100


def allowance(session: Session, wanted: int) -> int:
    """How many of `wanted` messages the rate lets through. What is refused is not charged."""
    limits = session.services.limits
    rate = limits.message_rate
    if not rate:
        return wanted
    now = session.services.clock()
    full_at = session.rate_full_at
    if full_at <= now:
        full_at = now
        session.strikes = 0
    allowed = min(wanted, int(limits.message_burst - (full_at - now) * rate))
    session.rate_full_at = full_at + allowed / rate
    return allowed


def refuse_over_rate(session: Session, messages: list[tuple[int, bytes]]) -> None:
    """Say how many of `messages` are not done; close a client that goes on all the same."""
    refused = sum(opcode <= BINARY for opcode, _ in messages)
    session.services.counters.rate_limited["message"] += refused
    session.strikes += refused
    session.refuse(RateLimited(f"too many messages: {refused} were not processed; send more slowly"), None)
    if session.strikes > max(session.services.limits.message_burst, MIN_STRIKES):
        session.peer.end(1008, "too many messages", label="rate_limited")
        return
    # However many messages stand before it, a ping is answered (RFC 6455 section 5.5.2), and a close, too.
    session.perform([message for message in messages if message[0] > BINARY])


def end_of(count: int, messages: list[tuple[int, bytes]]) -> int:
    """Where the first message after `count` of them stands, control frames left out of the count."""
    for position, (opcode, _) in enumerate(messages):
        if opcode <= BINARY:
            if not count:
                return position
            count -= 1
    return len(messages)
