"""A connection that is kept: made, greeted, subscribed, refreshed, and made again when it is lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from fastws.client.changes import Changes, Restoring
from fastws.client.dialing import Dialing
from fastws.client.formats import Message
from fastws.client.keepalive import TimedConnection, keep_alive
from fastws.client.link import ConnectionLost, Link
from fastws.client.pace import TOKEN_ENDED, Pace, end_of
from fastws.client.refreshing import keep_token_fresh
from fastws.client.tokens import TokenSource
from fastws.client.wishes import Wishes
from fastws.errors import FastWSError, Unauthorized, Unavailable

log = logging.getLogger("fastws.client")

PING_INTERVAL_SECONDS: Final = 20.0
PING_TIMEOUT_SECONDS: Final = 20.0
RESTORE_SECONDS: Final = 60.0


class KeptConnection:
    """`hear` gets every delivery and notice, `ended` the error it all ended with (None: orderly)."""

    def __init__(
        self,
        dialing: Dialing,
        wishes: Wishes,
        tokens: TokenSource,
        pace: Pace,
        *,
        hear: Callable[[Message], None],
        ended: Callable[[FastWSError | None], None],
        reconnect: bool,
    ) -> None:
        self.connection_id: str | None = None
        self._dialing = dialing
        self._grammar = dialing.grammar
        self._wishes = wishes
        self.changes = Changes(wishes)
        self._tokens = tokens
        self._pace = pace
        self._hear = hear
        self._ended = ended
        self._reconnect = reconnect
        self._link: Link | None = None
        self._hello: asyncio.Future[Message] | None = None
        self._up = asyncio.Event()  # set at the end too, so that nobody waits for ever
        self._times_up = 0
        self._refused_in_a_row = 0
        self._last_failure: FastWSError | None = None
        self._over = False
        self._error: FastWSError | None = None
        self._life: asyncio.Task[None] | None = None

    async def start(self, timeout: float) -> None:
        """Return when connected and subscribed. Raises the FastWSError that stands against it, at the latest
        after `timeout` seconds."""
        self._life = asyncio.create_task(self._live(), name=f"fastws client of {self._dialing.shown_url}")
        try:
            await asyncio.wait_for(self._up.wait(), timeout)
        except TimeoutError:
            await self.close()
            raise self._last_failure or Unavailable(f"no connection within {timeout:g} s") from None
        except BaseException:
            await self.close()
            raise
        if self._over:
            raise self._reason_of_end()

    async def close(self) -> None:
        """Close the connection with 1000 and stop."""
        if self._life is not None:
            self._life.cancel()
            await asyncio.gather(self._life, return_exceptions=True)

    async def live_link(self) -> Link:
        """The connection that is up now or next. Raises the FastWSError it all ended with."""
        while True:
            await self._up.wait()
            if self._over:
                raise self._reason_of_end()
            if self._link is not None and not self._link.over:
                return self._link
            self._up.clear()  # lost, but its session has not noticed yet

    def use_token(self, token: str) -> None:
        """Connect with this token from now on."""
        self._tokens.token = token

    @property
    def is_up(self) -> bool:
        return self._link is not None and not self._link.over

    async def _live(self) -> None:
        error: FastWSError | None = None
        try:
            delay = await self._session()
            while delay is not None:
                await asyncio.sleep(delay)
                delay = await self._session()
        except FastWSError as failure:
            error = failure
        except Exception as failure:
            log.exception("the client of %s stops", self._dialing.shown_url)
            error = FastWSError(f"the client stopped: {type(failure).__name__}: {failure}")
        finally:
            self._over, self._error = True, error
            self._up.set()
            self.changes.end(self._reason_of_end())
            self._ended(error)

    async def _session(self) -> float | None:
        """One connection from dialing to its end: seconds until the next, None where there is to be none."""
        try:
            token = await self._token()
            deadline = time.monotonic() + self._dialing.open_seconds
            connection = await self._dialing.dial(token)
        except Unauthorized:
            self._refused_in_a_row += 1
            if not self._tokens.can_renew or self._refused_in_a_row > 1:
                raise
            self._tokens.token = None  # it may have been revoked before its time
            return 0.0
        except Unavailable as error:
            return self._delay_after(error)
        return await self._use(Link(connection, self._dialing.form, self._grammar, self._take), deadline)

    async def _use(self, link: Link, deadline: float) -> float | None:
        """Settle on `link`, greeted before `deadline`, and stay until it is lost; returns as `_session` does."""
        began = time.monotonic()
        given_up = False
        self._hello = asyncio.get_running_loop().create_future()
        tasks = [asyncio.create_task(link.read_until_closed()), asyncio.create_task(self._keep_alive(link))]
        try:
            await self._greeting(deadline, tasks[0])
            await self._restore(link)
            self._link = link
            self._up.set()
            tasks.append(asyncio.create_task(keep_token_fresh(self._tokens, link, self._grammar.verb)))
            await tasks[0]
        except ConnectionLost:
            pass  # while settling: code and reason say below what that means
        except Unavailable as error:
            given_up, self._last_failure = True, error
            log.warning("%s: %s", self._dialing.shown_url, error)
        finally:
            was_up, self._link = self._link is not None, None
            self._up.clear()
            self.changes.lost()
            await link.connection.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if given_up:  # closed by this side, with 1000
            return self._pace.delay_seconds()
        code, reason = link.connection.close_code, link.connection.close_reason or ""
        return self._after_close(code, reason, time.monotonic() - began, was_up=was_up)

    async def _token(self) -> str | None:
        try:
            return await self._tokens.current()
        except FastWSError:
            raise
        except Exception as error:
            if not self._times_up:
                raise
            log.warning("token_provider failed", exc_info=True)
            raise Unavailable(f"token_provider failed: {error}", retry_after_seconds=0) from error

    async def _keep_alive(self, link: Link) -> None:
        if isinstance(link.connection, TimedConnection):
            options = self._dialing.options
            interval = options.get("ping_interval", PING_INTERVAL_SECONDS)
            if interval is not None:
                await keep_alive(link.connection, interval, options.get("ping_timeout", PING_TIMEOUT_SECONDS))

    async def _greeting(self, deadline: float, reading: asyncio.Task[None]) -> None:
        """Await the server's first message."""
        assert self._hello is not None  # noqa: S101 # made by the session
        if self._grammar.hello is not None:
            seconds = max(0.0, deadline - time.monotonic())
            await asyncio.wait((self._hello, reading), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                raise ConnectionLost("closed before its first message")
            if not self._hello.done():
                limit = f"{self._dialing.open_seconds:g} s"
                raise Unavailable(f"no `{self._grammar.hello}` within {limit}: is it a fastws server?")
            self.connection_id = str(self._hello.result().get("connection_id"))
        self._refused_in_a_row = 0
        if self._times_up:
            self._hear(self._grammar.notice("reconnected", connection_id=self.connection_id))

    async def _restore(self, link: Link) -> None:
        """Subscribe to everything that is wanted."""
        restoring = self.changes.connected(link)
        if restoring:
            _, late = await asyncio.wait([each.answer for each in restoring], timeout=RESTORE_SECONDS)
            if late:
                raise Unavailable(f"not subscribed within {RESTORE_SECONDS:g} s, trying again", retry_after_seconds=0)
        for each in restoring:
            error = each.answer.result()
            if error is not None:
                self._not_restored(each, error)
        self._times_up += 1

    def _not_restored(self, restoring: Restoring, error: FastWSError) -> None:
        if isinstance(error, ConnectionLost):
            raise error
        if not self._grammar.is_for_good(error, was_confirmed=self._wishes.was_confirmed(restoring.request)):
            raise Unavailable(f"not subscribed, trying again: {error}", retry_after_seconds=0) from error
        if not self._times_up:
            raise error
        if not restoring.has_caller:
            notice = self._grammar.notice("error", code=error.code, message=error.message, request=restoring.request)
            self._hear(notice)

    def _after_close(self, code: int | None, reason: str, lived_seconds: float, *, was_up: bool) -> float | None:
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
        delay = self._pace.after_close(code, reason, lived_seconds)
        if was_up:
            self._hear(self._grammar.notice("disconnected", code=code, reason=reason, retry_seconds=delay))
        return delay

    def _delay_after(self, error: Unavailable) -> float:
        """How long to wait after a dialing that failed; before the first success `start` bounds the tries."""
        if self._times_up and not self._reconnect:
            raise error
        self._last_failure = error
        return self._pace.delay_seconds(error.retry_after_seconds)

    def _take(self, message: Message) -> None:
        hello = self._hello
        if hello is not None and not hello.done() and message.get(self._grammar.word) == self._grammar.hello:
            hello.set_result(message)
            return
        if self._grammar.is_left(message):
            self._wishes.left(message)
        self._hear(message)

    def _reason_of_end(self) -> FastWSError:
        return self._error or Unavailable("the connection was closed, by this client or in good order by the server")
