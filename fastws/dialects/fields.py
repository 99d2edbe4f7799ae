"""Functions that several dialects use: parsing one request per message, validating fields, timestamps as text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Final

from fastws.codec.codec import Codec
from fastws.dialects.dialect import DialectDefaults
from fastws.errors import BadRequest
from fastws.vocabulary.commands import Command, Ping, Refresh, Request, RequestId
from fastws.vocabulary.values import timestamp

MAX_TEXT_LENGTH: Final = 255
MAX_ID_LENGTH: Final = 255
Message = dict[str, object]
Parser = Callable[[Message], Command]


class SingleRequestDialect(DialectDefaults, ABC):
    """A dialect whose messages contain one request each."""

    @abstractmethod
    def parse(self, message: object) -> Command:
        """Return the command in a decoded message. Raises BadRequest naming the fault and what is expected."""

    def requests(self, opcode: int, payload: bytes, codec: Codec) -> tuple[Request]:
        """Parse a message that contains one request. Raises InvalidPayload or InvalidText."""
        message = codec.loads(payload)
        request_id: RequestId = None
        try:
            if type(message) is dict and "id" in message:
                request_id = _request_id(message["id"])
            return ((request_id, self.parse(message)),)
        except BadRequest as error:
            # Without its traceback, which would keep the frames and so the message alive.
            return ((request_id, error.with_traceback(None)),)


def _request_id(value: object) -> RequestId:
    """Return the id of a request; null means no id, as if the field were absent. Raises BadRequest."""
    if value is None:
        return None
    if isinstance(value, str) and len(value) <= MAX_ID_LENGTH:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise BadRequest(f"`id` must be an integer of 64 bits or a string of at most {MAX_ID_LENGTH} characters")


def parse_by_type(message: object, parsers: Mapping[str, Parser], *, example: str) -> Command:
    """Parse `message` with the parser for its `type`. Raises BadRequest naming the known types."""
    if not isinstance(message, dict):
        raise BadRequest(f"a message is an object such as {example}")
    kind = message.get("type")
    parser = parsers.get(kind) if isinstance(kind, str) else None
    if parser is not None:
        return parser(message)
    known = ", ".join(sorted(parsers))
    if kind is None:
        raise BadRequest(f"`type` is missing: one of {known}")
    if not isinstance(kind, str):
        raise BadRequest(f"`type` must be a string: one of {known}")
    raise BadRequest(f"unknown type {kind[:64]!r}: one of {known}")


def parse_ping(message: Message) -> Command:
    return Ping()


def parse_refresh(message: Message) -> Command:
    token = message.get("token")
    if not isinstance(token, str):
        raise BadRequest("`token` must be a string: the new JWT")
    return Refresh(token)


def check_text(value: object, *, field: str) -> str:
    """Return `value` if it is a string of 1 to 255 characters. Raises BadRequest naming `field` otherwise."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT_LENGTH:
        raise BadRequest(f"`{field}` must be a string of 1 to {MAX_TEXT_LENGTH} characters")
    return value


def check_texts(value: object, *, field: str, at_most: int) -> list[str]:
    """Return `value` if it is a list of up to `at_most` such strings. Raises BadRequest naming `field` otherwise."""
    if not isinstance(value, list):
        raise BadRequest(f"`{field}` must be a list of strings")
    if len(value) > at_most:
        raise BadRequest(f"`{field}` has {len(value)} entries; at most {at_most} are allowed")
    return [check_text(text, field=f"{field}[{position}]") for position, text in enumerate(value)]


def timestamp_of(value: str | int | float | None) -> str | int | float:
    """Return the timestamp of a publication as ISO 8601 text. Seconds since the epoch are converted; None means now.

    Numbers beyond the years 1 to 9999 are returned unchanged.
    """
    if isinstance(value, str):
        return value
    try:
        return timestamp(value)
    except (ValueError, OverflowError, OSError):
        return 0 if value is None else value
