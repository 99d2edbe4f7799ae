"""The asyncio client: messages come out of it, requests go in, the rest it sees to itself."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final, Self

from fastws.client.dialing import Dialing, find_url
from fastws.client.formats import Message, find_format
from fastws.client.grammar import Grammar, check_names, find_grammar
from fastws.client.inbox import Inbox
from fastws.client.kept import KeptConnection
from fastws.client.pace import Pace
from fastws.client.tokens import TokenProvider, TokenSource
from fastws.client.wishes import JobWishes
from fastws.errors import BadRequest, Unavailable

log = logging.getLogger("fastws.client")

CONNECT_SECONDS: Final = 10.0
REQUEST_SECONDS: Final = 10.0
FIRST_DELAY_SECONDS: Final = 0.5
LONGEST_DELAY_SECONDS: Final = 30.0
MOST_MESSAGES: Final = 1024
LARGEST_MESSAGE_BYTES: Final = 4_194_304


class Client:
    """`async with connect(url, …) as client`, then `async for message in client`, which yields dicts: deliveries
    in the dialect's own words, notices, which have no `data`, and whatever else is no reply to a call.

    Notices of the server: gap, lag, error. Notices of the client: `disconnected`, `reconnected` (what was said in
    between was missed) and `lag` with `"source": "client"`: this application read too slowly, and the oldest of
    the `max_queue` messages that wait for it gave way. `on_notice` is called with each notice as it arrives.

    `channels` are channels, rooms, event types (none: all) or job ids (none: all), by the `dialect`: channels,
    rooms, workspaces (of `workspace_id`, or the token's own) or jobs (with those `statuses`). `token_provider`,
    a function or coroutine function, returns a token; it is called at the start, a minute before that token
    ends, and when the server refuses it. `connect_timeout` and `request_timeout` are in seconds. Reconnects come
    after a random time up to `first_delay` seconds, doubled up to `longest_delay`, and within the time that a
    restarting server names. Further keywords go to `websockets.connect` (ssl, proxy, …); `ping_interval` and
    `ping_timeout` are seconds without a byte from the server.

    Entering raises Unauthorized, Forbidden, NotFound, BadRequest or Unavailable; iterating raises what ended the
    client for good, and ends after a close of the server with 1000.
    """

    def __init__(
        self,
        url: str,
        channels: Iterable[str] = (),
        token: str | None = None,
        format: str = "json",  # noqa: A002 # the word of every interface of fastws
        *,
        token_provider: TokenProvider | None = None,
        dialect: str = "channels",
        workspace_id: str | None = None,
        statuses: Iterable[str] = (),
        max_queue: int = MOST_MESSAGES,
        on_notice: Callable[[Message], None] | None = None,
        connect_timeout: float = CONNECT_SECONDS,
        request_timeout: float = REQUEST_SECONDS,
        reconnect: bool = True,
        first_delay: float = FIRST_DELAY_SECONDS,
        longest_delay: float = LONGEST_DELAY_SECONDS,
        max_message_bytes: int = LARGEST_MESSAGE_BYTES,
        **websocket_options: Any,
    ) -> None:
        self._grammar: Grammar = find_grammar(dialect)
        if max_queue < 1:
            raise BadRequest("`max_queue` must be 1 or more")
        self._wishes = JobWishes(statuses) if dialect == "jobs" else self._grammar.wishes()
        self._wishes.add(check_names(channels))
        self._inbox = Inbox(max_queue, self._lag)
        self._on_notice = on_notice
        self._connect_timeout = connect_timeout
        self._request_timeout = request_timeout
        address = find_url(url, self._grammar, workspace_id)
        form = find_format(format)
        self._kept = KeptConnection(
            Dialing(address, form, self._grammar, max_message_bytes, connect_timeout, websocket_options),
            self._wishes,
            TokenSource(token, token_provider),
            Pace(first_delay, longest_delay),
            hear=self._hear,
            ended=self._inbox.end,
            reconnect=reconnect,
        )

    @property
    def connection_id(self) -> str | None:
        """The id of the present or last connection; another one after each reconnect. None in jobs."""
        return self._kept.connection_id

    @property
    def connected(self) -> bool:
        return self._kept.is_up

    @property
    def dropped(self) -> int:
        """How many messages this client dropped because nobody read them in time."""
        return self._inbox.dropped_total

    async def __aenter__(self) -> Self:
        await self._kept.start(self._connect_timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; an iteration ends after what has already arrived."""
        await self._kept.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        return await self._inbox.take()

    async def receive_all(self) -> list[Message]:
        """All messages that wait, at least one. Raises StopAsyncIteration at the end."""
        return await self._inbox.take_all()

    async def subscribe(self, *names: str) -> None:
        """Hear `names` from now on, after every reconnect too: channels, rooms, event types or job ids.

        Returns when the server has confirmed it or a later call has replaced it. Raises what the server refuses with
        (Forbidden, BadRequest, …), Unavailable where it does not answer in time; in that case the subscription is
        made with the next connection.
        """
        await self._change(self._wishes.add(names))

    async def unsubscribe(self, *names: str) -> None:
        """Hear `names` no longer. Of several calls the last one holds, whenever they come."""
        await self._change(self._wishes.remove(names))

    async def send(
        self, channel: str, event: str, data: object = None, *, exclude_self: bool = False
    ) -> dict[str, int]:
        """Send to everyone on `channel`: `{"sent": subscribers, "failed": those whose queue refused it}`."""
        message = {"action": "send", "channel": channel, "event": event, "data": data}
        return await self._send({**message, "exclude_self": True} if exclude_self else message)

    async def send_to(self, connection_id: str, event: str, data: object = None) -> dict[str, int]:
        """Send to one connection; one that is gone gives `{"sent": 0, "failed": 1}`."""
        return await self._send({"action": "send", "connectionId": connection_id, "event": event, "data": data})

    async def ping(self) -> float:
        """The seconds that a message to the server and back takes."""
        began = time.perf_counter()
        await self._ask({self._grammar.verb: "ping"})
        return time.perf_counter() - began

    async def request_metrics(self, metric_type: str | None = None) -> object:
        """The workspace's last metrics of that type."""
        self._only("workspaces", "request_metrics")
        asked = {} if metric_type is None else {"metric_type": metric_type}
        return (await self._ask({"type": "request_metrics", **asked})).get("data")

    async def refresh(self, token: str) -> None:
        """Go on with this token. Not needed with a `token_provider`."""
        await self._ask({self._grammar.verb: "refresh", "token": token})
        self._kept.use_token(token)

    async def _send(self, message: Message) -> dict[str, int]:
        self._only("channels", "send")
        reply = await self._ask(message)
        return {"sent": reply["sent"], "failed": reply["failed"]}

    async def _change(self, requests: list[Message]) -> None:
        try:
            async with asyncio.timeout(self._request_timeout):
                await self._kept.changes.make(requests)
        except TimeoutError:
            raise self._no_answer() from None

    async def _ask(self, request: Message) -> Message:
        """The reply to `request`, sent on the connection that is up now or next."""
        try:
            async with asyncio.timeout(self._request_timeout):
                link = await self._kept.live_link()
                # A task, as each change of subscriptions is one: they write in the order of the calls.
                return await asyncio.create_task(link.request(request))
        except TimeoutError:
            raise self._no_answer() from None

    def _no_answer(self) -> Unavailable:
        where = "though connected" if self.connected else "the server is away"
        return Unavailable(f"no answer within {self._request_timeout:g} s, {where}")

    def _only(self, dialect: str, call: str) -> None:
        if self._grammar.name != dialect:
            raise BadRequest(f"`{call}` is there in the {dialect} dialect alone: connect(…, dialect={dialect!r})")

    def _hear(self, message: Message) -> None:
        self._inbox.put(message)
        if self._on_notice is not None and self._grammar.is_notice(message):
            self._tell(message)

    def _lag(self, dropped: int) -> Message:
        return self._grammar.notice("lag", dropped=dropped, source="client")

    def _tell(self, notice: Message) -> None:
        assert self._on_notice is not None  # noqa: S101 # checked by the caller
        try:
            self._on_notice(notice)
        except Exception:
            log.exception("on_notice failed for %r", notice)


connect = Client
