import asyncio

import pytest

from fastws.client.inbox import Inbox
from fastws.client.positions import Mark, Position


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


def mark(offset, channel="c"):
    return Mark(channel, Position(offset, "x"))


async def test_messages_with_a_position_are_never_dropped_and_fill_it():
    inbox = inbox_of(2)
    inbox.put(number(1), mark(1))
    inbox.put(number(2))
    inbox.put(number(3), mark(3))
    assert (inbox.dropped_total, inbox.is_full()) == (1, True)
    inbox.put(number(4), mark(4))
    inbox.put(number(5))
    inbox.put(number(6))
    assert (inbox.is_full(), inbox.is_full(2), len(inbox)) == (True, False, 4)
    inbox.room.clear()
    assert await inbox.take() == {"type": "lag", "dropped": 2}
    assert [await inbox.take() for _ in range(4)] == [number(1), number(3), number(4), number(6)]
    assert inbox.room.is_set()
    assert not inbox.is_full()
    assert inbox.positions == {"c": Position(4, "x")}


async def test_positions_that_move_without_a_message_wait_for_what_came_before():
    inbox = inbox_of(2)
    inbox.move(mark(1))
    inbox.settle()
    assert inbox.positions == {"c": Position(1, "x")}
    inbox.put(number(2), mark(2))
    inbox.move(Mark("c", None))
    inbox.settle()
    assert inbox.positions == {"c": Position(1, "x")}
    entries = await inbox.take_entries()
    assert inbox.positions == {"c": Position(1, "x")}
    inbox.apply(entries[0])
    assert inbox.positions == {"c": Position(2, "x")}
    inbox.apply(entries[1])
    assert inbox.positions == {}


async def test_readers_wait_for_a_message_that_is_not_known_yet_and_get_it_in_its_place():
    inbox = inbox_of(3)
    inbox.put(number(1))
    inbox.hold()
    inbox.hold()
    inbox.put(number(3), mark(3))
    assert await inbox.take_all() == [number(1)]
    reading = asyncio.create_task(inbox.take())
    await asyncio.sleep(0)
    assert not reading.done()
    inbox.release(number(2))
    assert await reading == number(2)
    assert await inbox.take() == number(3)


@pytest.mark.parametrize("is_ended", [True, False])
async def test_without_that_message_readers_get_what_came_after_it(is_ended):
    inbox = inbox_of(3)
    inbox.hold()
    inbox.put(number(3))
    if is_ended:
        inbox.end(None)
        inbox.hold()
    else:
        inbox.release(None)
    assert await inbox.take() == number(3)


async def test_while_readers_wait_for_such_a_message_it_is_never_full():
    inbox = inbox_of(1)
    inbox.hold()
    inbox.put(number(1), mark(1))
    assert not inbox.is_full()
    inbox.release(None)
    assert inbox.is_full()


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
