"""Questions and answers between processes, each of which listens to a Redis channel of its own."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import structlog

from fastws.brokers.redis.broker import RedisBroker
from fastws.codec.msgpack_binary import MSGPACK
from fastws.errors import BadRequest, BrokerUnavailable, FastWSError, Gone

# Answers a question of another node from its body; what it returns travels back as msgpack.
Handler = Callable[[object], object | Awaitable[object]]
# Hears the answer, or the error: Gone (no such node), BrokerUnavailable (no answer in time), or the handler's own.
Answered = Callable[[object], None]

_ANSWER: Final = "="

_log = structlog.get_logger("fastws.redis")


class RedisNodes:
    """The channel `fastws:node:<node id>` of every process.

    `handlers` says which kinds of question are known here, `notices` which kinds need no answer.
    """

    def __init__(self, broker: RedisBroker) -> None:
        self.handlers: dict[str, Handler] = {}
        self.notices: dict[str, Callable[[object], None]] = {}
        self._broker = broker
        self._asked: dict[int, tuple[Answered, asyncio.TimerHandle]] = {}
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()
        broker.serve(self._channel(broker.node_id), self._hear, _began)

    def tell(self, node: str, kind: str, body: object) -> None:
        """Say something that needs no answer."""
        self._publish(node, {"kind": kind, "body": body}, _nothing)

    def request(self, node: str, kind: str, body: object, answered: Answered) -> None:
        """Ask `node`; `answered` hears the answer or the error, once, within `timeouts.request_seconds`."""
        self._number = number = self._number + 1
        timer = asyncio.get_running_loop().call_later(
            self._broker.timeouts.request_seconds, partial(self._end, number, BrokerUnavailable("no answer in time"))
        )
        self._asked[number] = (answered, timer)
        question = {"kind": kind, "body": body, "number": number, "from": self._broker.node_id}
        self._publish(node, question, partial(self._published, number))

    async def ask(self, node: str, kind: str, body: object) -> object:
        """The answer of `node`. Raises Gone, BrokerUnavailable, or what the question ended with there."""
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.request(node, kind, body, lambda answer: None if future.done() else future.set_result(answer))
        answer = await future
        if isinstance(answer, FastWSError):
            raise answer
        return answer

    def _channel(self, node: str) -> bytes:
        return self._broker.names.service("node", node)

    def _publish(self, node: str, message: dict[str, object], answered: Answered) -> None:
        self._broker.commander.publish(self._channel(node), MSGPACK.dumps(message), answered)

    def _published(self, number: int, reply: object) -> None:
        """Redis says how many heard the question: nobody means that the node is gone, and no use in waiting."""
        if isinstance(reply, BrokerUnavailable):
            self._end(number, reply)
        elif reply == 0:
            self._end(number, Gone("the process that had this connection is gone"))
        elif not isinstance(reply, int):
            self._end(number, BrokerUnavailable("Redis refused the question"))

    def _end(self, number: int, answer: object) -> None:
        asked = self._asked.pop(number, None)
        if asked is not None:
            answered, timer = asked
            timer.cancel()
            answered(answer)

    def _hear(self, payload: bytes) -> None:
        message = MSGPACK.loads(payload)
        if not isinstance(message, dict):
            raise BadRequest("a message between nodes is a map")
        kind, body, number, asker = (message.get(key) for key in ("kind", "body", "number", "from"))
        if kind == _ANSWER and isinstance(number, int):
            error = message.get("error")
            self._end(number, body if error is None else BrokerUnavailable(str(error)))
            return
        if isinstance(kind, str) and kind in self.notices:
            self.notices[kind](body)
            return
        handler = self.handlers.get(kind) if isinstance(kind, str) else None
        if handler is None or not isinstance(asker, str) or not isinstance(number, int):
            raise BadRequest(f"unknown kind of question, or nobody waits for its answer: {kind!r}")
        answer = handler(body)
        if inspect.isawaitable(answer):
            task = asyncio.ensure_future(self._answer_later(asker, number, answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._answer(asker, number, answer)

    async def _answer_later(self, asker: str, number: int, answer: Awaitable[object]) -> None:
        try:
            self._answer(asker, number, await answer)
        except Exception as error:  # noqa: BLE001 the asker is told, and no stranger's question may end in a crash
            _log.exception("a question of another process could not be answered")
            text = error.message if isinstance(error, FastWSError) else "internal error"
            self._publish(asker, {"kind": _ANSWER, "number": number, "error": text}, _nothing)

    def _answer(self, asker: str, number: int, body: object) -> None:
        self._publish(asker, {"kind": _ANSWER, "number": number, "body": body}, _nothing)


def _began() -> None:
    """Questions that were lost in a gap end by their time limit."""


def _nothing(reply: object) -> None:
    """Whoever needs to know has a time limit."""
