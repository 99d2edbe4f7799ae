"""A connection that is opened again whenever it is lost, with its subscriptions and its token."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from fastws.client.backoff import TOKEN_ENDED, ReconnectBackoff, end_of
from fastws.client.changes import Changes, Restoring
from fastws.client.client_dialect import FEED_JOINED
from fastws.client.connector import Connector
from fastws.client.formats import Message
from fastws.client.inbox import Inbox
from fastws.client.keepalive import TimedConnection, keep_alive
from fastws.client.link import ConnectionLost, Link
from fastws.client.recovery import Recovery
from fastws.client.refreshing import keep_token_fresh
from fastws.client.subscriptions import Subscriptions
from fastws.client.tokens import TokenSource
from fastws.errors import FastWSError, Unauthorized, Unavailable

log = logging.getLogger("fastws.client")

PING_INTERVAL_SECONDS: Final = 20.0
PING_TIMEOUT_SECONDS: Final = 20.0
RESTORE_SECONDS: Final = 60.0
POSITION_SECONDS: Final = 10.0


class Greeting:
    """The first message of a connection, of the type `kind`; due by `deadline` on the monotonic clock."""

    def __init__(self, kind: str, deadline: float) -> None:
        self.kind = kind
        self.deadline = deadline
        self.message: asyncio.Future[Message] = asyncio.get_running_loop().create_future()


class ReconnectingConnection:
    """Puts each delivery and notice into `inbox` through `recovery`, and ends it with the final error (None: closed
    orderly)."""

    def __init__(
        self,
        connector: Connector,
        subscriptions: Subscriptions,
        tokens: TokenSource,
        backoff: ReconnectBackoff,
        *,
        recovery: Recovery,
        inbox: Inbox,
        reconnect: bool,
    ) -> None:
        self.connection_id: str | None = None
        self._connector = connector
        self._dialect = connector.dialect
        self._subscriptions = subscriptions
        self.changes = Changes(subscriptions, recovery)
        self._tokens = tokens
        self._backoff = backoff
        self._recovery = recovery
        self._inbox = inbox
        self._reconnect = reconnect
        self._link: Link | None = None
        self._greeting: Greeting | None = None
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
            self._recovery.lost()
            self._inbox.end(error)

    async def _connect_once(self) -> float | None:
        """Open a connection and serve it until it ends. Returns the seconds until the next attempt; None: no more."""
        try:
            token = await self._token()
            deadline = time.monotonic() + self._connector.open_seconds
            query = self._recovery.query(token)
            connection = await self._connector.connect(token, query)
        except Unauthorized:
            self._refused_in_a_row += 1
            if not self._tokens.can_renew or self._refused_in_a_row > 1:
                raise
            self._tokens.token = None  # it may have been revoked before it expired
            return 0.0
        except Unavailable as error:
            return self._delay_after(error)
        # Only with a position or a client id in the query does the jobs feed begin with a greeting.
        greeting = self._dialect.greeting or (FEED_JOINED if {"offset", "client_id"} & query.keys() else None)
        self._greeting = None if greeting is None else Greeting(greeting, deadline)
        if self._times_connected:
            self._recovery.reconnecting()
        form, recovery = self._connector.form, self._recovery
        return await self._serve(Link(connection, form, self._dialect, self._receive, recovery.answered, self._inbox))

    async def _serve(self, link: Link) -> float | None:
        """Serve `link` until it is lost. Returns what `_connect_once` does."""
        began, is_given_up = time.monotonic(), False
        tasks = [asyncio.create_task(link.read_until_closed()), asyncio.create_task(self._keep_alive(link))]
        try:
            await self._wait_for_greeting(tasks[0])
            await self._restore(link)
            self._link = link
            self._connected.set()
            keeping_fresh = keep_token_fresh(self._tokens, link, self._dialect.verb), self._keep_position_fresh(link)
            tasks += map(asyncio.create_task, keeping_fresh)
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
            self._recovery.lost()
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

    async def _keep_position_fresh(self, link: Link) -> None:
        while self._dialect.has_filter:
            await asyncio.sleep(POSITION_SECONDS)
            if self._recovery.needs_pings:
                await link.request({self._dialect.verb: "ping"})

    async def _wait_for_greeting(self, reading: asyncio.Task[None]) -> None:
        """Wait for the first message of the server."""
        greeting = self._greeting
        if greeting is None:
            self._recovery.greeted({})
        else:
            seconds = max(0.0, greeting.deadline - time.monotonic())
            await asyncio.wait((greeting.message, reading), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if greeting.message.done():
                self.connection_id = greeting.message.result().get("connection_id")
            elif reading.done():
                raise ConnectionLost("the server closed the connection before its greeting")
            else:
                self._no_greeting(greeting)
        self._refused_in_a_row = 0

    def _no_greeting(self, greeting: Greeting) -> None:
        if self._dialect.greeting is None:
            self._recovery.forget_home()  # an older server, which knows no positions
        limit = f"{self._connector.open_seconds:g} s"
        raise Unavailable(f"no `{greeting.kind}` message within {limit}: is this a fastws server?")

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
        self._recovery.reconnected(self.connection_id)
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
            self._recovery.put(notice)

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
            self._recovery.put(self._dialect.notice("disconnected", code=code, reason=reason, retry_seconds=delay))
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
            and not greeting.message.done()
            and message.get(self._dialect.type_key) == greeting.kind
        ):
            self._recovery.greeted(message)
            greeting.message.set_result(message)
            return
        if self._dialect.is_left(message):
            self._subscriptions.left(message)
            self._recovery.left([message.get(self._dialect.channel_key, "")])
        self._recovery.receive(message)

    def _reason_of_end(self) -> FastWSError:
        return self._error or Unavailable("the connection was closed by this client, or by the server with code 1000")
