"""The envelope: the encoding of a publication on a Redis channel.

It consists of `C1 01`, the codec of the body (`j` or `m`), the length of the header (4 bytes, big-endian), the header
(a msgpack array, see `_header`) and the body as encoded by its codec, so that the body need not be decoded. Neither
JSON text nor a msgpack value starts with C1, so the first byte distinguishes an envelope from the plain object of
another publisher.

In version 2, of channels with a history, `C1 02` is followed by the offset (8 bytes), the length of the epoch (1 byte)
and the epoch, then by the same as in version 1. Instead of that, `g` announces that a new epoch has begun.
"""

from __future__ import annotations

import time
from sys import intern
from typing import Any, Final, NamedTuple

import msgpack
import orjson

from fastws.codec.codec import check_keys
from fastws.codec.json_text import JSON
from fastws.codec.msgpack_binary import MSGPACK
from fastws.errors import BadRequest, FastWSError, Unencodable
from fastws.vocabulary.positions import Position
from fastws.vocabulary.publication import NOBODY, Encoded, Publication
from fastws.vocabulary.values import fast_dataclass

MAGIC: Final = b"\xc1"
VERSION: Final = 1
NUMBERED_VERSION: Final = 2
DEFAULT_LIMIT_BYTES: Final = 4_194_304

_START: Final = MAGIC + bytes([VERSION])
_NUMBERED: Final = MAGIC + bytes([NUMBERED_VERSION])
_EPOCH_AT: Final = 11
_NEW_EPOCH: Final = ord("g")
# The codec and the length of the header, after the version and the position.
_PREFIX_BYTES: Final = 5
_CODEC_BYTE: Final = {"json": b"j", "msgpack": b"m"}
_CODEC_NAME: Final = {0x6A: "json", 0x6D: "msgpack"}
# Fields of the header. A later version may add more at the end.
_FIELDS: Final = 11
_LABELS: Final = frozenset((str, int))
_SCALARS: Final = frozenset((str, int, float))
_STRICT: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
# The first byte of a msgpack map: fixmap, map 16, map 32.
_MSGPACK_MAP: Final = frozenset([*range(0x80, 0x90), 0xDE, 0xDF])


class Decoded(NamedTuple):
    """A decoded publication, the node that sent it and its number there; None and 0 if fastws did not send it.

    `comes_numbered`: it is also published with its position in the history of the channel.
    """

    publication: Publication
    node: str | None
    number: int
    comes_numbered: bool = False


@fast_dataclass
class Numbered:
    """A decoded publication with its position in the history of the channel."""

    publication: Publication
    position: Position
    node: str
    number: int


class NewEpoch(NamedTuple):
    """The announcement that the numbering of a channel has begun again."""

    position: Position


def encode_rest(publication: Publication, node: str, number: int) -> bytes:
    """Encode `publication` without the version, offset and epoch, which Redis adds. Raises Unencodable.

    One without a timestamp gets the present time: it is read again later.
    """
    return _encode(b"", publication, node, number, time.time() if publication.timestamp is None else None)


def decode_numbered(payload: bytes, channel: str) -> Numbered | NewEpoch:
    """Decode an envelope with an offset, or the announcement of a new epoch. Raises BadRequest."""
    if not is_numbered(payload) or len(payload) < _EPOCH_AT + 1:
        raise BadRequest(f"envelope: must be of version {NUMBERED_VERSION}, with a position")
    offset, epoch_end = int.from_bytes(payload[2:10], "big"), _EPOCH_AT + payload[10]
    try:
        epoch = payload[_EPOCH_AT:epoch_end].decode()
    except UnicodeDecodeError:
        raise BadRequest("envelope: the epoch is not UTF-8") from None
    position = Position(offset, epoch)
    if len(payload) == epoch_end + 1 and payload[epoch_end] == _NEW_EPOCH:
        return NewEpoch(position)
    publication, node, number = _decode_envelope(payload, epoch_end, channel, offset)
    return Numbered(publication, position, node, number)


