"""Recovery after a lost connection: what to ask the server for, and which messages the application gets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from fastws.client.client_dialect import FEED_JOINED, ClientDialect
from fastws.client.formats import Message
from fastws.client.inbox import Inbox
from fastws.client.positions import MAILBOX_PREFIX, Mark, Position, Positions, position_in
from fastws.client.subscriptions import Subscriptions
from fastws.client.tokens import claim_of

# The first connection of the jobs dialect asks for no past, so that the server tells its position.
NO_PAST: Final = {"replay": "0"}


class Recovery:
    """Puts messages into `inbox` without repetitions, and a `gap` wherever some were missed.

    From `reconnecting` to `reconnected` the application waits for what has arrived since, so that it first learns
    which channels were recovered. `told` is called with each message that the application gets, as it arrives. `replay`
    is the number of publications to get of a channel that is subscribed for the first time. With `client_id` the server
    joins the client to its mailbox at the upgrade, as to the home channel of the dialect.
    """

    def __init__(
        self,
        dialect: ClientDialect,
        subscriptions: Subscriptions,
        known: Mapping[str, Position],
        inbox: Inbox,
        told: Callable[[Message], None],
        replay: int = 0,
        client_id: str | None = None,
    ) -> None:
        self._replay = replay
        self._client_id = client_id
        self._mailbox: str | None = None  # the channel of the client id, once the server has named it
        self._was_connected = False
        self._dialect = dialect
        self._subscriptions = subscriptions
        self._positions = Positions(known, "" if dialect.has_filter else dialect.home or "")
        self._inbox = inbox
        self._told = told
        self._untold: list[Message] = []
        self._is_returning = False
        self._workspace: object = None

    @property
    def needs_pings(self) -> bool:
        """Whether only replies to pings advance the position while nothing passes the filter of this client."""
        return self._dialect.has_filter and self._positions.of(self._positions.home) is not None

    def query(self, token: str | None) -> dict[str, str]:
        """The keys for the query of the upgrade with which the server continues the home channel and the mailbox."""
        return {**self._home_query(token), **self._mailbox_query(token)}

    def _mailbox_query(self, token: str | None) -> dict[str, str]:
        given = {} if self._client_id is None else {"client_id": self._client_id}
        if self._mailbox is None and self._client_id is not None:
            user = claim_of(token, "sub")
            owner = MAILBOX_PREFIX if user is None else f"{MAILBOX_PREFIX}{user}:"
            position = self._positions.of(f"{owner}{self._client_id}")
        else:
            position = self._positions.of(self._mailbox)
        if position is not None:
            return {**given, "client_offset": str(position.offset), "client_epoch": position.epoch}
        is_first = given and self._replay and not self._was_connected
        return {**given, "client_replay": str(self._replay)} if is_first else given

    def _home_query(self, token: str | None) -> dict[str, str]:
        dialect = self._dialect
        if dialect.home is None:
            return {}
        user = claim_of(token, "sub") if dialect.name == "rooms" else None
        self._positions.find_home(f"{dialect.home}{user or ''}", self._subscriptions.names())
        position, chosen = self._positions.of(self._positions.home), self._subscriptions.query()
        # Without its filter in the query, the client would be replayed what it does not want.
        if position is not None and chosen is not None:
            return {"offset": str(position.offset), "epoch": position.epoch, **chosen}
        if self._replay and chosen is not None and not self._was_connected:
            return {"replay": str(self._replay), **chosen}
        return NO_PAST if dialect.greeting is None else {}

    def fields(self, request: Message) -> Message:
        """The keys with which `request`, a subscription, continues from the position of its channel."""
        channel = self._channel_of(request, "subscribe")
        if channel is None:
            return {}
        is_first = self._positions.of(channel) is None and not self._subscriptions.was_confirmed(request)
        return {"replay": self._replay} if is_first and self._replay else self._positions.fields(channel)

    def reconnecting(self) -> None:
        """Another connection begins. What arrives on it waits until `reconnected`."""
        if not self._is_returning:
            self._positions.recovered = {}
        self._is_returning = True
        self._inbox.hold()

    def reconnected(self, connection_id: str | None) -> None:
        """The connection and all its subscriptions are restored: tell the application."""
        self._was_connected = True
        recovered, self._positions.recovered = self._positions.recovered, {}
        if self._is_returning:
            self._is_returning = False
            notice = self._dialect.notice("reconnected", connection_id=connection_id, recovered=recovered)
            self._inbox.release(notice)
            self._tell([notice, *self._untold])

    def lost(self) -> None:
        """The connection is lost. An attempt that failed half-way leaves what has arrived to the application."""
        self._inbox.release(None)
        self._tell(self._untold)
        for mark in self._positions.lost():
            self._inbox.move(mark)

    def greeted(self, greeting: Message) -> None:
        """The first message of the connection has arrived, with the positions of the home channel and the mailbox."""
        self._workspace = greeting.get("workspace_id", self._workspace)
        mailbox = greeting.get("client")
        if isinstance(mailbox, dict) and isinstance(mailbox.get("channel"), str):
            self._mailbox = mailbox["channel"]
            self._joined(mailbox["channel"], mailbox, was_heard=self._is_returning)
        home = self._positions.home
        if home is None:
            return
        if home == self._dialect.home and self._dialect.name == "workspaces":
            self._positions.home = home = f"{home}{self._workspace}"
        if self._is_returning or position_in(greeting) is not None or self._positions.of(home) is not None:
            self._joined(home, greeting, was_heard=self._is_returning)

    def forget_home(self) -> None:
        """The server does not answer to the position of the home channel."""
        home = self._positions.home
        mark = None if home is None else self._positions.left(home)
        if mark is not None:
            self.put(self._gap(mark.channel, None), mark)

    def answered(self, request: Message, reply: Message) -> None:
        """The server has granted `request`."""
        home, offset = self._positions.home, reply.get("offset")
        if (channel := self._channel_of(request, "subscribe")) is not None:
            was_heard = self._is_returning and self._subscriptions.was_confirmed(request)
            self._joined(channel, reply, was_heard=was_heard)
        elif (channel := self._channel_of(request, "unsubscribe")) is not None:
            self.left([channel])
        elif home is not None and self._dialect.has_filter and type(offset) is int:
            if position_in(reply) is not None:
                self._joined(home, reply, was_heard=False)
            elif request.get(self._dialect.verb) == "ping":
                self._move(self._positions.advanced(home, offset))

    def leave(self, channels: Iterable[str], *, is_connected: bool) -> None:
        """The application no longer wants `channels`. Those of a connection are left when the server confirms it."""
        if self._dialect.has_filter:
            return
        for channel in channels:
            if is_connected:
                self._positions.leave(channel)
            else:
                self.left([channel])

    def left(self, channels: Iterable[str]) -> None:
        """The server no longer delivers `channels` to this client."""
        for channel in channels:
            self._move(self._positions.left(channel))

    def receive(self, message: Message) -> None:
        """Pass on a message that is not a reply, unless it is the repetition of one that has arrived."""
        offset = message.get("offset")
        if "data" not in message:
            self._receive_notice(message)
        elif type(offset) is int:
            self._receive_delivery(message, offset)
        else:
            self.put(message)

    def _receive_delivery(self, message: Message, offset: int) -> None:
        # Rooms, too, name a mailbox in `channel`.
        channel = message.get(self._dialect.channel_key, message.get("channel"))
        if not isinstance(channel, str):
            self.put(message)
            return
        marks, is_repeated = self._positions.received(channel, offset)
        if is_repeated:
            return
        for mark in marks[:-1]:
            self._move(mark)
        self.put(message, marks[-1] if marks else None)

    def _receive_notice(self, message: Message) -> None:
        kind = message.get(self._dialect.type_key)
        if kind == FEED_JOINED and self._dialect.greeting is None:
            self.greeted(message)
            return
        channel, position = message.get(self._dialect.channel_key, self._positions.home), position_in(message)
        if kind == "gap" and isinstance(channel, str) and position is not None:
            self.put(message, self._positions.jumped(channel, position))
        else:
            self.put(message)

    def _joined(self, channel: str, reply: Message, *, was_heard: bool) -> None:
        mark, has_missed = self._positions.joined(channel, reply, was_heard=was_heard)
        if has_missed:
            self.put(self._gap(channel, mark), mark)
        else:
            self._move(mark)

    def _gap(self, channel: str, mark: Mark | None) -> Message:
        fields: dict[str, object] = {self._dialect.channel_key: channel}
        if self._dialect.has_filter and not channel.startswith(MAILBOX_PREFIX):
            fields = {} if self._workspace is None else {"workspace_id": self._workspace}
        if mark is not None and mark.position is not None:
            fields |= mark.position._asdict()
        return self._dialect.notice("gap", **fields, source="reconnect")

    def _channel_of(self, request: Message, action: str) -> str | None:
        """The channel of `request` if it is an `action` for one."""
        if self._dialect.has_filter or request.get(self._dialect.verb) != action:
            return None
        channel = request.get(self._dialect.channel_key)
        return channel if isinstance(channel, str) else None

    def _move(self, mark: Mark | None) -> None:
        if mark is not None:
            self._inbox.move(mark)

    def put(self, message: Message, mark: Mark | None = None) -> None:
        """Give `message` to the application; `mark` is the position after it."""
        self._inbox.put(message, mark)
        if self._inbox.is_held:
            self._untold.append(message)
        else:
            self._told(message)

    def _tell(self, messages: Iterable[Message]) -> None:
        self._untold = []
        for message in messages:
            self._told(message)
