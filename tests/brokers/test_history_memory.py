"""The memory of a history: it takes what is counted, and at most 300 bytes more than the body for each publication."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from fastws.brokers.envelope import decode_numbered, encode_rest
from fastws.brokers.history import HistoryRule, HistoryRules, MemoryHistory
from fastws.brokers.redis.tail import Heard, Memory, Tail
from fastws.vocabulary.positions import Position
from fastws.vocabulary.publication import Publication

COUNT = 2000
MAX_OVERHEAD = 300


def history() -> MemoryHistory:
    return MemoryHistory(
        HistoryRules([(None, HistoryRule(COUNT, 60.0))]),
        max_bytes=10**9,
        recover_limit=1000,
        count=lambda channel: 0,
        gap=lambda channel, position: None,
        clock=lambda: 0.0,
    )


def publication(number: int, size: int, channel: str = "c") -> Publication:
    return Publication(channel, "event", {"n": number, "text": "x" * size}, sender=None, timestamp=1.0)


@pytest.mark.parametrize("size", [10, 1000])
def test_a_kept_publication_takes_what_is_counted(size: int) -> None:
    kept = history()
    rule = HistoryRule(COUNT, 60.0)
    kept.keep(publication(0, size), rule)
    before = kept.bytes
    gc.collect()
    tracemalloc.start()
    start, _ = tracemalloc.get_traced_memory()
    for number in range(1, COUNT):
        kept.keep(publication(number, size), rule)
    end, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    taken, counted = (end - start) / (COUNT - 1), (kept.bytes - before) / (COUNT - 1)
    body = len(b'{"n":1000,"text":""}') + size
    assert taken <= body + MAX_OVERHEAD, taken
    assert taken <= counted <= taken + 100, (taken, counted)


def test_a_numbering_takes_what_is_counted() -> None:
    kept = history()
    gc.collect()
    tracemalloc.start()
    start, _ = tracemalloc.get_traced_memory()
    for number in range(COUNT):
        kept.heard(f"channel-{number}")
    end, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    taken, counted = (end - start) / COUNT, kept.bytes / COUNT
    assert taken <= counted <= taken + 400, (taken, counted)


def test_a_publication_in_the_tail_of_a_process_takes_what_is_counted() -> None:
    memory = Memory()
    tail = Tail("c", HistoryRule(COUNT, 60.0), memory)
    tail.begin(Position(0, "e"))
    payloads = [
        b"\xc1\x02" + number.to_bytes(8, "big") + b"\x01e" + encode_rest(publication(number, 100), "node", number)
        for number in range(1, COUNT)
    ]
    gc.collect()
    tracemalloc.start()
    start, _ = tracemalloc.get_traced_memory()
    for payload in payloads:
        found = decode_numbered(payload, "c")
        assert hasattr(found, "publication")
        tail.append(Heard(found.publication, found.position, (found.node, found.number)), 0.0)
    end, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    taken, counted = (end - start) / len(payloads), memory.bytes / len(payloads)
    assert taken <= 120 + MAX_OVERHEAD, taken
    assert taken <= counted <= taken + 100, (taken, counted)
