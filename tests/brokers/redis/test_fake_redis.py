"""The Redis of the model answers and publishes what a real one does."""

from __future__ import annotations

import random
from typing import Any

import pytest
import redis

from fastws.brokers.redis.history_scripts import CLASSIC, CLEAR, PAGE, PUBLISH, READ, HistoryKeys
from tests.brokers.redis.fake_redis import FakeRedis
from tests.redis_server import RedisServer

KEYS = HistoryKeys(b"fastws:").of("c")
NAME = b"fastws:channel:c"
# Where the answers have the milliseconds that the stream has left.
LEFT_BY_READ, LEFT_BY_PAGE = 2, 5


class Both:
    """One real Redis and the fake, given the same commands."""

    def __init__(self, server: RedisServer) -> None:
        self.client = server.client()
        self.fake = FakeRedis(lambda: 0.0)
        self.published: list[bytes] = []
        self.fake.published = lambda name, payload: self.published.append(payload) or 0  # type: ignore[func-returns-value]
        self.messages = self.client.pubsub(ignore_subscribe_messages=True)
        self.messages.subscribe(NAME)
        self.messages.get_message(timeout=5.0)
        for script in CLASSIC:
            self.client.script_load(script.text)
            self.fake.execute([b"SCRIPT", b"LOAD", script.text])

    def evaluate(self, sha: bytes, *arguments: object) -> Any:
        words = [str(word).encode() if not isinstance(word, bytes) else word for word in arguments]
        found = self.client.evalsha(sha.decode(), 2, *KEYS, *words)
        expected = self.fake.evaluate(sha, KEYS[0], words)
        left = {READ.sha: LEFT_BY_READ, PAGE.sha: LEFT_BY_PAGE}.get(sha)
        if left is not None and len(found) > left:
            assert (found[left] > 0) == (expected[left] > 0)
            found[left] = expected[left]
        assert found == expected
        return found

    def heard(self) -> list[bytes]:
        """What the real one has published since the last call."""
        self.client.publish(NAME, b"end")
        heard: list[bytes] = []
        while (message := self.messages.get_message(timeout=5.0)) is None or message["data"] != b"end":
            if message is not None:
                heard.append(message["data"])
        return heard


@pytest.mark.parametrize("seed", range(8))
def test_both_answer_and_publish_the_same(redis_server: RedisServer, seed: int) -> None:
    chosen = random.Random(seed)
    both = Both(redis_server)
    epochs: list[bytes] = [b"", b"other"]
    for number in range(150):
        fresh = b"e%d" % number
        run = chosen.choice([b"run-1", b"run-1", b"run-1", b"run-2"])
        heard = (chosen.choice(epochs[-3:]), chosen.randrange(12), chosen.randrange(2))
        match chosen.randrange(8):
            case 0 | 1 | 2 | 3:
                epoch, top, forced = heard
                life = chosen.choice([b"", b"3600"])
                words = (run, 5, 60_000, NAME, life, forced, epoch, top, fresh)
                rests = [b"rest %d.%d" % (number, place) for place in range(chosen.choice([1, 1, 2, 7]))]
                both.evaluate(PUBLISH.sha, *words, *rests)
            case 4 | 5:
                after = chosen.choice([-3, -5, 0, 1, 4, 9])
                count = abs(after) if after < 0 else chosen.choice([0, 2, 1000])
                both.evaluate(READ.sha, run, fresh, *heard, after, count, NAME, 3600, 60, "")
            case 6:
                start, end = chosen.choice([("-", "+"), ("3-0", "+"), ("-", "4-0"), ("-", "0-0"), ("90-0", "+")])
                both.evaluate(PAGE.sha, chosen.randrange(2), start, end, chosen.randrange(1, 6), NAME)
            case 7:
                both.evaluate(CLEAR.sha, run, fresh, chosen.choice([b"", *epochs[-2:]]), NAME, 60)
        epochs.extend(numbering.epoch for numbering in both.fake.numberings.values())
    assert both.heard() == both.published
    assert len(both.published) > 50


def test_a_script_that_is_not_loaded_is_refused_by_both(redis_server: RedisServer) -> None:
    both = Both(redis_server)
    both.client.script_flush()
    both.fake.scripts.clear()
    with pytest.raises(redis.exceptions.NoScriptError):
        both.client.evalsha(PAGE.sha.decode(), 2, *KEYS, 0, "-", "+", 1, NAME)
    assert str(both.fake.evaluate(PAGE.sha, KEYS[0], [b"0", b"-", b"+", b"1", NAME])).startswith("NOSCRIPT")
