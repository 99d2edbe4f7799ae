"""What several dialects share: one request in a message, fields that are checked, moments as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fastws.codec.codec import Codec
from fastws.errors import BadRequest
from fastws.vocabulary.commands import Command, Ping, Refresh, Request, RequestId
from fastws.vocabulary.values import timestamp

MAX_WORD_LENGTH: Final = 255
MAX_ID_LENGTH: Final = 255
Message = dict[str, object]
Parser = Callable[[Message], Command]


def single_request(payload: bytes, codec: Codec, parse: Callable[[object], Command]) -> tuple[Request]:
    """The one request that a message holds, with its `id`. Raises InvalidPayload or InvalidText."""
    message = codec.loads(payload)
    request_id: RequestId = None
    try:
        if type(message) is dict and "id" in message:
            request_id = _request_id(message["id"])
        return ((request_id, parse(message)),)
    except BadRequest as error:
        return ((request_id, error),)


def with_id(message: Mapping[str, object], request_id: RequestId) -> Mapping[str, object]:
    """`message` with the `id` of the request that it answers."""
    return {**message, "id": request_id}


def _request_id(value: object) -> RequestId:
    if isinstance(value, str) and len(value) <= MAX_ID_LENGTH:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise BadRequest(f"`id` must be an integer of 64 bits or a string of at most {MAX_ID_LENGTH} characters")


def parse_by_type(message: object, parsers: Mapping[str, Parser], *, example: str) -> Command:
    """What `message` asks for by its `type`. Raises BadRequest naming what would be right."""
    if not isinstance(message, dict):
        raise BadRequest(f"a message is an object such as {example}")
    word = message.get("type")
    parser = parsers.get(word) if isinstance(word, str) else None
    if parser is not None:
        return parser(message)
    known = ", ".join(sorted(parsers))
    if word is None:
        raise BadRequest(f"`type` is missing: one of {known}")
    if not isinstance(word, str):
        raise BadRequest(f"`type` must be a string: one of {known}")
    raise BadRequest(f"unknown type {word[:64]!r}: one of {known}")


def parse_ping(message: Message) -> Command:
    return Ping()


def parse_refresh(message: Message) -> Command:
    token = message.get("token")
    if not isinstance(token, str):
        raise BadRequest("`token` must be a string: the new JWT")
    return Refresh(token)


def check_word(value: object, *, field: str) -> str:
    """Return `value` if it is a string of 1 to 255 characters. Raises BadRequest naming `field` otherwise."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_WORD_LENGTH:
        raise BadRequest(f"`{field}` must be a string of 1 to {MAX_WORD_LENGTH} characters")
    return value


def check_words(value: object, *, field: str, at_most: int) -> list[str]:
    """Return `value` if it is a list of `at_most` words. Raises BadRequest naming `field` otherwise."""
    if not isinstance(value, list):
        raise BadRequest(f"`{field}` must be a list of strings")
    if len(value) > at_most:
        raise BadRequest(f"`{field}` has {len(value)} entries; at most {at_most} are allowed")
    return [check_word(word, field=f"{field}[{position}]") for position, word in enumerate(value)]


def moment(value: str | int | float | None) -> str | int | float:
    """A publication's timestamp as ISO 8601 text: seconds since the epoch are converted, None is now.

    A number that is no moment of the years 1 to 9999 is passed on as it came.
    """
    if isinstance(value, str):
        return value
    try:
        return timestamp(value)
    except (ValueError, OverflowError, OSError):
        return 0 if value is None else value
