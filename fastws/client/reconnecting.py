"""A connection that is opened again whenever it is lost, with its subscriptions and its token."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from fastws.client.backoff import TOKEN_ENDED, ReconnectBackoff, end_of
from fastws.client.changes import Changes, Restoring
from fastws.client.connector import Connector
from fastws.client.formats import Message
from fastws.client.keepalive import TimedConnection, keep_alive
from fastws.client.link import ConnectionLost, Link
from fastws.client.refreshing import keep_token_fresh
from fastws.client.subscriptions import Subscriptions
from fastws.client.tokens import TokenSource
from fastws.errors import FastWSError, Unauthorized, Unavailable

log = logging.getLogger("fastws.client")

PING_INTERVAL_SECONDS: Final = 20.0
PING_TIMEOUT_SECONDS: Final = 20.0
RESTORE_SECONDS: Final = 60.0


class ReconnectingConnection:
    """Calls `on_message` with each delivery and notice, and `on_end` with the final error (None: closed orderly)."""

    def __init__(
        self,
        connector: Connector,
        subscriptions: Subscriptions,
        tokens: TokenSource,
        backoff: ReconnectBackoff,
        *,
        on_message: Callable[[Message], None],
        on_end: Callable[[FastWSError | None], None],
        reconnect: bool,
    ) -> None:
        self.connection_id: str | None = None
        self._connector = connector
        self._dialect = connector.dialect
        self._subscriptions = subscriptions
        self.changes = Changes(subscriptions)
        self._tokens = tokens
        self._backoff = backoff
        self._on_message = on_message
        self._on_end = on_end
        self._reconnect = reconnect
        self._link: Link | None = None
        self._greeting: asyncio.Future[Message] | None = None
        self._connected = asyncio.Event()  # also set at the end, so that nobody waits forever
        self._times_connected = 0
        self._refused_in_a_row = 0
        self._last_failure: FastWSError | None = None
        self._has_ended = False
        self._error: FastWSError | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, timeout: float) -> None:
        """Connect and subscribe. Raises the FastWSError that prevents it, after `timeout` seconds at the latest."""
        self._task = asyncio.create_task(self._run(), name=f"fastws client of {self._connector.shown_url}")
        try:
            async with asyncio.timeout(timeout):
                await self._connected.wait()
        except TimeoutError:
            await self.close()
            raise self._last_failure or Unavailable(f"not connected within {timeout:g} s") from None
        except BaseException:
            await self.close()
            raise
        if self._has_ended:
            raise self._reason_of_end()

    async def close(self) -> None:
        """Close the connection with 1000 and stop reconnecting."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def current_link(self) -> Link:
        """Wait for a connection. Raises the FastWSError with which the client has ended."""
        while True:
            await self._connected.wait()
            if self._has_ended:
                raise self._reason_of_end()
            if self._link is not None and not self._link.over:
                return self._link
            self._connected.clear()  # lost, but _serve has not noticed yet

    def use_token(self, token: str) -> None:
        """Use this token for all further connections."""
        self._tokens.token = token

    @property
    def is_connected(self) -> bool:
        return self._link is not None and not self._link.over

    async def _run(self) -> None:
        error: FastWSError | None = None
        try:
            delay = await self._connect_once()
            while delay is not None:
                await asyncio.sleep(delay)
                delay = await self._connect_once()
        except FastWSError as failure:
            error = failure
        except Exception as failure:
            log.exception("the client of %s stops after an internal error", self._connector.shown_url)
            error = FastWSError(f"the client stopped after an error: {type(failure).__name__}: {failure}")
        finally:
            self._has_ended, self._error = True, error
            self._connected.set()
            self.changes.end(self._reason_of_end())
            self._on_end(error)

    async def _connect_once(self) -> float | None:
        """Open a connection and serve it until it ends. Returns the seconds until the next attempt; None: no more."""
        try:
            token = await self._token()
            deadline = time.monotonic() + self._connector.open_seconds
            connection = await self._connector.connect(token)
        except Unauthorized:
            self._refused_in_a_row += 1
            if not self._tokens.can_renew or self._refused_in_a_row > 1:
                raise
            self._tokens.token = None  # it may have been revoked before it expired
            return 0.0
        except Unavailable as error:
            return self._delay_after(error)
        return await self._serve(Link(connection, self._connector.form, self._dialect, self._receive), deadline)

    async def _serve(self, link: Link, deadline: float) -> float | None:
        """Serve `link`, whose greeting is due by `deadline`, until it is lost. Returns what `_connect_once` does."""
        began = time.monotonic()
        is_given_up = False
        self._greeting = asyncio.get_running_loop().create_future()
        tasks = [asyncio.create_task(link.read_until_closed()), asyncio.create_task(self._keep_alive(link))]
        try:
            await self._wait_for_greeting(deadline, tasks[0])
            await self._restore(link)
            self._link = link
            self._connected.set()
            tasks.append(asyncio.create_task(keep_token_fresh(self._tokens, link, self._dialect.verb)))
            await tasks[0]
        except ConnectionLost:
            pass  # before it was ready; its close code, below, says what follows
        except Unavailable as error:
            is_given_up, self._last_failure = True, error
            log.warning("%s: %s", self._connector.shown_url, error)
        finally:
            was_connected, self._link = self._link is not None, None
            self._connected.clear()
            self.changes.lost()
            await link.connection.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if is_given_up:  # closed with 1000 by this client
            return self._backoff.next_seconds()
        code, reason = link.connection.close_code, link.connection.close_reason or ""
        return self._after_close(code, reason, time.monotonic() - began, was_connected=was_connected)

    async def _token(self) -> str | None:
        try:
            return await self._tokens.current()
        except FastWSError:
            raise
        except Exception as error:
            if not self._times_connected:
                raise
            log.warning("token_provider raised an error; it is called again", exc_info=True)
            raise Unavailable(f"token_provider failed: {error}", retry_after_seconds=0) from error

    async def _keep_alive(self, link: Link) -> None:
        if isinstance(link.connection, TimedConnection):
            options = self._connector.options
            interval = options.get("ping_interval", PING_INTERVAL_SECONDS)
            if interval is not None:
                await keep_alive(link.connection, interval, options.get("ping_timeout", PING_TIMEOUT_SECONDS))

    async def _wait_for_greeting(self, deadline: float, reading: asyncio.Task[None]) -> None:
        """Wait for the first message of the server."""
        assert self._greeting is not None  # noqa: S101 # set by _serve
        if self._dialect.greeting is not None:
            seconds = max(0.0, deadline - time.monotonic())
            await asyncio.wait((self._greeting, reading), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                raise ConnectionLost("the server closed the connection before its greeting")
            if not self._greeting.done():
                limit = f"{self._connector.open_seconds:g} s"
                raise Unavailable(f"no `{self._dialect.greeting}` message within {limit}: is this a fastws server?")
            self.connection_id = str(self._greeting.result().get("connection_id"))
        self._refused_in_a_row = 0
        if self._times_connected:
            self._on_message(self._dialect.notice("reconnected", connection_id=self.connection_id))

    async def _restore(self, link: Link) -> None:
        """Subscribe to everything that is wanted."""
        restoring = self.changes.connected(link)
        if restoring:
            _, late = await asyncio.wait([each.answer for each in restoring], timeout=RESTORE_SECONDS)
            if late:
                raise Unavailable(
                    f"subscriptions were not confirmed within {RESTORE_SECONDS:g} s; reconnecting",
                    retry_after_seconds=0,
                )
        for each in restoring:
            error = each.answer.result()
            if error is not None:
                self._not_restored(each, error)
        self._times_connected += 1

    def _not_restored(self, restoring: Restoring, error: FastWSError) -> None:
        if isinstance(error, ConnectionLost):
            raise error
        if not self._dialect.is_final(error, was_confirmed=self._subscriptions.was_confirmed(restoring.request)):
            raise Unavailable(f"a subscription was refused; reconnecting: {error}", retry_after_seconds=0) from error
        if not self._times_connected:
            raise error
        if not restoring.has_caller:
            notice = self._dialect.notice("error", code=error.code, message=error.message, request=restoring.request)
            self._on_message(notice)

    def _after_close(self, code: int | None, reason: str, lived_seconds: float, *, was_connected: bool) -> float | None:
        final, error = end_of(code, reason, can_renew=self._tokens.can_renew)
        if final and error is not None:
            raise error
        if final:
            return None
        lost = Unavailable(f"the connection was lost ({code} {reason}".rstrip() + ")", retry_after_seconds=0)
        if not self._reconnect:
            raise lost
        self._last_failure = self._last_failure or lost
        if code == TOKEN_ENDED:
            self._tokens.token = None
        delay = self._backoff.after_close(code, reason, lived_seconds)
        if was_connected:
            self._on_message(self._dialect.notice("disconnected", code=code, reason=reason, retry_seconds=delay))
        return delay

    def _delay_after(self, error: Unavailable) -> float:
        """How long to wait after a failed attempt. Before the first success, `start` limits the attempts."""
        if self._times_connected and not self._reconnect:
            raise error
        self._last_failure = error
        return self._backoff.next_seconds(error.retry_after_seconds)

    def _receive(self, message: Message) -> None:
        greeting = self._greeting
        if (
            greeting is not None
            and not greeting.done()
            and message.get(self._dialect.type_key) == self._dialect.greeting
        ):
            greeting.set_result(message)
            return
        if self._dialect.is_left(message):
            self._subscriptions.left(message)
        self._on_message(message)

    def _reason_of_end(self) -> FastWSError:
        return self._error or Unavailable("the connection was closed by this client, or by the server with code 1000")
