"""Opcodes and close codes of RFC 6455. Plain integers, since comparing an IntEnum costs a call."""

from __future__ import annotations

from typing import Final

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

MAX_CONTROL_PAYLOAD: Final = 125

# RFC 6455 section 7.4.1 and the IANA registry, without codes that must not be sent (1005, 1006, 1015), the reserved
# 1004, and 1014, which is for gateways.
_PROTOCOL_CODES: Final = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013})


def is_close_code(code: int) -> bool:
    """Whether `code` is allowed in a close frame (RFC 6455 section 7.4). wsproto accepts the same codes."""
    return 3000 <= code <= 4999 or code in _PROTOCOL_CODES
