"""The states of a WebSocket connection, as a table (RFC 6455 section 7)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class State(IntEnum):
    """The state of a connection."""

    OPEN = 0  # messages flow in both directions
    CLOSING = 1  # our close frame is sent and the peer's is awaited; other frames are discarded
    LEAVING = 2  # both close frames are sent, or the peer violated the protocol: the TCP connection is being closed
    CLOSED = 3  # the transport is closed


class Event(IntEnum):
    """Events that change the state."""

    WE_CLOSE = 0
    PEER_CLOSES = 1
    PEER_FAILS = 2
    LOST = 3


TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.OPEN, Event.WE_CLOSE): State.CLOSING,
    (State.OPEN, Event.PEER_CLOSES): State.LEAVING,
    (State.OPEN, Event.PEER_FAILS): State.LEAVING,
    (State.OPEN, Event.LOST): State.CLOSED,
    (State.CLOSING, Event.WE_CLOSE): State.CLOSING,
    (State.CLOSING, Event.PEER_CLOSES): State.LEAVING,
    (State.CLOSING, Event.PEER_FAILS): State.LEAVING,
    (State.CLOSING, Event.LOST): State.CLOSED,
    (State.LEAVING, Event.WE_CLOSE): State.LEAVING,
    (State.LEAVING, Event.PEER_CLOSES): State.LEAVING,
    (State.LEAVING, Event.PEER_FAILS): State.LEAVING,
    (State.LEAVING, Event.LOST): State.CLOSED,
    (State.CLOSED, Event.WE_CLOSE): State.CLOSED,
    (State.CLOSED, Event.PEER_CLOSES): State.CLOSED,
    (State.CLOSED, Event.PEER_FAILS): State.CLOSED,
    (State.CLOSED, Event.LOST): State.CLOSED,
}
