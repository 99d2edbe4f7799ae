"""Messages of plain publishers on channels with a history: each is numbered once, by one process at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from fastws.brokers.envelope import encode_rest
from fastws.brokers.history import UNUSED_SECONDS, HistoryRules, new_epoch
from fastws.brokers.redis.history_scripts import HistoryKeys
from fastws.brokers.redis.numbered_publisher import LIFE_SECONDS, RETRY_SECONDS, VOUCH_SECONDS, NumberedPublisher
from fastws.brokers.redis.plain_notes import Begun, Join, LastCall, Place, decode_note, encode_note
from fastws.brokers.redis.plain_queue import FIRST_PLACE, PLAIN, PlainQueue
from fastws.brokers.redis.wire.commander import RedisCommander
from fastws.brokers.redis.wire.resp import pack
from fastws.vocabulary.positions import Position
from fastws.vocabulary.publication import Publication

# How long a process that joins waits for one that knows the places, and how often it asks. Then the watch is over.
ANSWER_SECONDS: Final = 0.8
MAX_NOTES: Final = 2
# The numberer answers at once, others after this time.
OTHERS_ANSWER_SECONDS: Final = 0.3
# A message without an offset for this long: another process becomes the numberer.
TAKE_OVER_SECONDS: Final = 0.8
# How long the script may refuse a message because the one before it is missing; and because the message is numbered,
# although this process has not received that: a busy process may hear it late.
MISSING_SECONDS: Final = 0.8
UNHEARD_SECONDS: Final = 10.0
MAX_SENT: Final = 256


class PlainMessages:
    """The queues of the channels on which plain publishers have spoken, and the way of their messages to the script.

    The process whose message was numbered last is the numberer: it sends each message at once. The others wait until
    they receive it numbered; after TAKE_OVER_SECONDS one of them takes over. `joined(channel, is_joined)` is called for
    each channel of `join` once this process receives all of its plain messages, or cannot know whether it does.
    """

    def __init__(
        self,
        commander: RedisCommander,
        publisher: NumberedPublisher,
        keys: HistoryKeys,
        rules: HistoryRules,
        node: str,
        heard: Callable[[str], Position | None],
        is_confirmed: Callable[[str], bool],
        is_feed: Callable[[str], bool],
        joined: Callable[[str, bool], None],
        clock: Callable[[], float],
    ) -> None:
        self._commander = commander
        self._publisher = publisher
        self._keys = keys
        self._rules = rules
        self._node = node
        self._heard = heard
        self._is_confirmed = is_confirmed
        self._is_feed = is_feed
        self._joined = joined
        self._clock = clock
        self._queues: dict[str, PlainQueue] = {}
        # Those with something to do.
        self._busy: set[PlainQueue] = set()

    def listen_seconds(self, channel: str) -> float:
        """How long this process has to receive `channel` after its last subscriber has left."""
        rule = self._rules(channel) if channel in self._queues or self._is_feed(channel) else None
        return 0.0 if rule is None else rule.seconds

    def watch(self, channel: str) -> str:
        """Return the watch that this process has joined; "" if none."""
        queue = self._queues.get(channel)
        return "" if queue is None else queue.watch or ""

    # --- hearing

    def hear(self, publication: Publication) -> None:
        """A plain message has arrived. It is delivered when it comes back with its offset."""
        queue = self._queue(publication.channel)
        if queue is None:
            return
        self._busy.add(queue)
        if not queue.hear(publication, self._clock()):
            watch = queue.watch or ""
            queue.lose()
            self._join(queue, ends=watch)
        elif queue.watch is None:
            self._join(queue)
        elif queue.is_numberer:
            self._send(queue)

    def number(self, channel: str, node: str, place: int) -> None:
        """A message of a plain publisher has arrived with its offset, sent by `node`, which begins with PLAIN."""
        queue = self._queues.get(channel)
        if queue is None:
            return
        watch = node.removeprefix(PLAIN)
        if not queue.number(watch, place):
            # Another process has begun the watch before it heard what this one had received.
            queue.lose()
            self._join(queue, ends=watch)
        elif queue.is_numberer and queue.sent < len(queue.entries):
            self._send(queue)

    def receive(self, channel: str, payload: bytes) -> None:
        """A note of a process about the watch of `channel` has arrived. Raises BadRequest."""
        note = decode_note(payload)
        if isinstance(note, Begun):
            self._begin(channel, note)
            return
        queue = self._queues.get(channel)
        if queue is None:
            return
        if isinstance(note, Place):
            queue.asked.pop(note.token, None)
            if note.token == queue.joining and queue.since_note is not None:
                queue.align(note.watch, note.last)
                self._settled(queue)
        elif isinstance(note, LastCall):
            self._called(queue, note)
        elif note.token == queue.joining:
            queue.since_note = 0
        elif note.watch == queue.watch:
            self._answer(queue, note)

    def _begin(self, channel: str, note: Begun) -> None:
        queue = self._queue(channel) if self._is_confirmed(channel) else None
        if queue is not None:
            queue.begin(note.watch, skips=note.skips, is_numberer=note.node == self._node)
            self._settled(queue)

    def _answer(self, queue: PlainQueue, note: Join) -> None:
        queue.asked[note.token] = queue.last
        if queue.is_numberer:
            self._tell(queue, note)
        else:
            asyncio.get_running_loop().call_later(OTHERS_ANSWER_SECONDS, self._tell, queue, note)

    def _tell(self, queue: PlainQueue, note: Join) -> None:
        last = queue.asked.pop(note.token, None)
        if last is not None and queue.watch == note.watch:
            payload = encode_note(Place(note.watch, note.token, last))
            self._commander.publish(self._keys.redis_channel(queue.channel), payload, lambda _: None)

    def _settled(self, queue: PlainQueue) -> None:
        """The places are known."""
        if queue.entries:
            self._busy.add(queue)
        if queue.is_numberer:
            self._send(queue)
        self._end_wait(queue, is_joined=True)

    def _end_wait(self, queue: PlainQueue, *, is_joined: bool) -> None:
        if queue.is_awaited:
            queue.is_awaited = False
            self._joined(queue.channel, is_joined)

    # --- subscriptions and connections

    def join(self, channel: str, ended: str) -> None:
        """Join the watch of `channel`, which is not the one that has `ended`; then call `joined`."""
        queue = self._queue(channel)
        if queue is None:
            return
        queue.is_awaited = True
        if queue.watch is not None and queue.watch != ended:
            self._end_wait(queue, is_joined=True)
            return
        self._busy.add(queue)
        if queue.watch is not None:
            queue.leave()
        self._join(queue)

    def lost(self) -> None:
        """The listener has lost its connection: messages may be missed on every channel."""
        for channel in list(self._queues):
            self.ended(channel)

    def ended(self, channel: str) -> None:
        """The subscription of `channel` has ended: messages may be missed."""
        queue = self._queues.get(channel)
        if queue is not None:
            queue.lose()
            self._end_wait(queue, is_joined=False)

    def forget(self, channel: str) -> None:
        """`channel` is not subscribed any more."""
        queue = self._queues.pop(channel, None)
        if queue is not None:
            queue.lose()
            self._busy.discard(queue)

    def run_known(self) -> None:
        """There is a new connection for commands."""
        for queue in list(self._busy):
            queue.sent = 0
            if queue.is_numberer:
                self._send(queue)

    def sweep(self, now: float) -> None:
        """Join, take over and try again where that is due."""
        for queue in list(self._busy):
            if queue.watch is None:
                self._join(queue)
            elif not queue.entries:
                self._busy.discard(queue)
            elif queue.ends_at is not None and queue.ends_at <= now:
                self._call(queue, queue.watch, self._node)
            elif now - queue.entries[0].heard_at >= TAKE_OVER_SECONDS:
                queue.sent = 0
                self._send(queue)

    def _queue(self, channel: str) -> PlainQueue | None:
        queue = self._queues.get(channel)
        if queue is None:
            rule = self._rules(channel)
            if rule is None:
                return None
            queue = self._queues[channel] = PlainQueue(channel, rule)
        return queue

    # --- joining

    def _end(self, queue: PlainQueue) -> None:
        """Nobody has received everything: end the watch."""
        watch = queue.watch or ""
        queue.leave()
        self._join(queue, ends=watch)

    def _join(self, queue: PlainQueue, ends: str = "") -> None:
        """Join the watch, or begin one in place of the one that `ends`."""
        if queue.joining is not None or self._publisher.run is None or not self._is_confirmed(queue.channel):
            if self._publisher.run is None:
                self._end_wait(queue, is_joined=False)
            return
        queue.joining = token = new_epoch()
        queue.since_note = None
        queue.notes += 1
        words = (
            *(token, self._node, ends, self._keys.redis_channel(queue.channel), int(UNUSED_SECONDS)),
            *(FIRST_PLACE, int(bool(queue.entries))),
        )
        self._publisher.evaluate(
            self._keys.scripts.watch, queue.channel, words, partial(self._join_answered, queue, token)
        )

    def _join_answered(self, queue: PlainQueue, token: str, reply: object) -> None:
        if queue.joining != token:
            return
        if not isinstance(reply, list):
            queue.joining = queue.since_note = None
            self._publisher.script_refused(reply)
            self._end_wait(queue, is_joined=False)
            return
        watch = reply[0].decode()
        if watch == token:
            return  # the note that says so is on its way
        if reply[1] <= 1:
            self._call(queue, watch, token)
        else:
            asyncio.get_running_loop().call_later(ANSWER_SECONDS, self._call_joining, queue, token, watch)

    def _call_joining(self, queue: PlainQueue, token: str, watch: str) -> None:
        if queue.joining != token:
            return
        if queue.notes < MAX_NOTES:
            queue.joining = None
            self._join(queue)
        else:
            self._call(queue, watch, token)

    def _call(self, queue: PlainQueue, watch: str, token: str) -> None:
        """Before the watch is ended: make sure that what this process waits for has not merely been read late."""

        def published(reply: object) -> None:
            if not isinstance(reply, int) and queue.joining == token:
                queue.joining = None

        payload = encode_note(LastCall(watch, token))
        self._commander.publish(self._keys.redis_channel(queue.channel), payload, published)

    def _called(self, queue: PlainQueue, note: LastCall) -> None:
        if note.token == queue.joining:
            self._unanswered(queue, note.token, note.watch)
        elif note == (queue.watch, self._node) and queue.ends_at is not None and queue.ends_at <= self._clock():
            self._end(queue)

    def _unanswered(self, queue: PlainQueue, token: str, watch: str) -> None:
        if queue.joining == token:
            queue.joining = None
            self._join(queue, ends=watch)

    # --- numbering

    def _send(self, queue: PlainQueue) -> None:
        """Send what is not sent; one that is not the numberer sends the first message, to become it."""
        if self._publisher.run is None or queue.watch is None:
            return
        end = min(len(queue.entries), MAX_SENT) if queue.is_numberer else 1
        for index in range(queue.sent, end):
            self._send_one(queue, queue.watch, index)
        queue.sent = max(queue.sent, end)

    def _send_one(self, queue: PlainQueue, watch: str, index: int) -> None:
        place = queue.first + index
        channel, rule = queue.channel, queue.rule
        heard = self._heard(channel) or Position(0, "")
        since = queue.unvouched_since
        is_forced = since is not None and self._clock() - since >= VOUCH_SECONDS
        rest = encode_rest(queue.entries[index].publication, PLAIN + watch, place)
        words = (
            *(rule.limit, max(int(rule.seconds * 1000), 1), self._keys.redis_channel(channel), LIFE_SECONDS),
            *(int(is_forced), heard.epoch, heard.offset, new_epoch(), rest),
            *(watch, place, self._node, int(not queue.is_numberer)),
        )
        head = (b"EVALSHA", self._keys.scripts.number.sha, 2, *self._keys.of(channel), self._publisher.run or "")
        answered = partial(self._numbered, queue, watch, place)
        self._commander.send(pack(*head, *words), answered, is_bound=True)

    def _numbered(self, queue: PlainQueue, watch: str, place: int, reply: object) -> None:
        if queue.watch != watch:
            return
        if isinstance(reply, list) and len(reply) == 2:
            queue.is_numberer = True
            self._send(queue)
        elif isinstance(reply, list):
            self._refused(queue, place, reply[0])
        else:
            self._publisher.script_refused(reply)
            self._try_again(queue)

    def _refused(self, queue: PlainQueue, place: int, reason: object) -> None:
        if reason == 0:
            queue.unvouched_since = queue.unvouched_since or self._clock()
            self._try_again(queue)
        elif reason == b"watch":
            queue.leave()
            self._join(queue)
        elif reason == b"first":
            self._end(queue)
        elif reason == b"numberer":
            queue.is_numberer, queue.sent = False, 0
        elif queue.entries and place == queue.first:
            seconds = MISSING_SECONDS if reason == b"missing" else UNHEARD_SECONDS
            queue.ends_at = queue.ends_at or self._clock() + seconds
            queue.sent = 0

    def _try_again(self, queue: PlainQueue) -> None:
        """Send everything again soon: after one that failed, the script refuses the others."""
        if not queue.is_retrying:
            queue.is_retrying = True
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._retry, queue)

    def _retry(self, queue: PlainQueue) -> None:
        queue.is_retrying = False
        queue.sent = 0
        if queue.entries:
            self._send(queue)
