"""The entries of presence in Redis: a hash for each channel, and the messages about its changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from fastws.cluster.channel_presence import Entry
from fastws.codec.json_text import JSON
from fastws.codec.msgpack_binary import MSGPACK
from fastws.errors import BadRequest, FastWSError
from fastws.vocabulary.connection_ids import NODE_ID_LENGTH, node_of
from fastws.vocabulary.presence import PresenceMember, PresenceMode


class Change(NamedTuple):
    """A message of `node`: entries that it has written, and fields that it has deleted."""

    node: str
    entries: dict[str, Entry]
    deleted: list[str]


def encode_entry(entry: Entry, mode: PresenceMode) -> bytes:
    """Return the value in the hash.

    In the mode `members`, the field is a connection id and the value a JSON object with `user` and, where there are
    such, `client_id` and `info`; `{}` without a token. In the mode `count`, the field is a node id and a digest of the
    user, or only a node id for connections without a token, and the value the number of connections.
    """
    if mode == "count":
        return b"%d" % entry.connections
    member = entry.member
    if member is None:
        return b"{}"
    optional = {"client_id": member.client_id, "info": member.info}
    return JSON.dumps({"user": member.user, **{key: value for key, value in optional.items() if value is not None}})


def decode_entry(field: str, value: bytes, mode: PresenceMode) -> Entry | None:
    """Return an entry; None for a field or value of another form, because any Redis client may write there."""
    if mode == "count":
        return _counted(field, value)
    try:
        fields = JSON.loads(value)
    except FastWSError:
        return None
    if node_of(field) is None or not isinstance(fields, dict):
        return None
    user, client_id = fields.get("user"), fields.get("client_id")
    if user is None:
        return Entry(None, 1)
    if not isinstance(user, str) or not isinstance(client_id, str | None):
        return None
    return Entry(user, 1, PresenceMember(field, user, client_id, fields.get("info")))


def _counted(field: str, value: bytes) -> Entry | None:
    # A connection id is the field of another mode: processes have different settings during a rolling update.
    if len(field) < NODE_ID_LENGTH or node_of(field) is not None or not value.isdigit() or len(value) > 9:
        return None
    return Entry(field[NODE_ID_LENGTH:] or None, int(value))


def decode_hash(reply: list[bytes], mode: PresenceMode) -> tuple[dict[str, Entry], set[str]]:
    """Return the entries in a list of fields and values, and the fields of another form."""
    pairs = {field.decode(errors="replace"): value for field, value in zip(reply[::2], reply[1::2], strict=True)}
    entries = dict(_entries(pairs.items(), mode))
    return entries, pairs.keys() - entries.keys()


def _entries(pairs: Iterable[tuple[str, bytes]], mode: PresenceMode) -> Iterator[tuple[str, Entry]]:
    for field, value in pairs:
        entry = decode_entry(field, value, mode)
        if entry is not None:
            yield field, entry


def encode_change(node: str, written: Mapping[str, bytes], deleted: list[str]) -> bytes:
    """Return the message about values that `node` has written, and fields that it has deleted."""
    return MSGPACK.dumps({"node": node, "joined": written, "left": deleted})


def decode_change(payload: bytes, mode: PresenceMode) -> Change:
    """Decode such a message. Raises BadRequest: any Redis client may publish there."""
    message = MSGPACK.loads(payload)
    if not isinstance(message, dict):
        raise BadRequest("presence: must be a map")
    node, joined, left = (message.get(key) for key in ("node", "joined", "left"))
    if not isinstance(node, str) or not isinstance(joined, dict) or not isinstance(left, list):
        raise BadRequest("presence: must contain a node id, a map and a list")
    is_valid = all(isinstance(value, bytes) for value in joined.values())
    if not is_valid or not all(isinstance(field, str) for field in (*joined, *left)):
        raise BadRequest("presence: fields must be strings and values bytes")
    return Change(node, dict(_entries(joined.items(), mode)), left)


def fields_after(found: Iterable[str], changes: Iterable[Change]) -> set[str]:
    """Return the fields of a hash that had the fields `found` before `changes`."""
    fields = set(found)
    for change in changes:
        fields.update(change.entries)
        fields.difference_update(change.deleted)
    return fields
