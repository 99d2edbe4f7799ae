"""The slots of a Redis Cluster: who owns which, and what the errors of its nodes say about them."""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

SLOTS: Final = 16_384
# A node that does not know the name by which it is reached.
_UNKNOWN_HOST: Final = b"?"
# Commands whose first key is not their first argument, and its place.
_KEY_PLACES: Final = {b"EVALSHA": 3}


class Node(NamedTuple):
    """The address of a node."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Redirection(NamedTuple):
    """A node has named another one for a slot. `is_asking`: for this command alone, sent after ASKING."""

    slot: int
    node: Node
    is_asking: bool


class SlotMap:
    """The owner of each slot, None where there is none."""

    def __init__(self, owners: Sequence[Node | None] = (None,) * SLOTS, replicas: Sequence[Node] = ()) -> None:
        self.replicas = tuple(replicas)
        self._owners = list(owners)

    def owner(self, slot: int) -> Node | None:
        return self._owners[slot]

    def primaries(self) -> list[Node]:
        """The owners of slots, in the order of the slots."""
        return [node for node in dict.fromkeys(self._owners) if node is not None]

    def moved(self, slot: int, node: Node) -> None:
        """A node has said that `slot` belongs to `node`."""
        self._owners[slot] = node

    def changes(self, newer: SlotMap) -> Iterator[int]:
        """Yield the slots that have another owner in `newer`."""
        for slot, (before, after) in enumerate(zip(self._owners, newer._owners, strict=True)):
            if before != after:
                yield slot


def key_slot(key: bytes) -> int:
    """Return the slot of a key or of a sharded channel: of its hash tag, where it has one that is not empty.

    The CRC is that of the Redis Cluster specification (CRC-16/XMODEM), which Python's standard library contains.
    """
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS


def key_of(packed: bytes) -> bytes:
    """Return the first key of an encoded command; its first argument if it has no key, b"" if it has no arguments."""
    if packed.startswith(b"*1\r"):
        return b""
    name, start = _word(packed, packed.index(b"\n") + 1)
    for _ in range(_KEY_PLACES.get(name, 1)):
        name, start = _word(packed, start)
    return name


def _word(packed: bytes, start: int) -> tuple[bytes, int]:
    """Return the word at `start`, and where the next one starts."""
    begin = packed.index(b"\n", start) + 1
    end = begin + int(packed[start + 1 : begin - 2])
    return packed[begin:end], end + 2


def parse_slots(reply: object, asked: Node) -> SlotMap:
    """Return the map in a reply of `asked` to CLUSTER SLOTS. Raises ValueError for anything else.

    CLUSTER SLOTS, not CLUSTER SHARDS: it names the port for TLS to a connection with TLS, and the host that clients
    prefer. A node without a host is reached where `asked` is.
    """
    owners: list[Node | None] = [None] * SLOTS
    replicas: dict[Node, None] = {}
    if not isinstance(reply, list):
        raise ValueError("CLUSTER SLOTS: must be a list")  # noqa: TRY004 the wrong value comes from outside
    for found in reply:
        first, last, *nodes = found
        primary, *others = [_parse_node(node, asked) for node in nodes]
        owners[first : last + 1] = [primary] * (last + 1 - first)
        replicas.update(dict.fromkeys(node for node in others if node is not None))
    if len(owners) != SLOTS:
        raise ValueError("CLUSTER SLOTS: names a slot beyond 16383")
    return SlotMap(owners, list(replicas))


def _parse_node(node: Sequence[object], asked: Node) -> Node | None:
    host, port = node[0], node[1]
    if host == _UNKNOWN_HOST or not isinstance(port, int):
        return None
    return Node(host.decode() if isinstance(host, bytes) and host else asked.host, port)


def redirection(error: object, asked: Node) -> Redirection | None:
    """Return what a MOVED or ASK error of `asked` says; None for any other error."""
    kind, _, rest = str(error).partition(" ")
    if kind not in ("MOVED", "ASK"):
        return None
    slot, _, address = rest.partition(" ")
    host, _, port = address.rpartition(":")
    if not slot.isdigit() or not port.isdigit() or host == _UNKNOWN_HOST.decode():
        return None
    return Redirection(int(slot), Node(host or asked.host, int(port)), kind == "ASK")
