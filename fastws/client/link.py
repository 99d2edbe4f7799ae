"""One connection that is up: requests and their replies, and everything else that arrives."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from fastws.client.formats import Format, Message, read
from fastws.client.grammar import Grammar
from fastws.errors import InvalidPayload, Unavailable

log = logging.getLogger("fastws.client")


class ConnectionLost(Unavailable):
    """The connection ended before the answer came: what was asked for may or may not have been done."""


class Link:
    """`hear` gets every message that answers no request of this link. Requests carry an `id`, which the reply
    carries back; a message with another `id` is somebody's own."""

    def __init__(
        self, connection: ClientConnection, form: Format, grammar: Grammar, hear: Callable[[Message], None]
    ) -> None:
        self.connection = connection
        self._form = form
        self.grammar = grammar
        self._hear = hear
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._given_up: set[int] = set()  # requests whose late replies are no messages
        self.over = False

    async def request(self, message: Message) -> Message:
        """Send `message` and return its reply. Raises the error that the reply says, or ConnectionLost."""
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
        """Take in what arrives until the connection is closed, by whomever; never raises for that."""
        try:
            async for frame in self.connection:
                self._take(frame)
        except ConnectionClosed:
            pass  # who was waiting hears of it below, and the client reads code and reason
        finally:
            self.over = True
            for reply in self._waiting.values():
                if not reply.done():
                    reply.set_exception(ConnectionLost(self._last_words()))

    def _take(self, frame: str | bytes) -> None:
        try:
            message = read(frame, self._form)
        except InvalidPayload as error:
            log.warning("%s; it was skipped", error)
            return
        number = message.get("id")
        if type(number) is not int or (number not in self._waiting and number not in self._given_up):
            self._hear(message)
            return
        self._given_up.discard(number)
        reply = self._waiting.get(number)
        if reply is None or reply.done():
            return
        if self.grammar.is_error(message):
            reply.set_exception(self.grammar.error_of(message))
        else:
            reply.set_result(message)

    def _last_words(self) -> str:
        code, reason = self.connection.close_code, self.connection.close_reason
        said = f" ({code} {reason or ''})".replace(" )", ")") if code is not None else ""
        return f"the connection was lost before the answer{said}: it may have been done or not"
