"""The positions of a client: how far it has come in the history of each channel."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from fastws.client.formats import Message
from fastws.errors import BadRequest

# The client has joined such channels by its client id; they are never the home channel of a dialect.
MAILBOX_PREFIX: Final = "client:"


class Position(NamedTuple):
    """The publication number `offset` in one life of a channel's numbering, the `epoch`."""

    offset: int
    epoch: str


class Mark(NamedTuple):
    """The position on `channel` after a message; None: the client has left the channel."""

    channel: str
    position: Position | None


def position_in(message: Mapping[str, object]) -> Position | None:
    """The position in `offset` and `epoch` of a message; None if there is none."""
    offset, epoch = message.get("offset"), message.get("epoch")
    return Position(offset, epoch) if type(offset) is int and offset >= 0 and isinstance(epoch, str) else None


def parse_positions(given: Mapping[str, Mapping[str, object]] | None) -> dict[str, Position]:
    """The positions in `{channel: {"offset": …, "epoch": …}}`. Raises BadRequest."""
    positions: dict[str, Position] = {}
    for channel, fields in (given or {}).items():
        position = position_in(fields) if isinstance(fields, Mapping) else None
        if position is None:
            expected = '{"offset": an integer of at least 0, "epoch": a string}'
            raise BadRequest(f"`positions` must map each channel to {expected}, not {channel!r} to {fields!r}")
        positions[channel] = position
    return positions


class Positions:
    """The last position received on each channel, and what the client has recovered since its connection was lost.

    `home` is the channel that the server joins the client to at the upgrade. The greeting does not name it, so its name
    is the dialect's default until a delivery from a channel with `home_prefix` names it.
    """

    def __init__(self, known: Mapping[str, Position], home_prefix: str = "") -> None:
        self.home: str | None = None
        self._home_prefix = home_prefix
        self.recovered: dict[str, bool] = {}
        self._known = dict(known)
        self._joined: set[str] = set()  # on the current connection
        self._leaving: set[str] = set()

    def of(self, channel: str | None) -> Position | None:
        return None if channel is None else self._known.get(channel)

    def may_be_home(self, channel: str) -> bool:
        return channel.startswith(self._home_prefix) and not channel.startswith(MAILBOX_PREFIX)

    def find_home(self, default: str, others: Collection[str]) -> None:
        """Set `home`: `default` if its position is known, or else a channel with a position outside `others`."""
        known = [name for name in self._known if self.may_be_home(name) and name not in others]
        if self.home is None:
            self.home = default if default in self._known or not known else known[0]

    def fields(self, channel: str) -> Message:
        """The keys with which a subscription to `channel` continues from its position; none without a position."""
        position = None if channel in self._leaving else self._known.get(channel)
        return {} if position is None else {"offset": position.offset, "epoch": position.epoch}

    def joined(self, channel: str, reply: Message, *, was_heard: bool) -> tuple[Mark | None, bool]:
        """The server has confirmed that it delivers `channel` to this client.

        Returns the new position, None if deliveries will lead there, and whether the client has missed something.
        `was_heard`: the connection before this one received the channel.
        """
        before, now = self._known.get(channel), position_in(reply)
        is_first = channel not in self._joined
        self._joined.add(channel)
        is_recovered = reply.get("recovered") is True
        returns = is_first and (was_heard or before is not None)
        if returns:
            self.recovered[channel] = is_recovered and self.recovered.get(channel, True)
        if reply.get("replayed"):  # the deliveries that follow lead to the position
            if is_recovered and before is not None:
                return None, False
            now = None if now is None else Position(0, now.epoch)
        has_changed = now is not None or before is not None
        return self._set(channel, now) if has_changed else None, returns and not is_recovered

    def received(self, channel: str, offset: int) -> tuple[list[Mark], bool]:
        """A delivery with `offset` has arrived. Returns the changes of positions, and whether it is a repetition."""
        known = self._known.get(channel)
        if known is not None:
            if offset <= known.offset:
                return [], True
            return [self._set(channel, Position(offset, known.epoch))], False
        home = self.of(self.home)
        if self.home is None or home is None or not self.may_be_home(channel):
            return [], False
        left = self._set(self.home, None)
        self._joined.add(channel)
        if self.home in self.recovered:
            self.recovered[channel] = self.recovered.pop(self.home)
        self.home = channel
        return [left, self._set(channel, Position(offset, home.epoch))], False

    def jumped(self, channel: str, position: Position) -> Mark:
        """The server has said that the next delivery of `channel` comes after `position`."""
        return self._set(channel, position)

    def advanced(self, channel: str, offset: int) -> Mark | None:
        """The server has said that everything up to `offset` was delivered."""
        known = self._known.get(channel)
        if known is None or offset <= known.offset:
            return None
        return self._set(channel, Position(offset, known.epoch))

    def leave(self, channel: str) -> None:
        """The client no longer wants `channel`, and the server has been asked to stop."""
        self._leaving.add(channel)

    def left(self, channel: str) -> Mark | None:
        """The server no longer delivers `channel` to this client."""
        self._leaving.discard(channel)
        self._joined.discard(channel)
        self.recovered.pop(channel, None)
        return self._set(channel, None) if channel in self._known else None

    def lost(self) -> list[Mark]:
        """The connection is lost. Returns the channels that are left thereby."""
        self._joined.clear()
        marks = [self.left(channel) for channel in list(self._leaving)]
        return [mark for mark in marks if mark is not None]

    def _set(self, channel: str, position: Position | None) -> Mark:
        if position is None:
            self._known.pop(channel, None)
        else:
            self._known[channel] = position
        return Mark(channel, position)