def is_numbered(payload: bytes) -> bool:
    """Whether `payload` is an envelope of a channel with a history."""
    return payload[:2] == _NUMBERED


def encode(publication: Publication, node: str = "", number: int = 0) -> bytes:
    """Encode `publication` as an envelope. Raises Unencodable for data that fits neither JSON nor msgpack."""
    return _encode(_START, publication, node, number)


def _encode(start: bytes, publication: Publication, node: str, number: int, now: float | None = None) -> bytes:
    body = encode_body(publication.data)
    header = _header(publication, node, number, now)
    return b"".join((start, _CODEC_BYTE[body.codec], len(header).to_bytes(4, "big"), header, body.body))


def encode_body(data: object) -> Encoded:
    """Encode `data` as JSON, or as msgpack if JSON cannot represent it. Data that is still encoded is returned as is.

    Raises Unencodable.
    """
    if isinstance(data, Encoded):
        return data
    try:
        return Encoded("json", orjson.dumps(data, None, _STRICT))
    except (TypeError, ValueError):
        check_keys(data)
        return Encoded("msgpack", MSGPACK.dumps(data))


def decode(payload: bytes, channel: str, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> Decoded:
    """Decode `payload`, which was published for `channel`. Raises BadRequest that states what is wrong with it.

    Takes an envelope, or a JSON object or msgpack map `{"event", "data"[, "type", "priority", …]}`.
    """
    if len(payload) > limit_bytes:
        raise BadRequest(f"must be at most {limit_bytes} bytes, not {len(payload)}")
    if payload[:2] == _START:
        return Decoded(*_decode_envelope(payload, len(_START), channel))
    if payload[:1] == MAGIC:
        found = payload[1] if len(payload) > 1 else "none"
        raise BadRequest(f"envelope: the version must be {VERSION}, not {found}")
    return Decoded(foreign_publication(load_object(payload), channel), None, 0)


def load_object(payload: bytes) -> dict[str, object]:
    """Decode the JSON object or msgpack map in `payload`. Raises BadRequest for anything else."""
    if not payload:
        raise BadRequest("must be an object with `event` and `data`, not empty")
    codec = MSGPACK if payload[0] in _MSGPACK_MAP else JSON
    try:
        value = codec.loads(payload)
    except FastWSError as error:
        raise BadRequest(error.message) from None
    if not isinstance(value, dict):
        raise BadRequest(f"must be an object, not {type(value).__name__}")
    return value


def foreign_publication(value: dict[str, object], channel: str) -> Publication:
    """Convert the object of another publisher to a publication. Raises BadRequest that names the invalid field."""
    event = value.get("event")
    if not isinstance(event, str):
        raise BadRequest("`event` must be a string")
    exclude = value.get("exclude") or ()
    if not isinstance(exclude, list | tuple) or not all(isinstance(item, str) for item in exclude):
        raise BadRequest("`exclude` must be a list of connection ids")
    return Publication(
        channel,
        event,
        value.get("data"),
        type=_text_or_none(value, "type"),
        timestamp=_scalar_or_none(value, "timestamp"),
        priority=_label_or_none(value, "priority"),
        key=_text_or_none(value, "key"),
        exclude=frozenset(exclude) if exclude else NOBODY,
        is_ephemeral=value.get("ephemeral") is True,
    )


def _header(publication: Publication, node: str, number: int, now: float | None) -> bytes:
    exclude = publication.exclude
    attributes = publication.attributes
    fields = (
        publication.event,
        node,
        number,
        publication.type,
        publication.sender,
        publication.timestamp if now is None else now,
        publication.priority,
        publication.seq,
        publication.key,
        list(exclude) if exclude else None,
        dict(attributes) if attributes is not None else None,
    )
    try:
        header: bytes = msgpack.packb(fields, default=_refuse)
    except (TypeError, ValueError, OverflowError) as error:
        raise Unencodable(f"the publication cannot be encoded: {error}") from None
    return header


def _decode_envelope(
    payload: bytes, start: int, channel: str, offset: int | None = None
) -> tuple[Publication, str, int]:
    """Decode what begins with the codec, at `start`. Returns the publication, its node and its number there.

    Cost: 1.1 µs, of which 0.4 µs for unpacking the header; the body is sliced and not parsed.
    """
    header_at = start + _PREFIX_BYTES
    codec = _CODEC_NAME.get(payload[start]) if len(payload) > header_at else None
    if codec is None:
        raise BadRequest("envelope: no header, or an unknown codec")
    body_at = header_at + int.from_bytes(payload[start + 1 : header_at], "big")
    if body_at >= len(payload):
        raise BadRequest("envelope: it has no body")
    header = _unpacked_header(payload[header_at:body_at])
    event, node, number, kind, sender, timestamp, priority, seq, key, exclude, attributes = header
    body = Encoded(codec, payload[body_at:])
    if offset is not None:
        event = intern(event)  # it is kept
        if seq is not None:
            seq = offset  # in a feed with a history, the sequence number is the offset
    excluded = frozenset(exclude) if exclude else NOBODY
    publication = Publication(
        *(channel, event, body, kind, sender, timestamp, priority, seq, key, excluded, attributes, offset)
    )
    return publication, node, number


def _unpacked_header(packed: bytes) -> list[Any]:
    """Return the fields that `_header` has written. Raises BadRequest."""
    try:
        header: list[Any] = msgpack.unpackb(packed)
        if len(header) > _FIELDS:
            del header[_FIELDS:]  # a later version has added some
        _check_header(header)
    except BadRequest:
        raise
    except Exception as error:  # noqa: BLE001 the unpacker raises bare, Overflow-, Stack- and UnicodeErrors too
        raise BadRequest(f"envelope: the header cannot be decoded: {error or type(error).__name__}") from None
    return header


def _check_header(header: list[Any]) -> None:
    """Raise BadRequest unless all fields have the types that `_header` writes, ValueError if there are too few."""
    event, node, number, kind, sender, timestamp, priority, seq, key, exclude, attributes = header
    if type(event) is not str or type(node) is not str or type(number) is not int:
        raise BadRequest("envelope: event and node must be strings, number an integer")
    if exclude is not None and (type(exclude) is not list or not all(type(item) is str for item in exclude)):
        raise BadRequest("envelope: `exclude` must be a list of connection ids")
    if (
        (kind is not None and type(kind) is not str)
        or (sender is not None and type(sender) is not str)
        or (timestamp is not None and type(timestamp) not in _SCALARS)
        or (priority is not None and type(priority) not in _LABELS)
        or (seq is not None and type(seq) is not int)
        or (key is not None and type(key) is not str)
        or (attributes is not None and not _are_attributes(attributes))
    ):
        raise BadRequest("envelope: a field has an invalid type")


def _are_attributes(value: object) -> bool:
    return type(value) is dict and all(
        type(name) is str and (item is None or type(item) in _SCALARS) for name, item in value.items()
    )


def _text_or_none(value: dict[str, object], field: str) -> str | None:
    item = value.get(field)
    if item is None or isinstance(item, str):
        return item
    raise BadRequest(f"`{field}` must be a string")


def _label_or_none(value: dict[str, object], field: str) -> str | int | None:
    item = value.get(field)
    if item is None or (isinstance(item, str | int) and not isinstance(item, bool)):
        return item
    raise BadRequest(f"`{field}` must be a string or an integer")


def _scalar_or_none(value: dict[str, object], field: str) -> str | int | float | None:
    item = value.get(field)
    if item is None or (isinstance(item, str | int | float) and not isinstance(item, bool)):
        return item
    raise BadRequest(f"`{field}` must be a string or a number")


def _refuse(value: object) -> object:
    raise Unencodable(f"type {type(value).__name__} cannot be encoded in msgpack")
