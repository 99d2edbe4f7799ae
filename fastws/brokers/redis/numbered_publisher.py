"""Publishes on channels with a history: a script in Redis numbers, keeps and publishes in one step."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import structlog

from fastws.brokers.history import NUMBERING_SECONDS, HistoryRule
from fastws.brokers.redis.history_scripts import HistoryKeys, Script
from fastws.brokers.redis.once import REMEMBERED_SECONDS, Once, first_of
from fastws.brokers.redis.wire.commander import RedisCommander
from fastws.brokers.redis.wire.resp import error_code, pack, refusal_text
from fastws.errors import BrokerUnavailable, FastWSError, Repeated
from fastws.vocabulary.positions import Position
from fastws.vocabulary.values import fast_dataclass

# A publication waits this long for a connection to Redis, as others do.
WAIT_SECONDS: Final = 1.8
MAX_WAITING: Final = 10_000
# Processes that hear a channel have this long to vouch for its numbering after a restart of Redis.
VOUCH_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 0.1
UNKNOWN_RUN: Final = "unknown"
# Interval at which scripts are loaded again if Redis keeps forgetting them.
RELOAD_SECONDS: Final = 1.0
# How often the life of a numbering is extended by publishing. It lives longer by twice that, so that it never ends too
# early.
EXTEND_SECONDS: Final = 60.0
# Channels known to belong to the present run of Redis. Beyond, each is asked again.
MAX_VOUCHED: Final = 100_000

LIFE_SECONDS: Final = int(NUMBERING_SECONDS + 2 * EXTEND_SECONDS)
# Publications of one channel in one command. Redis takes 6 µs for each of 64, and nothing else meanwhile.
MAX_TOGETHER: Final = 64
# Larger ones go alone: joining them gains nothing.
MAX_TOGETHER_BYTES: Final = 8192
_LIFE: Final = b"%d" % LIFE_SECONDS
# The words of a command that publishes before the publications: EVALSHA, the script, 2, two keys and nine arguments.
_PUBLISH_WORDS: Final = 14

_log = structlog.get_logger("fastws.redis")
Published = Callable[[Position | FastWSError], None]


@fast_dataclass
class _Waiting:
    """A publication for `channel`: the rest of its envelope, and who gets its position.

    `on_feed` is the Redis channel of a feed and the publication in its format, or None. `once` is there if it has a
    message id.
    """

    channel: str
    rule: HistoryRule
    rest: bytes
    published: Published
    expires_at: float
    on_feed: tuple[bytes, bytes] | None
    once: Once | None


class _Vouched:
    """A channel of the present run: its encoded command as far as it stays the same, and when its life is extended."""

    __slots__ = ("extend_at", "head")

    def __init__(self, head: bytes, extend_at: float) -> None:
        self.head = head
        self.extend_at = extend_at


class NumberedPublisher:
    """Sends publications to the script, in order per channel, and those of one loop iteration together.

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
        self._run_at = 0.0
        self._commander = commander
        self._keys = keys
        self._heard = heard
        self._on_run = on_run
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        # The channels whose numbering belongs to the present run of Redis.
        self._vouched: dict[str, _Vouched] = {}
        # By channel: what waits until its first publication in this run is numbered. That is alone under way: if nobody
        # has vouched for the numbering, it is tried again until VOUCH_SECONDS have passed, and stays the first.
        self._following: dict[str, deque[_Waiting]] = {}
        # By channel: the publications of this loop iteration. Empty while the run is not known.
        self._gathered: dict[str, list[_Waiting]] = {}
        # Returns the publisher of a channel: in a Redis Cluster the slot of a channel may move to another node.
        self.owner: Callable[[str], NumberedPublisher] = lambda channel: self
        self._loaded_at = float("-inf")
        self._epochs = _new_epochs()

    def commander_up(self) -> None:
        """There is a new connection: load the scripts and ask for the run id, before anything else is sent."""
        self.commander_down()
        self._loaded_at = self._clock()
        for script in self._keys.scripts:
            self._commander.send_first(b"SCRIPT", b"LOAD", script.text, answered=_log_error)
        self._commander.send_first(b"INFO", b"server", answered=self._info_answered)

    def commander_down(self) -> None:
        """The connection is lost: what was not sent on it waits for the next run id."""
        self.run = None
        gathered, self._gathered = self._gathered, {}
        for waiting in gathered.values():
            self._waiting.extend(waiting)

    def publish(
        self,
        channel: str,
        rule: HistoryRule,
        rest: bytes,
        published: Published,
        on_feed: tuple[bytes, bytes] | None = None,
        once: Once | None = None,
    ) -> None:
        """Number, keep and publish `rest`, an envelope without its position. `published` gets that, or the error.

        With `once` the error is Repeated if that was done before.
        """
        self.resume(_Waiting(channel, rule, rest, published, self._clock() + WAIT_SECONDS, on_feed, once))

    def resume(self, waiting: _Waiting) -> None:
        """Publish what is new, or what another node has refused because the slot has moved."""
        if self.run is not None:
            self._offer(waiting)
        elif len(self._waiting) < MAX_WAITING:
            self._waiting.append(waiting)
        else:
            waiting.published(BrokerUnavailable("too many commands wait for Redis; nothing was published"))

    def moved(self) -> None:
        """Channels may belong to other nodes than before: pass on what waits for them."""
        self._vouched.clear()
        waiting, self._waiting = self._waiting, deque()
        for publication in waiting:
            self.owner(publication.channel).resume(publication)

    def sweep(self, now: float) -> None:
        """Refuse what has waited too long."""
        for queue in (self._waiting, *self._following.values()):
            while queue and queue[0].expires_at <= now:
                queue.popleft().published(BrokerUnavailable("Redis is unavailable; nothing was published"))

    def stop(self) -> None:
        """Refuse everything that waits."""
        self.commander_down()
        self.sweep(float("inf"))

    def evaluate(
        self, script: Script, channel: str, words: tuple[bytes | str | int, ...], answered: Callable[[object], None]
    ) -> None:
        """Run `script` on the keys of `channel`, with the run id, a fresh epoch and `words` as arguments.

        Only while the run id is known.
        """
        self.send_gathered(channel)
        head = (b"EVALSHA", script.sha, 2, *self._keys.of(channel), self.run or UNKNOWN_RUN, next(self._epochs))
        self._commander.send(pack(*head, *words), answered, is_bound=True)

    def script_refused(self, reply: object) -> None:
        """Log that Redis has refused a script, unless its slot moves.

        If Redis has forgotten the scripts, load them again, at most once per second.
        """
        if is_moving(reply):
            return
        if error_code(reply) == "NOSCRIPT" and self._clock() - self._loaded_at >= RELOAD_SECONDS:
            self.commander_up()
        self._commander.log_refusal(b"EVALSHA", reply)

    def _info_answered(self, reply: object) -> None:
        run = UNKNOWN_RUN
        if isinstance(reply, bytes):
            lines = dict(line.partition(":")[::2] for line in reply.decode(errors="replace").splitlines())
            run = lines.get("run_id", UNKNOWN_RUN)
        elif isinstance(reply, BrokerUnavailable):
            return  # the connection is lost again
        if run == UNKNOWN_RUN:
            _log.warning("cannot determine the run id of redis", reason=str(reply), remedy="ACL SETUSER … +info")
        self._vouched.clear()
        self.run = run
        self._run_at = self._clock()
        self._on_run()
        waiting, self._waiting = self._waiting, deque()
        for publication in waiting:
            self._offer(publication)

    def _offer(self, waiting: _Waiting) -> None:
        """Send `waiting`, or queue it behind the first publication of its channel in this run."""
        channel = waiting.channel
        following = self._following.get(channel)
        if following is not None:
            following.append(waiting)
        elif channel in self._vouched:
            self._gather(waiting)
        else:
            self.send_gathered(channel)
            self._following[channel] = deque()
            self._send([waiting], self._first_answered)

    def _gather(self, waiting: _Waiting) -> None:
        """Send `waiting` at the end of this loop iteration, together with the others of its channel."""
        channel = waiting.channel
        if waiting.on_feed or waiting.once or len(waiting.rest) > MAX_TOGETHER_BYTES:
            self.send_gathered(channel)
            self._send([waiting], self._answered)
            return
        gathered = self._gathered.get(channel)
        if gathered is None:
            if not self._gathered:
                asyncio.get_running_loop().call_soon(self.send_all)
                self._commander.flush_soon()
            self._gathered[channel] = [waiting]
        else:
            gathered.append(waiting)
            if len(gathered) == MAX_TOGETHER:
                self.send_gathered(channel)

    def send_gathered(self, channel: str) -> None:
        """Send the publications of `channel` now, before another command about it."""
        gathered = self._gathered.pop(channel, None)
        if gathered is not None:
            self._send(gathered, self._answered)

    def send_all(self) -> None:
        for channel in list(self._gathered):
            self.send_gathered(channel)

    def _send(
        self,
        together: Sequence[_Waiting],
        answered: Callable[[Sequence[_Waiting], object], None],
        *,
        is_forced: bool = False,
    ) -> None:
        """Send publications of one channel; one of a feed alone."""
        waiting = together[0]
        channel = waiting.channel
        vouched = self._vouched.get(channel)
        life = b""
        if vouched is None or waiting.expires_at >= vouched.extend_at:
            life = _LIFE
            if vouched is not None:
                vouched.extend_at = waiting.expires_at + EXTEND_SECONDS
        if vouched is None or waiting.once is not None:
            head = self._head(channel, waiting.rule, waiting.once)
        else:
            head = vouched.head
        packed = self._packed(head, life, together, is_forced=is_forced)
        self._commander.send(packed, partial(answered, together), is_bound=True)

    def _packed(self, head: bytes, life: bytes, together: Sequence[_Waiting], *, is_forced: bool) -> bytes:
        heard = self._heard(together[0].channel)
        epoch, top = (b"", b"0") if heard is None else (heard.epoch.encode(), b"%d" % heard.offset)
        fresh = next(self._epochs).encode()
        words = [waiting.rest for waiting in together]
        scripts, first = self._keys.scripts, together[0]
        script = scripts.publish
        if first.once is not None:
            script = scripts.publish_once
            # The key of the id is in the head.
            words += (*(first.on_feed or (b"", b"")), first.once.mark, b"%d" % REMEMBERED_SECONDS)
        elif first.on_feed is not None:
            script = scripts.publish_on_feed
            words += first.on_feed
        return (
            b"*%d\r\n$7\r\nEVALSHA\r\n$40\r\n%b\r\n%b$%d\r\n%b\r\n$1\r\n%d\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n%b"
            % (
                *(_PUBLISH_WORDS + len(words) + (first.once is not None), script.sha, head),
                *(len(life), life, is_forced, len(epoch), epoch, len(top), top, len(fresh), fresh),
                b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words]),
            )
        )

    def _head(self, channel: str, rule: HistoryRule, once: Once | None = None) -> bytes:
        """Return the encoded words after the script, as far as publications of `channel` in this run share them.

        The key of `once` is one of them.
        """
        milliseconds = max(int(rule.seconds * 1000), 1)
        keys = self._keys.of(channel) if once is None else (*self._keys.of(channel), once.key)
        packed = pack(
            *(len(keys), *keys, self.run or UNKNOWN_RUN),
            *(rule.limit, milliseconds, self._keys.redis_channel(channel)),
        )
        return packed[packed.index(b"\n") + 1 :]

    def _answered(self, together: Sequence[_Waiting], reply: object) -> None:
        if isinstance(reply, list) and len(reply) == 2:
            first, epoch = reply[0] + 1 - len(together), reply[1].decode()
            for offset, waiting in enumerate(together, first):
                _resolve(waiting, Position(offset, epoch))
            return
        owner = self.owner(together[0].channel)
        if owner is not self and error_code(reply) == "MOVED":
            # The script has not run.
            for waiting in together:
                owner.resume(waiting)
            return
        error = reply
        if (known := first_of(reply)) is not None:
            error = Repeated(known)
        elif not isinstance(error, FastWSError):
            self.script_refused(reply)
            error = BrokerUnavailable(refusal_text(reply), cause=str(reply))
        for waiting in together:
            _resolve(waiting, error)

    def _first_answered(self, alone: Sequence[_Waiting], reply: object) -> None:
        [waiting] = alone
        channel = waiting.channel
        if reply == [0] or error_code(reply) == "TRYAGAIN":
            self._following[channel].appendleft(waiting)
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._retry, channel)
            return
        self._answered(alone, reply)
        if isinstance(reply, list) and len(reply) == 2:
            if len(self._vouched) >= MAX_VOUCHED:
                self._vouched.clear()
            extend_at = self._clock() + EXTEND_SECONDS
            self._vouched[channel] = _Vouched(self._head(channel, waiting.rule), extend_at)
        following = self._following.pop(channel)
        if self.run is None:
            self._waiting.extendleft(reversed(following))
        else:
            for each in following:
                self.owner(channel).resume(each)

    def _retry(self, channel: str) -> None:
        """Try the first publication of `channel` again."""
        following = self._following[channel]
        if not following:
            del self._following[channel]
        elif (owner := self.owner(channel)) is not self:
            for waiting in self._following.pop(channel):
                owner.resume(waiting)
        elif self.run is None:
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._retry, channel)
        else:
            first = following.popleft()
            # The others may notice this Redis only a moment after this process.
            force_at = max(first.expires_at - WAIT_SECONDS, self._run_at) + VOUCH_SECONDS
            self._send([first], self._first_answered, is_forced=self._clock() >= force_at)


def is_moving(reply: object) -> bool:
    """Whether a node of a Redis Cluster refuses a command because its slot has moved, or is moving."""
    return error_code(reply) in ("MOVED", "TRYAGAIN")


def _resolve(waiting: _Waiting, result: Position | FastWSError) -> None:
    try:
        waiting.published(result)
    except Exception:  # noqa: BLE001 a bug in one callback must not cost the publications after it
        _log.exception("bug while handling a reply from redis", channel=waiting.channel)


def _new_epochs() -> Iterator[str]:
    """Yield names of at most 14 characters that nobody else uses. Cost: 0.3 µs, where random ones take 1.2 µs."""
    while True:
        life = secrets.token_urlsafe(6)
        for number in range(16**6):
            yield f"{life}{number:x}"


def _log_error(reply: object) -> None:
    if not isinstance(reply, bytes | BrokerUnavailable):
        _log.warning("redis did not load a script", reason=str(reply))
