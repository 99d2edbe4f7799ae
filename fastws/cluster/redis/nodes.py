"""Requests between processes. Each process has a Redis channel of its own."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

import structlog

from fastws.brokers.redis.broker import RedisBroker
from fastws.brokers.redis.once import publish_once
from fastws.codec.msgpack_binary import MSGPACK
from fastws.errors import (
    BadRequest,
    BrokerUnavailable,
    FastWSError,
    Forbidden,
    Gone,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    TooLarge,
)

# Handles a request of another node: gets its body and returns the answer, which is sent as msgpack.
Handler = Callable[[object], object | Awaitable[object]]
# Gets the answer or an error: Gone (no such node), BrokerUnavailable (no answer in time), Repeated, or that of the
# handler.
Answered = Callable[[object], None]

_ANSWER: Final = "="
# Interval at which a request is published again to a node of a Redis Cluster that is alive but not subscribed.
REPEAT_SECONDS: Final = 0.1
# The errors of handlers by code. Any other code becomes BrokerUnavailable.
_ERRORS: Final[Mapping[str, type[FastWSError]]] = {
    error.code: error for error in (FastWSError, BadRequest, TooLarge, Forbidden, NotFound, RateLimited)
}

_log = structlog.get_logger("fastws.redis")


class RedisNodes:
    """Sends and handles requests on the Redis channels `fastws:node:<node id>`, one for each process.

    `handlers` contains the handler of each kind of request, `notices` those of kinds without an answer.
    """

    def __init__(self, broker: RedisBroker) -> None:
        self.handlers: dict[str, Handler] = {}
        self.notices: dict[str, Callable[[object], None]] = {}
        # Whether a node was alive lately. Set by the registry.
        self.is_known: Callable[[str], bool] = _is_not_known
        self._broker = broker
        self._pending: dict[int, tuple[Answered, asyncio.TimerHandle]] = {}
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()
        broker.serve(broker.names.node(broker.node_id), self._receive, _subscribed)

    def notify(self, node: str, kind: str, body: object) -> None:
        """Send a message without an answer."""
        self._publish(node, {"kind": kind, "body": body}, self._log_refusal)

    def request(self, node: str, kind: str, body: object, answered: Answered, *, message_id: str | None = None) -> None:
        """Send a request to `node`. `answered` is called once, within `timeouts.request_seconds`.

        With `message_id` the answer is Repeated if a request with that id was sent to `node` before.

        Raises Unencodable if `body` cannot be encoded as msgpack; then nothing is sent.
        """
        self._number = number = self._number + 1
        packed = MSGPACK.dumps({"kind": kind, "body": body, "number": number, "from": self._broker.node_id})
        timer = asyncio.get_running_loop().call_later(
            self._broker.timeouts.request_seconds,
            partial(self._end, number, OutcomeUnknown("another process did not answer in time")),
        )
        self._pending[number] = (answered, timer)
        self._send(node, number, packed, message_id)

    async def ask(self, node: str, kind: str, body: object) -> object:
        """Return the answer of `node`. Raises Gone, BrokerUnavailable, or the error of the handler."""
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.request(node, kind, body, lambda answer: None if future.done() else future.set_result(answer))
        answer = await future
        if isinstance(answer, FastWSError):
            raise answer
        return answer

    def _publish(self, node: str, message: dict[str, object], answered: Answered) -> None:
        self._broker.commander.publish(self._broker.names.node(node), MSGPACK.dumps(message), answered)

    def _send(self, node: str, number: int, packed: bytes, message_id: str | None) -> None:
        """Publish a request, unless it is answered."""
        if number not in self._pending:
            return
        name, commander = self._broker.names.node(node), self._broker.commander
        answered = partial(self._published, node, number, packed, message_id)
        if message_id is None:
            commander.publish(name, packed, answered)
        else:
            publish_once(commander, self._broker.once_at(message_id, name), name, packed, answered, needs_receiver=True)

    def _published(self, node: str, number: int, packed: bytes, message_id: str | None, reply: object) -> None:
        """Redis returns the number of receivers. With 0 the node is gone, and waiting is useless."""
        if isinstance(reply, FastWSError):
            self._end(number, reply)
        elif reply == 0 and self._broker.names.is_cluster and self.is_known(node):
            # It subscribes again after a move of the slot or a failover.
            asyncio.get_running_loop().call_later(REPEAT_SECONDS, self._send, node, number, packed, message_id)
        elif reply == 0:
            self._end(number, Gone("the process that had this connection is gone"))
        elif not isinstance(reply, int):
            self._end(number, BrokerUnavailable("Redis refused the request to another process"))

    def _log_refusal(self, reply: object) -> None:
        """Only log: the node that waits for the message has a time limit."""
        self._broker.commander.log_refusal("PUBLISH", reply)

    def _end(self, number: int, answer: object) -> None:
        pending = self._pending.pop(number, None)
        if pending is not None:
            answered, timer = pending
            timer.cancel()
            answered(answer)

    def _receive(self, payload: bytes) -> None:
        message = MSGPACK.loads(payload)
        if not isinstance(message, dict):
            raise BadRequest("a message between nodes must be a map")
        kind, body, number, asker = (message.get(key) for key in ("kind", "body", "number", "from"))
        if kind == _ANSWER and isinstance(number, int):
            error = message.get("error")
            self._end(number, body if error is None else _error_of(message.get("code"), str(error)))
            return
        if isinstance(kind, str) and kind in self.notices:
            self.notices[kind](body)
            return
        handler = self.handlers.get(kind) if isinstance(kind, str) else None
        if handler is None or not isinstance(asker, str) or not isinstance(number, int):
            raise BadRequest(f"unknown kind of request, or no sender and number: {kind!r}")
        self._handle(handler, body, asker, number)

    def _handle(self, handler: Handler, body: object, asker: str, number: int) -> None:
        try:
            answer = handler(body)
        except Exception as error:  # noqa: BLE001 as below
            self._refuse(asker, number, error)
            return
        if inspect.isawaitable(answer):
            task = asyncio.ensure_future(self._answer_later(asker, number, answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._answer(asker, number, answer)

    async def _answer_later(self, asker: str, number: int, answer: Awaitable[object]) -> None:
        try:
            self._answer(asker, number, await answer)
        except Exception as error:  # noqa: BLE001 the asker gets the error; no request may end in a crash
            self._refuse(asker, number, error)

    def _answer(self, asker: str, number: int, body: object) -> None:
        self._publish(asker, {"kind": _ANSWER, "number": number, "body": body}, self._log_refusal)

    def _refuse(self, asker: str, number: int, error: Exception) -> None:
        """Answer with an error. The asker gets the same error as from its own process."""
        if not isinstance(error, FastWSError):
            _log.error("bug while handling a request of another node", exc_info=error)
            error = FastWSError("internal error")
        answer = {"kind": _ANSWER, "number": number, "error": error.message, "code": error.code}
        self._publish(asker, answer, self._log_refusal)


def _error_of(code: object, text: str) -> FastWSError:
    """Return the error in an answer. Processes of older versions send no code."""
    return _ERRORS.get(str(code), BrokerUnavailable)(text)


def _is_not_known(node: str) -> bool:
    return False


def _subscribed() -> None:
    """Does nothing: requests that were lost while disconnected end by their time limit."""
