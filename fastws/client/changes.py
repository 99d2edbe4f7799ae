"""The calls of subscribe and unsubscribe from their start to their outcome, over as many connections as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from fastws.client.formats import Message
from fastws.client.link import ConnectionLost, Link
from fastws.client.wishes import Wishes
from fastws.errors import FastWSError

# The error that a request was answered with, None where it was carried out.
Answer = asyncio.Task["FastWSError | None"]


@dataclass(slots=True, frozen=True, eq=False)
class _Change:
    request: Message
    outcome: asyncio.Future[None]


@dataclass(slots=True, frozen=True)
class Restoring:
    """A request that restores a subscription. `has_caller`: somebody waits for its answer."""

    request: Message
    answer: Answer
    has_caller: bool


class Changes:
    """While connected, each change is sent at once, in the order of the calls. All others wait for the next
    connection, which begins with requests for everything that is wanted by then: no change is sent twice, and of
    several for one name the last one holds."""

    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes
        self._link: Link | None = None
        self._open: dict[_Change, None] = {}
        self._tasks: set[Answer] = set()
        self._ended: FastWSError | None = None

    async def make(self, requests: list[Message]) -> None:
        """Return when the server has carried out all `requests`, or later calls have replaced them.

        Raises what the server refuses with, or the error that the client has ended with.
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
        """Ask for everything that is wanted."""
        self._link = link
        waiting = list(self._open)
        restoring = []
        for request in self._wishes.restore():
            concerned = [change for change in waiting if self._wishes.is_covered(change.request, request)]
            waiting = [change for change in waiting if change not in concerned]
            answer = self._ask(link, request, concerned, is_restored=True)
            restoring.append(Restoring(request, answer, has_caller=bool(concerned)))
        self._settle(waiting, None)  # undone by later calls
        return restoring

    def lost(self) -> None:
        """The connection is gone; what has no answer waits for the next one."""
        self._link = None

    def end(self, error: FastWSError) -> None:
        """There will be no connection any more."""
        self._link = None
        self._ended = error
        for task in self._tasks:
            task.cancel()
        self._settle(list(self._open), error)

    def _ask(self, link: Link, request: Message, changes: list[_Change], *, is_restored: bool = False) -> Answer:
        task = asyncio.create_task(self._answer(link, request, changes, is_restored=is_restored))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _answer(
        self, link: Link, request: Message, changes: list[_Change], *, is_restored: bool
    ) -> FastWSError | None:
        try:
            await link.request(request)
        except ConnectionLost as error:
            return error
        except FastWSError as error:
            for_good = link.grammar.is_for_good(error, was_confirmed=self._wishes.was_confirmed(request))
            # What is refused for now is asked for again on the next connection, and its callers wait for that.
            if link is self._link and (for_good or not is_restored):
                self._wishes.refused(request, for_good=for_good)
                self._settle(changes, error)
            return error
        self._wishes.confirmed(request)
        self._settle(changes, None)
        return None

    def _settle(self, changes: Iterable[_Change], error: FastWSError | None) -> None:
        for change in changes:
            self._open.pop(change, None)
            if change.outcome.done():
                continue  # the caller has given up waiting
            if error is None:
                change.outcome.set_result(None)
            else:
                change.outcome.set_exception(error)
