import asyncio

import pytest

from fastws.client.inbox import Inbox


def inbox_of(limit):
    return Inbox(limit, lambda dropped: {"type": "lag", "dropped": dropped})


def number(n):
    return {"n": n}


async def test_messages_come_out_in_order():
    inbox = inbox_of(3)
    for n in range(3):
        inbox.put(number(n))
    assert [await inbox.take() for _ in range(3)] == [number(0), number(1), number(2)]
    assert inbox.dropped_total == 0


async def test_the_oldest_are_dropped_and_a_notice_counts_them_in_their_place():
    inbox = inbox_of(2)
    for n in range(5):
        inbox.put(number(n))
    assert await inbox.take() == {"type": "lag", "dropped": 3}
    assert await inbox.take() == number(3)
    inbox.put(number(5))
    inbox.put(number(6))
    assert await inbox.take_all() == [{"type": "lag", "dropped": 1}, number(5), number(6)]
    assert inbox.dropped_total == 4
    assert len(inbox) == 0


async def test_a_reader_waits_for_the_next():
    inbox = inbox_of(2)
    reading = asyncio.create_task(inbox.take())
    await asyncio.sleep(0)
    assert not reading.done()
    inbox.put(number(1))
    assert await reading == number(1)


async def test_after_the_end_what_waits_is_read_first():
    inbox = inbox_of(2)
    inbox.put(number(1))
    inbox.end(None)
    inbox.end(ValueError("too late to matter"))
    assert await inbox.take() == number(1)
    for read in (inbox.take, inbox.take_all, inbox.take):
        with pytest.raises(StopAsyncIteration):
            await read()


async def test_every_waiting_reader_gets_the_error():
    inbox = inbox_of(2)
    readers = [asyncio.create_task(inbox.take()) for _ in range(2)]
    await asyncio.sleep(0)
    inbox.end(LookupError("gone"))
    results = await asyncio.gather(*readers, return_exceptions=True)
    assert [str(result) for result in results] == ["gone", "gone"]
