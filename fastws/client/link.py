"""One open connection: matches replies to requests, and passes on all other messages."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from fastws.client.client_dialect import ClientDialect
from fastws.client.formats import Format, Message, read
from fastws.errors import InvalidPayload, Unavailable

log = logging.getLogger("fastws.client")


class ConnectionLost(Unavailable):
    """The connection was lost before the reply arrived: the request may or may not have been carried out."""


class Link:
    """Calls `receive` with each message that is not a reply.

    A reply has the `id` of a request that waits for it. Other messages may have an `id` chosen by their sender.
    """

    def __init__(
        self, connection: ClientConnection, form: Format, dialect: ClientDialect, receive: Callable[[Message], None]
    ) -> None:
        self.connection = connection
        self._form = form
        self.dialect = dialect
        self._receive = receive
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._given_up: set[int] = set()  # ids of requests that timed out; their late replies are dropped
        self.over = False

    async def request(self, message: Message) -> Message:
        """Send `message` and return its reply. Raises the error in the reply, or ConnectionLost."""
        if self.over:
            raise ConnectionLost("the connection was lost")
        number = next(self._numbers)
        frame = self._form.dumps({**message, "id": number})
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[number] = reply
        try:
            await self.connection.send(frame)
            return await reply
        except ConnectionClosed as error:
            raise ConnectionLost("the connection was lost while sending") from error
        except asyncio.CancelledError:
            self._given_up.add(number)
            raise
        finally:
            self._waiting.pop(number, None)

    async def read_until_closed(self) -> None:
        """Receive messages until either side closes the connection."""
        try:
            async for frame in self.connection:
                self._take(frame)
        except ConnectionClosed:
            pass  # waiting requests fail below, and the caller reads the close code
        finally:
            self.over = True
            for reply in self._waiting.values():
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
        self._given_up.discard(number)
        reply = self._waiting.get(number)
        if reply is None or reply.done():
            return
        if self.dialect.is_error(message):
            reply.set_exception(self.dialect.error_of(message))
        else:
            reply.set_result(message)

    def _last_words(self) -> str:
        code, reason = self.connection.close_code, self.connection.close_reason
        closed = f" ({code} {reason or ''})".replace(" )", ")") if code is not None else ""
        return f"the connection was lost before the reply{closed}: the request may or may not have been carried out"
