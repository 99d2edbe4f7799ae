"""RESP, the protocol of Redis: encoding of commands, and the meaning of errors."""

from __future__ import annotations

from typing import Any, Final

import hiredis

# The type stub of hiredis declares a tuple of one element, but any length is accepted.
_pack: Final[Any] = hiredis.pack_command
# Texts for clients, by the first word of the error of Redis.
_TEXTS: Final = {
    "OOM": "Redis is out of memory: raise its maxmemory",
    "NOPERM": "the Redis user of this server lacks a permission: `fastws doctor` names it",
    "READONLY": "this Redis is a read-only replica: connect the server to the primary",
    "MISCONF": "Redis cannot save to its disk: see its log",
    "LOADING": "Redis is still loading its data: try again",
}


def pack(*words: bytes | str | int | float) -> bytes:
    """Encode one command, ready to be written."""
    packed: bytes = _pack(words)
    return packed


def error_code(error: object) -> str:
    """Return the first word of an error of Redis, such as OOM, NOPERM or ERR."""
    return str(error).partition(" ")[0]


def refusal_text(error: object) -> str:
    """Return the text for the client whose command Redis refused with `error`."""
    return _TEXTS.get(error_code(error), "Redis refused the command: see the server's log")
