"""Subscribe and unsubscribe calls, followed over reconnects until each has its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from fastws.client.formats import Message
from fastws.client.link import ConnectionLost, Link
from fastws.client.recovery import Recovery
from fastws.client.subscriptions import Subscriptions
from fastws.errors import FastWSError

# The error that a request was answered with, None if it succeeded.
Answer = asyncio.Task["FastWSError | None"]


@dataclass(slots=True, frozen=True, eq=False)
class _Change:
    request: Message
    outcome: asyncio.Future[None]


@dataclass(slots=True, frozen=True)
class Restoring:
    """A request that restores a subscription. `has_caller`: a call waits for its answer."""

    request: Message
    answer: Answer
    has_caller: bool


class Changes:
    """While connected, each change is sent at once, in the order of the calls. Otherwise it waits for the next
    connection, which starts with requests for everything that is wanted by then. No change is sent twice, and the
    last of several for one name wins."""

    def __init__(self, subscriptions: Subscriptions, recovery: Recovery) -> None:
        self._subscriptions = subscriptions
        self._recovery = recovery
        self._link: Link | None = None
        self._open: dict[_Change, None] = {}
        self._tasks: set[Answer] = set()
        self._ended: FastWSError | None = None

    async def make(self, requests: list[Message]) -> None:
        """Send `requests` and return when the server has confirmed them, or when later calls have replaced them.

        Raises the error with which the server refuses one, or with which the client has ended.
        """
        if self._ended is not None:
            raise self._ended
        loop = asyncio.get_running_loop()
        changes = [_Change(request, loop.create_future()) for request in requests]
        for change in changes:
            self._open[change] = None
            if self._link is not None and not self._link.over:
                self._ask(self._link, change.request, [change])
        try:
            results = await asyncio.gather(*(change.outcome for change in changes), return_exceptions=True)
        finally:
            for change in changes:
                self._open.pop(change, None)
        for result in results:
            if result is not None:
                raise result

    def connected(self, link: Link) -> list[Restoring]:
        """Send requests for everything that is wanted."""
        self._link = link
        waiting = list(self._open)
        restoring = []
        for request in self._subscriptions.restore():
            concerned = [change for change in waiting if self._subscriptions.is_covered(change.request, request)]
            waiting = [change for change in waiting if change not in concerned]
            answer = self._ask(link, request, concerned, is_restored=True)
            restoring.append(Restoring(request, answer, has_caller=bool(concerned)))
        self._resolve(waiting, None)  # later calls have undone these
        return restoring

    def lost(self) -> None:
        """The connection is lost. Changes without an answer wait for the next one."""
        self._link = None

    def end(self, error: FastWSError) -> None:
        """The client has ended: no further connection follows."""
        self._link = None
        self._ended = error
        for task in self._tasks:
            task.cancel()
        self._resolve(list(self._open), error)

    def _ask(self, link: Link, request: Message, changes: list[_Change], *, is_restored: bool = False) -> Answer:
        task = asyncio.create_task(self._answer(link, request, changes, is_restored=is_restored))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _answer(
        self, link: Link, request: Message, changes: list[_Change], *, is_restored: bool
    ) -> FastWSError | None:
        try:
            await link.request(request, self._recovery.fields(request))
        except ConnectionLost as error:
            return error
        except FastWSError as error:
            is_final = link.dialect.is_final(error, was_confirmed=self._subscriptions.was_confirmed(request))
            # A temporary refusal is retried on the next connection, and the callers wait for that.
            if link is self._link and (is_final or not is_restored):
                self._subscriptions.refused(request, is_final=is_final)
                self._resolve(changes, error)
            return error
        self._subscriptions.confirmed(request)
        self._resolve(changes, None)
        return None

    def _resolve(self, changes: Iterable[_Change], error: FastWSError | None) -> None:
        for change in changes:
            self._open.pop(change, None)
            if change.outcome.done():
                continue  # the caller has given up waiting
            if error is None:
                change.outcome.set_result(None)
            else:
                change.outcome.set_exception(error)
