"""One open connection: matches replies to requests, and passes on all other messages."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping
from typing import Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from fastws.client.client_dialect import ClientDialect
from fastws.client.formats import Format, Message, read
from fastws.client.inbox import Inbox
from fastws.client.keepalive import TimedConnection
from fastws.errors import InvalidPayload, Unavailable

# While a call waits for its reply, this many times `max_queue` messages with a position are read.
TIMES_FOR_REPLIES: Final = 4
NOTHING: Final[Mapping[str, object]] = {}

log = logging.getLogger("fastws.client")


class ConnectionLost(Unavailable):
    """The connection was lost before the reply arrived: the request may or may not have been carried out."""


class Link:
    """Calls `receive` with each message that is not a reply, and `answered` with a request and its successful reply, in
    the order of their arrival. While `inbox` is full, it reads no further.

    A reply has the `id` of a request that waits for it. Other messages may have an `id` chosen by their sender.
    """

    def __init__(
        self,
        connection: ClientConnection,
        form: Format,
        dialect: ClientDialect,
        receive: Callable[[Message], None],
        answered: Callable[[Message, Message], None] = lambda request, reply: None,
        inbox: Inbox | None = None,
    ) -> None:
        self.connection = connection
        self._form = form
        self.dialect = dialect
        self._receive = receive
        self._answered = answered
        self._inbox = inbox
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[Message, asyncio.Future[Message]]] = {}
        self._given_up: dict[int, Message] = {}  # requests that timed out; their callers do not get the late replies
        self.over = False

    async def request(self, message: Message, more: Mapping[str, object] = NOTHING) -> Message:
        """Send `message`, with the keys in `more`, and return its reply.

        Raises the error in the reply, or ConnectionLost.
        """
        if self.over:
            raise ConnectionLost("the connection was lost")
        number = next(self._numbers)
        frame = self._form.dumps({**message, **more, "id": number})
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[number] = (message, reply)
        if self._inbox is not None:
            self._inbox.room.set()  # the reply must be read
        try:
            await self.connection.send(frame)
            return await reply
        except ConnectionClosed as error:
            raise ConnectionLost("the connection was lost while sending") from error
        except asyncio.CancelledError:
            if number in self._waiting:
                self._given_up[number] = message
            raise
        finally:
            self._waiting.pop(number, None)

    async def read_until_closed(self) -> None:
        """Receive messages until either side closes the connection."""
        try:
            async for frame in self.connection:
                self._take(frame)
                if self._is_full():
                    await self._pause()
        except ConnectionClosed:
            pass  # waiting requests fail below, and the caller reads the close code
        finally:
            self.over = True
            for _, reply in self._waiting.values():
                if not reply.done():
                    reply.set_exception(ConnectionLost(self._last_words()))

    def _take(self, frame: str | bytes) -> None:
        try:
            message = read(frame, self._form)
        except InvalidPayload as error:
            log.warning("%s; the message was skipped", error)
            return
        number = message.get("id")
        if type(number) is not int or (number not in self._waiting and number not in self._given_up):
            self._receive(message)
            return
        request = self._given_up.pop(number, None)
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            request = waiting[0]
        is_error = self.dialect.is_error(message)
        if request is not None and not is_error:
            self._answered(request, message)
        if waiting is None or waiting[1].done():
            return
        if is_error:
            waiting[1].set_exception(self.dialect.error_of(message))
        else:
            waiting[1].set_result(message)

    def _is_full(self) -> bool:
        # A reply waits behind the messages before it, and the application may read none of them before its call ends.
        return self._inbox is not None and self._inbox.is_full(TIMES_FOR_REPLIES if self._waiting else 1)

    async def _pause(self) -> None:
        """Read no further until the application has taken messages, or waits for a reply."""
        assert self._inbox is not None  # noqa: S101 # checked by the caller
        connection = self.connection
        if isinstance(connection, TimedConnection):
            connection.is_paused = True
        while self._is_full():
            self._inbox.room.clear()
            await self._inbox.room.wait()
        if isinstance(connection, TimedConnection):
            connection.resumed()

    def _last_words(self) -> str:
        code, reason = self.connection.close_code, self.connection.close_reason
        closed = f" ({code} {reason or ''})".replace(" )", ")") if code is not None else ""
        return f"the connection was lost before the reply{closed}: the request may or may not have been carried out"
