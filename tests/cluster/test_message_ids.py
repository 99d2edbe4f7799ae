"""Message ids in memory: first once, waited for while under way, free again after a refusal."""

from __future__ import annotations

import asyncio

from fastws.cluster.message_ids import MAX_MESSAGE_IDS, REMEMBERED_SECONDS, MessageIds

DONE = {"sent": 5, "failed": 0, "stale": 0}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_the_second_try_gets_the_outcome_of_the_first() -> None:
    ids = MessageIds()
    assert await ids.reserve("m1") is None
    assert await ids.reserve("m2") is None
    ids.record_outcome("m1", DONE)
    assert await ids.reserve("m1") == DONE
    assert await ids.reserve("m1") == DONE


async def test_a_try_during_the_first_waits_for_its_outcome() -> None:
    ids = MessageIds()
    assert await ids.reserve("m1") is None
    others = [asyncio.ensure_future(ids.reserve("m1")) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(other.done() for other in others)
    ids.record_outcome("m1", DONE)
    assert await asyncio.gather(*others) == [DONE, DONE, DONE]


async def test_after_a_refusal_exactly_one_waiting_try_starts() -> None:
    ids = MessageIds()
    assert await ids.reserve("m1") is None
    others = [asyncio.ensure_future(ids.reserve("m1")) for _ in range(3)]
    await asyncio.sleep(0)
    ids.record_outcome("m1", None)
    done, waiting = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
    assert [other.result() for other in done] == [None]
    ids.record_outcome("m1", DONE)
    assert [await other for other in waiting] == [DONE, DONE]


async def test_an_id_is_free_again_after_five_minutes_and_not_before() -> None:
    clock = Clock()
    ids = MessageIds(clock)
    assert await ids.reserve("m1") is None
    ids.record_outcome("m1", DONE)
    clock.now += REMEMBERED_SECONDS - 1
    assert await ids.reserve("m1") == DONE
    clock.now += 1
    assert await ids.reserve("m1") is None


async def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    ids = MessageIds(Clock())
    for number in range(MAX_MESSAGE_IDS + 1):
        assert await ids.reserve(f"m{number}") is None
        ids.record_outcome(f"m{number}", DONE)
    assert await ids.reserve("m1") == DONE
    assert await ids.reserve("m0") is None
    assert len(ids._tries) == MAX_MESSAGE_IDS


async def test_a_try_that_is_left_is_not_made_again() -> None:
    ids = MessageIds()
    assert await ids.reserve("m1") is None
    other = asyncio.ensure_future(ids.reserve("m1"))
    await asyncio.sleep(0)
    ids.leave("m1")
    duplicate = {"sent": 0, "failed": 0, "stale": 0, "duplicate": 1}
    assert await other == duplicate
    assert await ids.reserve("m1") == duplicate
