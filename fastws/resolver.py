"""Looks names up in threads of our own, so that nobody waits for a name server that does not answer."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

T = TypeVar("T")


class Found(NamedTuple):
    """What `socket.getaddrinfo` yields: an address is (host, port), of IPv6 (host, port, flow, scope)."""

    family: socket.AddressFamily
    type: socket.SocketKind
    proto: int
    canonical_name: str
    address: tuple[Any, ...]


Answer = Future[list[Found]]
# What `socket.getaddrinfo` is asked: host, port, family, type, protocol, flags.
_Question = tuple[Any, Any, int, int, int, int]

_lock: Final = threading.Lock()
# The lookups that threads are at, and who waits for each.
_under_way: Final[dict[_Question, list[Answer]]] = {}


async def resolve(host: str | bytes | None, port: int | None, **options: int) -> list[Found]:
    """`socket.getaddrinfo` with `family`, `type` (a stream), `proto` and `flags`. Raises OSError.

    Neither the loop nor the end of the process waits for the thread that asks; what it finds is dropped where nobody
    waits for it any more. Numeric addresses are found at once. Names of the machine itself, as `localhost`, are looked
    up as well: what they mean stands in its hosts file.
    """
    answer = lookup(host, port, **options)
    return answer.result() if answer.done() else await asyncio.wrap_future(answer)


def lookup(host: str | bytes | None, port: int | None, **options: int) -> Answer:
    """The same for who has no loop: `lookup(host, port).result(seconds)`."""
    answer = Answer()
    question = _question(host, port, **options)
    if _is_numeric(host):
        _tell([answer], _outcome(question))
        return answer
    with _lock:
        # One lookup of a name at a time, however often it is asked for while the name server is silent.
        is_new = question not in _under_way
        _under_way.setdefault(question, []).append(answer)
    answer.add_done_callback(partial(_forget, question))
    if is_new:
        try:
            threading.Thread(target=_look_up, args=(question,), name=f"fastws-lookup {host!r}", daemon=True).start()
        except RuntimeError as error:
            _tell(_take(question), OSError(errno.EAGAIN, str(error)))
    return answer


def _question(
    host: str | bytes | None,
    port: int | None,
    *,
    family: int = 0,
    type: int = socket.SOCK_STREAM,  # noqa: A002 the name that getaddrinfo gives it
    proto: int = 0,
    flags: int = 0,
) -> _Question:
    return (host, port, family, type, proto, flags)


def _is_numeric(host: str | bytes | None) -> bool:
    """Whether finding `host` asks nobody."""
    if host is None:
        return True
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return False
    return True


def _look_up(question: _Question) -> None:
    """What a thread does: look up, then tell whoever waits by then."""
    outcome = _outcome(question)
    _tell(_take(question), outcome)


def _outcome(question: _Question) -> list[Found] | Exception:
    try:
        return [Found(*found) for found in socket.getaddrinfo(*question)]
    except OSError as error:
        return error
    except UnicodeError:
        return socket.gaierror(socket.EAI_NONAME, "not a host name")


def _tell(answers: list[Answer], outcome: list[Found] | Exception) -> None:
    for answer in answers:
        if not answer.set_running_or_notify_cancel():
            continue
        if isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)


def _take(question: _Question) -> list[Answer]:
    with _lock:
        return _under_way.pop(question)


def _forget(question: _Question, answer: Answer) -> None:
    """Whoever waited for `answer` has it, or waits no more."""
    with _lock:
        waiting = _under_way.get(question, [])
        if answer in waiting:
            waiting.remove(answer)


class SelectorLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop, but no thread of its executor, for whose end `asyncio.run` waits, looks a name up."""

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 the name that it has in asyncio
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        return await resolve(host, port, family=family, type=type, proto=proto, flags=flags)


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on a SelectorLoop."""
    with asyncio.Runner(loop_factory=SelectorLoop) as runner:
        return runner.run(main)
