"""The asyncio client: yields messages, sends requests, and reconnects automatically."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from fastws.client.backoff import ReconnectBackoff
from fastws.client.client_dialect import ClientDialect, check_names, find_client_dialect
from fastws.client.connector import Connector, find_url, format_in
from fastws.client.formats import Message, find_format
from fastws.client.inbox import Inbox
from fastws.client.positions import parse_positions
from fastws.client.reconnecting import ReconnectingConnection
from fastws.client.recovery import Recovery
from fastws.client.subscriptions import JobSubscriptions
from fastws.client.tokens import TokenProvider, TokenSource
from fastws.errors import BadRequest, Unavailable

log = logging.getLogger("fastws.client")

CONNECT_SECONDS: Final = 10.0
REQUEST_SECONDS: Final = 10.0
FIRST_DELAY_SECONDS: Final = 0.5
LONGEST_DELAY_SECONDS: Final = 30.0
HISTORY_LIMIT: Final = 100
PRESENCE_LIMIT: Final = 100
MOST_MESSAGES: Final = 1024
LARGEST_MESSAGE_BYTES: Final = 4_194_304


class Client:
    """`async with connect(url, …) as client`, then `async for message in client`.

    Iterating yields dicts: deliveries in the format of the dialect, notices, and everything else that is not a reply
    to a call. Notices have no `data`. The server sends gap, lag and error. The client adds `disconnected`,
    `reconnected`, `gap` with `"source": "reconnect"` and `lag` with `"source": "client"` (the application read too
    slowly, and the oldest of the `max_queue` waiting messages were dropped). `on_notice` is called with each notice
    as it arrives, `on_presence` with each update of presence: `{"joined", "left", "count", "users"}` and the channel.

    On channels with history the client continues after a lost connection where it was, without a hole and without a
    repetition. `reconnected` has `recovered`, `{channel: bool}`; each channel with false also gets a `gap`, because
    publications in between were missed. Messages with an `offset` are never dropped: while `max_queue` of them wait,
    the client reads no further. `positions`, from `positions` of an earlier client, continues there. With `replay` the
    first subscription to a channel begins with its last `replay` messages. `client_id` subscribes the client to its
    mailbox, `client:{sub}:{client_id}` or without a token `client:{client_id}`, from the start.

    `dialect` is channels, rooms, workspaces (of `workspace_id`, by default the token's own) or jobs (only with these
    `statuses`); `channels` are then channels, rooms, event types (none: all) or job ids (none: all).
    `token_provider`, a function or coroutine function, returns a token. It is called at the start, a minute before
    that token expires, and when the server refuses it.

    `connect_timeout` (from the start of an attempt to the server's greeting) and `request_timeout` are in seconds.
    The client reconnects after a random time of up to `first_delay` seconds, doubled after each failure up to
    `longest_delay`, or within the time that a restarting server announces. `ping_interval` and `ping_timeout` are
    seconds without a byte from the server. All further keywords go to `websockets.connect` (ssl, proxy, …).

    Entering raises Unauthorized, Forbidden, NotFound, BadRequest or Unavailable. Iterating stops after the server
    closes with 1000, and raises the error if the client cannot go on.
    """

    # Longer than other functions only because each option is a parameter of its own.
    def __init__(
        self,
        url: str,
        channels: Iterable[str] = (),
        token: str | None = None,
        format: str = "json",  # noqa: A002 # called so in every interface of fastws
        *,
        token_provider: TokenProvider | None = None,
        dialect: str = "channels",
        workspace_id: str | None = None,
        client_id: str | None = None,
        statuses: Iterable[str] = (),
        positions: Mapping[str, Mapping[str, object]] | None = None,
        replay: int = 0,
        max_queue: int = MOST_MESSAGES,
        on_notice: Callable[[Message], None] | None = None,
        on_presence: Callable[[Message], None] | None = None,
        connect_timeout: float = CONNECT_SECONDS,
        request_timeout: float = REQUEST_SECONDS,
        reconnect: bool = True,
        first_delay: float = FIRST_DELAY_SECONDS,
        longest_delay: float = LONGEST_DELAY_SECONDS,
        max_message_bytes: int = LARGEST_MESSAGE_BYTES,
        **websocket_options: Any,
    ) -> None:
        self._dialect: ClientDialect = find_client_dialect(dialect)
        if type(replay) is not int or replay < 0:
            raise BadRequest(f"`replay` must be an integer of at least 0, not {replay!r}")
        if max_queue < 1:
            raise BadRequest(f"`max_queue` must be 1 or more, not {max_queue!r}")
        self._subscriptions = JobSubscriptions(statuses) if dialect == "jobs" else self._dialect.subscriptions()
        self._subscriptions.add(check_names(channels))
        known = parse_positions(positions)
        self.inbox = Inbox(max_queue, self._lag, known)
        self._on_notice = on_notice
        self._on_presence = on_presence
        self._connect_timeout = connect_timeout
        self._request_timeout = request_timeout
        address = find_url(url, self._dialect, workspace_id)
        form = find_format(format_in(address) or format)
        connector = Connector(address, form, self._dialect, max_message_bytes, connect_timeout, websocket_options)
        self._recovery = Recovery(self._dialect, self._subscriptions, known, self.inbox, self._tell, replay, client_id)
        self._connection = ReconnectingConnection(
            connector,
            self._subscriptions,
            TokenSource(token, token_provider),
            ReconnectBackoff(first_delay, longest_delay),
            recovery=self._recovery,
            inbox=self.inbox,
            reconnect=reconnect,
        )

    @property
    def connection_id(self) -> str | None:
        """The id of the current or last connection. It changes with each reconnect; None in the jobs dialect."""
        return self._connection.connection_id

    @property
    def connected(self) -> bool:
        return self._connection.is_connected

    @property
    def dropped(self) -> int:
        """The number of messages that were dropped because the application did not read them in time."""
        return self.inbox.dropped_total

    @property
    def positions(self) -> dict[str, dict[str, object]]:
        """The position on each channel with history after the last message taken: `{channel: {"offset", "epoch"}}`.

        It can be stored as JSON, and a later client continues there with `connect(…, positions=…)`.
        """
        self.inbox.settle()
        return self.last_positions

    @property
    def last_positions(self) -> dict[str, dict[str, object]]:
        """`positions` without the changes that no message has come with since."""
        return {channel: position._asdict() for channel, position in list(self.inbox.positions.items())}

    async def __aenter__(self) -> Self:
        await self._connection.start(self._connect_timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection. Iterations end after the messages that have already arrived."""
        await self._connection.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        return await self.inbox.take()

    async def receive_all(self) -> list[Message]:
        """Wait for at least one message and return all that are there. Raises StopAsyncIteration at the end."""
        return await self.inbox.take_all()

    async def subscribe(self, *names: str) -> None:
        """Subscribe to channels, rooms, event types or job ids, now and after every reconnect.

        Returns when the server has confirmed it, or when a later call has replaced it. Raises Forbidden, BadRequest
        and so on if the server refuses. Raises Unavailable if it does not answer in time; the subscription is then
        made with the next connection.
        """
        await self._change(self._subscriptions.add(names))

    async def unsubscribe(self, *names: str) -> None:
        """Unsubscribe from `names`. The last of several calls wins, whether connected or not."""
        requests = self._subscriptions.remove(names)
        self._recovery.leave(names, is_connected=self.connected)
        await self._change(requests)

    async def send(
        self,
        channel: str,
        event: str,
        data: object = None,
        *,
        exclude_self: bool = False,
        ephemeral: bool = False,
    ) -> dict[str, int]:
        """Publish to `channel`. Returns `{"sent": subscribers reached, "failed": subscribers with a full queue}`.

        `ephemeral`: the history of the channel does not keep it.
        """
        flags = {"exclude_self": exclude_self, "ephemeral": ephemeral}
        message = {"action": "send", "channel": channel, "event": event, "data": data}
        return await self._send({**message, **{name: True for name, is_set in flags.items() if is_set}})

    async def send_to(self, connection_id: str, event: str, data: object = None) -> dict[str, int]:
        """Send to one connection. Returns `{"sent": 0, "failed": 1}` if it no longer exists."""
        return await self._send({"action": "send", "connectionId": connection_id, "event": event, "data": data})

    async def history(
        self,
        channel: str | None = None,
        *,
        limit: int = HISTORY_LIMIT,
        offset: int | None = None,
        epoch: str | None = None,
        reverse: bool = False,
    ) -> Message:
        """Return a page of the history of a channel or room, in workspaces and jobs of the feed (no `channel`).

        It is `{"messages", "offset", "epoch"}`: deliveries with a `timestamp`, oldest first, after the position
        `offset` and `epoch` if given; and the newest position. `reverse`: newest first, before the position. `limit`:
        1 to 1000.
        """
        named = {} if self._dialect.has_filter else {self._dialect.channel_key: channel}
        position = {} if offset is None and epoch is None else {"offset": offset, "epoch": epoch}
        request = {self._dialect.verb: "history", **named, "limit": limit, "reverse": reverse, **position}
        page = await self._ask(request)
        return {key: page[key] for key in ("messages", "offset", "epoch")}

    async def presence(
        self, channel: str | None = None, *, limit: int = PRESENCE_LIMIT, cursor: str | None = None
    ) -> Message:
        """Return a page of the members of a channel or room, in workspaces and jobs of the feed (no `channel`).

        It is `{"count", "users", "members", "cursor"}`: the number of connections and of distinct users, and at most
        `limit` (1 to 1000) members, by connection id. `cursor` asks for the next members; the last page has None. A
        channel that shows only figures has no `members` and no `cursor`.
        """
        named = {} if self._dialect.has_filter else {self._dialect.channel_key: channel}
        continued = {} if cursor is None else {"cursor": cursor}
        page = await self._ask({self._dialect.verb: "presence", **named, "limit": limit, **continued})
        return {key: page[key] for key in ("count", "users", "members", "cursor") if key in page}

    async def ping(self) -> float:
        """Measure the round trip to the server, in seconds."""
        began = time.perf_counter()
        await self._ask({self._dialect.verb: "ping"})
        return time.perf_counter() - began

    async def request_metrics(self, metric_type: str | None = None) -> object:
        """Return the workspace's latest metrics of this type."""
        self._require_dialect("workspaces", "request_metrics")
        asked = {} if metric_type is None else {"metric_type": metric_type}
        return (await self._ask({"type": "request_metrics", **asked})).get("data")

    async def refresh(self, token: str) -> None:
        """Replace the token of the connection. Not needed with a `token_provider`."""
        await self._ask({self._dialect.verb: "refresh", "token": token})
        self._connection.use_token(token)

    async def _send(self, message: Message) -> dict[str, int]:
        self._require_dialect("channels", "send")
        reply = await self._ask(message)
        return {"sent": reply["sent"], "failed": reply["failed"]}

    async def _change(self, requests: list[Message]) -> None:
        try:
            async with asyncio.timeout(self._request_timeout):
                await self._connection.changes.make(requests)
        except TimeoutError:
            raise self._no_answer() from None

    async def _ask(self, request: Message) -> Message:
        """Send `request` on the current or the next connection and return its reply."""
        try:
            async with asyncio.timeout(self._request_timeout):
                link = await self._connection.current_link()
                # Subscription changes run in tasks too, so that all requests are written in the order of the calls.
                return await asyncio.create_task(link.request(request))
        except TimeoutError:
            raise self._no_answer() from None

    def _no_answer(self) -> Unavailable:
        state = "though connected" if self.connected else "the client is not connected"
        return Unavailable(f"no answer within {self._request_timeout:g} s, {state}")

    def _require_dialect(self, dialect: str, call: str) -> None:
        if self._dialect.name != dialect:
            raise BadRequest(f"`{call}` needs the {dialect} dialect: connect(…, dialect={dialect!r})")

    def _tell(self, message: Message) -> None:
        if self._on_notice is not None and self._dialect.is_notice(message):
            self._call("on_notice", self._on_notice, message)
        elif self._on_presence is not None and self._dialect.is_presence_update(message):
            self._call("on_presence", self._on_presence, message)

    def _lag(self, dropped: int) -> Message:
        return self._dialect.notice("lag", dropped=dropped, source="client")

    def _call(self, name: str, listener: Callable[[Message], None], message: Message) -> None:
        try:
            listener(message)
        except Exception:
            log.exception("%s raised an error for %r", name, message)


connect = Client
