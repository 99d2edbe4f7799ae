"""Resolves host names in daemon threads, so that an unresponsive name server blocks neither the loop nor the exit."""

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
    """A result of `socket.getaddrinfo`. `address` is (host, port), or (host, port, flow, scope) for IPv6."""

    family: socket.AddressFamily
    type: socket.SocketKind
    proto: int
    canonical_name: str
    address: tuple[Any, ...]


Answer = Future[list[Found]]
# The arguments of `socket.getaddrinfo`: host, port, family, type, protocol, flags.
_Query = tuple[Any, Any, int, int, int, int]

_lock: Final = threading.Lock()
# Lookups in progress, and the futures that wait for each.
_pending: Final[dict[_Query, list[Answer]]] = {}


async def resolve(host: str | bytes | None, port: int | None, **options: int) -> list[Found]:
    """Resolve `host`. `options` are `family`, `type` (default: stream), `proto` and `flags`. Raises OSError.

    The lookup runs in a thread that blocks neither the loop nor the exit of the process. Its result is dropped if the
    caller was cancelled. Numeric addresses need no thread. Local names such as `localhost` do, since the hosts file
    defines them.
    """
    answer = lookup(host, port, **options)
    return answer.result() if answer.done() else await asyncio.wrap_future(answer)


def lookup(host: str | bytes | None, port: int | None, **options: int) -> Answer:
    """Like `resolve`, for code without an event loop: `lookup(host, port).result(seconds)`."""
    answer = Answer()
    query = _query(host, port, **options)
    if _is_numeric(host):
        _set_outcome([answer], _outcome(query))
        return answer
    with _lock:
        # One lookup per query at a time, even if many callers wait for a name server that does not answer.
        is_new = query not in _pending
        _pending.setdefault(query, []).append(answer)
    answer.add_done_callback(partial(_stop_waiting, query))
    if is_new:
        try:
            threading.Thread(target=_look_up, args=(query,), name=f"fastws-lookup {host!r}", daemon=True).start()
        except RuntimeError as error:
            _set_outcome(_take(query), OSError(errno.EAGAIN, str(error)))
    return answer


def _query(
    host: str | bytes | None,
    port: int | None,
    *,
    family: int = 0,
    type: int = socket.SOCK_STREAM,  # noqa: A002 the name that getaddrinfo gives it
    proto: int = 0,
    flags: int = 0,
) -> _Query:
    return (host, port, family, type, proto, flags)


def _is_numeric(host: str | bytes | None) -> bool:
    """Whether `host` resolves without a name server or a hosts file."""
    if host is None:
        return True
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return False
    return True


def _look_up(query: _Query) -> None:
    """Resolve in the current thread, then resolve all futures that wait for the result."""
    outcome = _outcome(query)
    _set_outcome(_take(query), outcome)


def _outcome(query: _Query) -> list[Found] | Exception:
    try:
        return [Found(*found) for found in socket.getaddrinfo(*query)]
    except OSError as error:
        return error
    except UnicodeError:
        return socket.gaierror(socket.EAI_NONAME, "not a host name")


def _set_outcome(answers: list[Answer], outcome: list[Found] | Exception) -> None:
    for answer in answers:
        if not answer.set_running_or_notify_cancel():
            continue
        if isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)


def _take(query: _Query) -> list[Answer]:
    with _lock:
        return _pending.pop(query)


def _stop_waiting(query: _Query, answer: Answer) -> None:
    """Forget `answer`, which is done or cancelled."""
    with _lock:
        waiting = _pending.get(query, [])
        if answer in waiting:
            waiting.remove(answer)


async def getaddrinfo(
    self: object,
    host: Any,
    port: Any,
    *,
    family: int = 0,
    type: int = 0,  # noqa: A002 the name that it has in asyncio
    proto: int = 0,
    flags: int = 0,
) -> Any:
    """The method of that name of event loops, with this resolver."""
    return await resolve(host, port, family=family, type=type, proto=proto, flags=flags)


class SelectorLoop(asyncio.SelectorEventLoop):
    """asyncio's selector loop, but names are not resolved in its executor, whose threads `asyncio.run` waits for."""

    getaddrinfo = getaddrinfo


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` like `asyncio.run`, on a SelectorLoop."""
    with asyncio.Runner(loop_factory=SelectorLoop) as runner:
        return runner.run(main)
