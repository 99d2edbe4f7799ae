"""Publishes on channels with a history: a script in Redis numbers, keeps and publishes in one step."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import structlog

from fastws.brokers.history import NUMBERING_SECONDS, HistoryRule, new_epoch
from fastws.brokers.redis.history_scripts import PUBLISH, SCRIPTS, HistoryKeys, Script
from fastws.brokers.redis.wire.commander import RedisCommander
from fastws.brokers.redis.wire.resp import error_code, pack, refusal_text
from fastws.errors import BrokerUnavailable, FastWSError
from fastws.vocabulary.positions import Position

# A publication waits this long for a connection to Redis, as others do.
WAIT_SECONDS: Final = 1.8
MAX_WAITING: Final = 10_000
# Processes that hear a channel have this long to vouch for its numbering after a restart of Redis.
VOUCH_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 0.1
UNKNOWN_RUN: Final = "unknown"

_log = structlog.get_logger("fastws.redis")
Published = Callable[[Position | FastWSError], None]


class _Waiting(NamedTuple):
    """A publication for `channel`: the rest of its envelope, and who gets its position."""

    channel: str
    rule: HistoryRule
    rest: bytes
    published: Published
    expires_at: float


class NumberedPublisher:
    """Sends publications to the script, in order per channel.

    `heard` returns the position up to which this process has heard a channel. Scripts are only run while the run id of
    Redis is known, on the connection on which it was asked for: another run may have lost the end of a numbering.
    `on_run` is called when it is known.
    """

    def __init__(
        self,
        commander: RedisCommander,
        keys: HistoryKeys,
        heard: Callable[[str], Position | None],
        on_run: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        # The run id of the Redis that is connected; None while it is not known.
        self.run: str | None = None
        self._commander = commander
        self._keys = keys
        self._heard = heard
        self._on_run = on_run
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        # By channel: publications that wait until somebody has vouched for its numbering, or until VOUCH_SECONDS.
        self._unvouched: dict[str, deque[_Waiting]] = {}
        # The channels whose first publication is being tried again.
        self._retrying: set[str] = set()

    def commander_up(self) -> None:
        """There is a new connection: load the scripts and ask for the run id, before anything else is sent."""
        self.run = None
        for script in SCRIPTS:
            self._commander.send_first(b"SCRIPT", b"LOAD", script.text, answered=_log_error)
        self._commander.send_first(b"INFO", b"server", answered=self._info_answered)

    def commander_down(self) -> None:
        """The connection is lost."""
        self.run = None

    def publish(
        self,
        channel: str,
        rule: HistoryRule,
        rest: bytes,
        published: Published,
    ) -> None:
        """Number, keep and publish `rest`, an envelope without its position. `published` gets that, or the error."""
        waiting = _Waiting(channel, rule, rest, published, self._clock() + WAIT_SECONDS)
        if channel in self._unvouched:
            self._unvouched[channel].append(waiting)
        elif self.run is not None:
            self._send(waiting)
        elif len(self._waiting) < MAX_WAITING:
            self._waiting.append(waiting)
        else:
            published(BrokerUnavailable("too many commands wait for Redis; nothing was published"))

    def sweep(self, now: float) -> None:
        """Refuse what has waited too long."""
        for queue in (self._waiting, *self._unvouched.values()):
            while queue and queue[0].expires_at <= now:
                queue.popleft().published(BrokerUnavailable("Redis is unavailable; nothing was published"))

    def stop(self) -> None:
        """Refuse everything that waits."""
        self.sweep(float("inf"))

    def _info_answered(self, reply: object) -> None:
        run = UNKNOWN_RUN
        if isinstance(reply, bytes):
            lines = dict(line.partition(":")[::2] for line in reply.decode(errors="replace").splitlines())
            run = lines.get("run_id", UNKNOWN_RUN)
        elif isinstance(reply, BrokerUnavailable):
            return  # the connection is lost again
        if run == UNKNOWN_RUN:
            _log.warning("cannot determine the run id of redis", reason=str(reply), remedy="ACL SETUSER … +info")
        self.run = run
        self._on_run()
        waiting, self._waiting = self._waiting, deque()
        for publication in waiting:
            self._send(publication)

    def _send(self, waiting: _Waiting, *, is_forced: bool = False) -> None:
        if self.run is None:
            self._waiting.append(waiting)
            return
        heard = self._heard(waiting.channel) or Position(0, "")
        rule = waiting.rule
        words = (
            *(heard.epoch, heard.offset, int(is_forced), rule.limit, max(int(rule.seconds * 1000), 1)),
            *(int(NUMBERING_SECONDS), self._keys.redis_channel(waiting.channel), waiting.rest),
        )
        self.evaluate(PUBLISH, waiting.channel, words, partial(self._answered, waiting))

    def evaluate(
        self, script: Script, channel: str, words: tuple[bytes | str | int, ...], answered: Callable[[object], None]
    ) -> None:
        """Run `script` on the keys of `channel`, with the run id, a fresh epoch and `words` as arguments."""
        head = (b"EVALSHA", script.sha, 2, *self._keys.of(channel), self.run or UNKNOWN_RUN, new_epoch())
        self._commander.send(pack(*head, *words), answered, is_bound=True)

    def _answered(self, waiting: _Waiting, reply: object) -> None:
        channel = waiting.channel
        is_retry = channel in self._retrying
        self._retrying.discard(channel)
        if reply == [0]:
            self._wait_for_vouching(waiting, is_retry=is_retry)
            return
        if isinstance(reply, list):
            waiting.published(Position(reply[0], reply[1].decode()))
        elif isinstance(reply, FastWSError):
            waiting.published(reply)
        else:
            if error_code(reply) == "NOSCRIPT":
                self.commander_up()
            self._commander.log_refusal(b"EVALSHA", reply)
            waiting.published(BrokerUnavailable(refusal_text(reply), cause=str(reply)))
        if is_retry:
            for following in self._unvouched.pop(channel, ()):
                self._send(following)

    def _wait_for_vouching(self, waiting: _Waiting, *, is_retry: bool) -> None:
        """Keep `waiting` in its order, and try again soon."""
        queue = self._unvouched.get(waiting.channel)
        if is_retry and queue is not None:
            queue.appendleft(waiting)
        elif queue is not None:
            queue.append(waiting)
            return
        else:
            self._unvouched[waiting.channel] = deque([waiting])
        force_at = waiting.expires_at - WAIT_SECONDS + VOUCH_SECONDS
        asyncio.get_running_loop().call_later(RETRY_SECONDS, self._retry, waiting.channel, force_at)

    def _retry(self, channel: str, force_at: float) -> None:
        """Try the first publication of `channel` again. The others follow it."""
        queue = self._unvouched.get(channel)
        if not queue:
            self._unvouched.pop(channel, None)
            return
        if self.run is None:
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._retry, channel, force_at)
            return
        self._retrying.add(channel)
        self._send(queue.popleft(), is_forced=self._clock() >= force_at)


def _log_error(reply: object) -> None:
    if not isinstance(reply, bytes):
        _log.warning("redis did not load a script", reason=str(reply))
