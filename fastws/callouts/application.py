"""Calling the application's function or HTTP callback with an event, and understanding what it answers."""

from __future__ import annotations

import asyncio
import base64
import binascii
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpx

from fastws.callouts.authorizer import is_url, load_function
from fastws.callouts.gateway_events import Event
from fastws.errors import BadRequest, FastWSError, Forbidden, Unauthorized

SYNC_THREADS: Final = 32
MAX_CALLBACKS: Final = 256
_FIRST_REFUSAL: Final = 400


class ApplicationCall:
    """`await call(event)` is what the application answered; it raises whatever went wrong.

    `where` is "package.module:function", called `(event)` or, if it takes two arguments as Lambda functions do,
    `(event, None)`; sync (in a thread) or async. Or the URL of an HTTP callback: the event is POSTed as JSON, what
    comes back as JSON is the answer. Raises ConfigError for what cannot be loaded.
    """

    def __init__(self, where: str, *, setting: str) -> None:
        self._client: httpx.AsyncClient | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._url = where
        self._call = self._post if is_url(where) else self._local(where, setting)

    async def __call__(self, event: Event) -> object:
        return await self._call(event)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _local(self, where: str, setting: str) -> Callable[[Event], Awaitable[object]]:
        function = load_function(where, setting=setting)
        more = (None,) if _takes_two(function) else ()
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
            return lambda event: function(event, *more)
        threads = self._threads = ThreadPoolExecutor(SYNC_THREADS, "fastws-event-hook")

        async def in_thread(event: Event) -> object:
            # It may ask a database: on the loop it would hold up everybody.
            return await asyncio.get_running_loop().run_in_executor(threads, function, event, *more)

        return in_thread

    async def _post(self, event: Event) -> object:
        if self._client is None:
            # The time limit is the caller's.
            self._client = httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=MAX_CALLBACKS))  # noqa: S113
        response = await self._client.post(self._url, json=event)
        if response.is_server_error or response.is_redirect:
            raise ValueError(f"the callback answered with status {response.status_code}")
        if response.is_client_error:
            return {"statusCode": response.status_code}
        try:
            return response.json() if response.content else None
        except ValueError:
            return None  # an `ok` in words; who has something to say says it in JSON


def refusal_in(answer: object) -> FastWSError | None:
    """How `$connect` was refused: False, or a statusCode of 400 or more (401 stays 401, all others are 403).

    None: it was not. Raises TypeError for an answer that is neither yes nor no.
    """
    if answer is None or answer is True:
        return None
    if answer is False:
        return Forbidden("the application refuses this connection", reason="hook")
    status = answer.get("statusCode", 200) if isinstance(answer, dict) else None
    if not isinstance(status, int | str) or isinstance(status, bool):
        raise TypeError(f"an object with statusCode, true, false or nothing is expected, not {type(answer).__name__}")
    status = int(status)
    if status < _FIRST_REFUSAL:
        return None
    if status == Unauthorized.status:
        return Unauthorized("the application refuses this connection", reason="hook")
    return Forbidden("the application refuses this connection", reason="hook")


def body_in(answer: object) -> str | bytes | None:
    """What `$default` has to say to the client: the `body` of its answer; bytes where it is marked as base64."""
    body: Any = answer.get("body") if isinstance(answer, dict) else None
    if body is None:
        return None
    if not isinstance(body, str):
        raise BadRequest(f"`body` must be a string, not {type(body).__name__}")
    if not (isinstance(answer, dict) and answer.get("isBase64Encoded")):
        return body
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise BadRequest(f"`body` is not base64: {error}") from None


def _takes_two(function: Callable[..., object]) -> bool:
    """Whether `function` must be given two arguments."""
    try:
        signature = inspect.signature(function)
        signature.bind(None)
    except TypeError:
        return True
    except ValueError:
        return False  # built in: it does not say
    return False
