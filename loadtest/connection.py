"""A WebSocket connection in the channels dialect, on gevent. Requests become entries of locust's statistics."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import gevent
import websocket
from gevent.event import AsyncResult
from locust.env import Environment
from message_codecs import CODECS, Message

REPLY_SECONDS = 10.0
SLOW_BUFFER_BYTES = 4096


class NoReply(Exception):
    """The server did not reply within REPLY_SECONDS."""


class Refused(Exception):
    """The server replied with an error."""


class Closed(Exception):
    """The connection is closed."""


class Connection:
    """Connects when it is created. `reads=False` leaves incoming messages in the socket (a slow consumer).

    `on_message` gets all messages that are not replies. Requests are reported to locust as type WS.
    """

    def __init__(
        self,
        environment: Environment,
        url: str,
        *,
        token: str | None = None,
        codec: str = "json",
        on_message: Callable[[Message], None] = lambda message: None,
        reads: bool = True,
    ) -> None:
        self._environment = environment
        self._codec = CODECS[codec]
        self._on_message = on_message
        self._waiting: dict[str, AsyncResult] = {}
        self._next_id = 0
        self.connection_id = ""
        self.is_closed = False
        self.close_code: int | None = None
        self._socket = self._timed("connect", lambda: self._connect(url, token, reads=reads))
        self._reader = gevent.spawn(self._read) if reads else None

    def _connect(self, url: str, token: str | None, *, reads: bool) -> websocket.WebSocket:
        connection = websocket.create_connection(
            url,
            timeout=REPLY_SECONDS,
            suppress_origin=True,
            subprotocols=self._codec.subprotocols,
            header={"Authorization": f"Bearer {token}"} if token else None,
            sockopt=() if reads else ((socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER_BYTES),),
        )
        self.connection_id = self._codec.decode(connection.recv_data()[1])["connection_id"]
        connection.settimeout(None)
        return connection

    # --- requests

    def subscribe(self, channel: str) -> None:
        self._timed("subscribe", lambda: self._request({"action": "subscribe", "channel": channel}))

    def unsubscribe(self, channel: str) -> None:
        self._timed("unsubscribe", lambda: self._request({"action": "unsubscribe", "channel": channel}))

    def send(self, channel: str, event: str, data: Message) -> None:
        message = {"action": "send", "channel": channel, "event": event, "data": data}
        self._timed("send", lambda: self._request(message))

    def read_one(self) -> Message | None:
        """Returns the next message, or None when the connection is closed; `close_code` is then set."""
        opcode, payload = self._socket.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            self.close_code = int.from_bytes(payload[:2], "big")
            return None
        return self._codec.decode(payload)

    def write_subscribe(self, channel: str) -> None:
        """Subscribe without waiting for the reply (a slow consumer)."""
        self._write({"action": "subscribe", "channel": channel})

    def read_for(self, seconds: float) -> None:
        """With `reads=False`: read until nothing arrives for `seconds`, or until the connection is closed."""
        self._socket.settimeout(seconds)
        try:
            while (message := self.read_one()) is not None:
                self._on_message(message)
            self.is_closed = True
        except websocket.WebSocketTimeoutException:
            self._socket.settimeout(None)

    def close(self) -> None:
        """Close with a close frame."""
        self._stop_reading()
        # In a greenlet of its own: websocket-client swallows the exception that kills a greenlet.
        gevent.spawn(self._socket.close, timeout=1).join()

    def abort(self) -> None:
        """Reset the connection without a close frame."""
        self._stop_reading()
        self._socket.shutdown()

    def _stop_reading(self) -> None:
        self.is_closed = True
        if self._reader is not None:
            self._reader.kill()  # only one greenlet may read a socket, and closing reads

    # --- internals

    def _write(self, message: Message) -> None:
        self._socket.send(self._codec.encode(message), self._codec.opcode)

    def _request(self, message: Message) -> Message:
        if self.is_closed:
            raise Closed
        self._next_id += 1
        request_id = str(self._next_id)
        result = self._waiting[request_id] = AsyncResult()
        try:
            self._write({**message, "id": request_id})
            reply: Message = result.get(timeout=REPLY_SECONDS)
        except gevent.Timeout:
            raise NoReply(message["action"]) from None
        finally:
            self._waiting.pop(request_id, None)
        if reply.get("type") == "error":
            raise Refused(f"{reply.get('code')}: {reply.get('message')}")
        return reply

    def _read(self) -> None:
        try:
            while (message := self.read_one()) is not None:
                result = self._waiting.get(message.get("id", ""))
                if result is not None:
                    result.set(message)
                else:
                    self._on_message(message)
        except (OSError, websocket.WebSocketException):
            pass  # reported below
        unexpected = not self.is_closed
        self.is_closed = True
        for result in list(self._waiting.values()):
            result.set_exception(Closed())
        if unexpected:
            self._fire("WS", "lost connection", 0.0, Closed(f"close code {self.close_code}"))

    def _timed(self, name: str, do: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        try:
            outcome = do()
        except (NoReply, Refused, Closed, OSError, websocket.WebSocketException) as error:
            self._fire("WS", name, (time.perf_counter() - began) * 1000, error)
            raise
        self._fire("WS", name, (time.perf_counter() - began) * 1000)
        return outcome

    def _fire(self, kind: str, name: str, milliseconds: float, error: Exception | None = None) -> None:
        fire(self._environment, kind, name, milliseconds, error=error)


def fire(
    environment: Environment,
    kind: str,
    name: str,
    milliseconds: float,
    *,
    size: int = 0,
    error: Exception | None = None,
) -> None:
    """Add an entry to locust's statistics; with `error` it is a failure."""
    environment.events.request.fire(
        request_type=kind,
        name=name,
        response_time=milliseconds,
        response_length=size,
        exception=error,
        context={},
    )
