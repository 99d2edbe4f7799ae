"""The heartbeat over the roster of the test: each client once per round, evenly; deadlines; token expiry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from fastws.counters import Counters
from fastws.hub.roster import Roster
from fastws.transport.heartbeat import BEAT_SECONDS, Heartbeat, ReadProgress
from fastws.transport.websocket import Connection
from tests.serving import OpenRaw, Serve


class Client:
    def __init__(self, name: str) -> None:
        self.id = name
        self.dialect_name, self.codec_name, self.identity = "channels", "json", None
        self.realm = None
        self.looks: list[tuple[int, bool]] = []
        self.is_gone = False
        self.is_expired = False
        self.is_aborted = False
        self.transport = SimpleNamespace(
            abort=self._abort, get_extra_info=lambda name: None, get_write_buffer_size=lambda: 0
        )

    def _abort(self) -> None:
        self.is_aborted = True

    def check_liveness(self, rounds_until_idle: int, *, pings: bool) -> None:
        self.looks.append((rounds_until_idle, pings))

    def expire(self) -> None:
        self.is_expired = True


@pytest.fixture
def roster() -> Roster:
    return Roster()


def add(roster: Roster, *names: str) -> list[Any]:
    clients: list[Any] = [Client(name) for name in names]
    for client in clients:
        roster.add(client)
    return clients


@pytest.fixture
def beating() -> Iterator[list[Heartbeat]]:
    """Heartbeats that the test turns by hand, stopped at its end."""
    made: list[Heartbeat] = []
    yield made
    for heartbeat in made:
        heartbeat.stop()


def heartbeat_of(
    roster: Roster, beating: list[Heartbeat], *, ping_seconds: float = 2.0, idle_seconds: float = 4.0
) -> Heartbeat:
    heartbeat = Heartbeat(roster, Counters(), ping_seconds=ping_seconds, idle_seconds=idle_seconds)
    beating.append(heartbeat)
    return heartbeat


def beat(heartbeat: Heartbeat, times: int = 1) -> None:
    for _ in range(times):
        heartbeat.stop()
        heartbeat._beat()


async def test_each_client_is_checked_once_per_round_and_the_work_is_spread(
    roster: Roster, beating: list[Heartbeat]
) -> None:
    heartbeat = heartbeat_of(roster, beating)
    clients = add(roster, *map(str, range(10)))
    beats = round(1.0 / BEAT_SECONDS)
    for rounds in (1, 2, 3):
        looked = []
        for _ in range(beats):
            before = sum(len(client.looks) for client in clients)
            beat(heartbeat)
            looked.append(sum(len(client.looks) for client in clients) - before)
        assert max(looked) - min(looked) <= 1
        assert all(len(client.looks) == rounds for client in clients)
    assert clients[0].looks[0] == (4, True)


async def test_clients_that_connect_during_a_round_are_checked_in_the_next_and_closed_ones_not_at_all(
    roster: Roster, beating: list[Heartbeat]
) -> None:
    heartbeat = heartbeat_of(roster, beating)
    first, second = add(roster, "first", "second")
    beat(heartbeat)
    [late] = add(roster, "late")
    second.is_gone = True
    beat(heartbeat, 3)
    assert (len(first.looks), len(second.looks), len(late.looks)) == (1, 0, 0)
    beat(heartbeat, 4)
    assert (len(first.looks), len(late.looks)) == (2, 1)


@pytest.mark.parametrize(
    ("ping", "idle", "round_seconds", "rounds", "pings"),
    [
        (30.0, 120.0, 15.0, 8, True),
        (0.0, 120.0, 30.0, 4, False),
        (30.0, 0.0, 15.0, 1 << 30, True),
        (30.0, 30.0, 7.5, 4, True),
    ],
)
async def test_rounds_follow_from_the_settings(
    roster: Roster, beating: list[Heartbeat], ping: float, idle: float, round_seconds: float, rounds: int, pings: bool
) -> None:
    heartbeat = heartbeat_of(roster, beating, ping_seconds=ping, idle_seconds=idle)
    [client] = add(roster, "a")
    assert heartbeat.round_seconds == round_seconds
    beat(heartbeat)
    assert client.looks == [(rounds, pings)]


async def test_connections_past_their_deadline_are_aborted_and_the_earliest_deadline_counts(
    roster: Roster, beating: list[Heartbeat]
) -> None:
    heartbeat = heartbeat_of(roster, beating)
    overdue, patient, forgotten = (Client(name) for name in "abc")
    ending: Any
    for ending, seconds in ((overdue, 60), (overdue, 0), (overdue, 60), (patient, 60), (forgotten, 0)):
        heartbeat.abort_after(ending, seconds)
    ending = forgotten
    heartbeat.forget(ending)
    beat(heartbeat)
    assert (overdue.is_aborted, patient.is_aborted, forgotten.is_aborted) == (True, False, False)
    heartbeat.abort_all()
    assert patient.is_aborted


async def test_tokens_expire_at_their_moment_and_a_new_one_moves_it(roster: Roster, beating: list[Heartbeat]) -> None:
    heartbeat = heartbeat_of(roster, beating)
    expired, fresh = add(roster, "expired", "fresh")
    now = time.time()
    heartbeat.watch_expiry(expired, now - 1)
    heartbeat.watch_expiry(fresh, now - 1)
    heartbeat.watch_expiry(fresh, now + 60)
    beat(heartbeat)
    assert (expired.is_expired, fresh.is_expired) == (True, False)


async def test_an_error_with_one_client_does_not_stop_the_heart(roster: Roster, beating: list[Heartbeat]) -> None:
    heartbeat = heartbeat_of(roster, beating)
    broken, well = add(roster, "broken", "well")
    broken.check_liveness = None
    beat(heartbeat, 8)
    assert len(well.looks) >= 1


@pytest.mark.parametrize(
    ("before", "now", "is_advancing"),
    [
        (ReadProgress(100, 50), ReadProgress(100, 50), False),  # nothing taken
        (ReadProgress(100, 50), ReadProgress(100, 900), False),  # nothing taken, more came
        (ReadProgress(100, 50), ReadProgress(101, 49), True),
        (ReadProgress(100, 50), ReadProgress(149, 900), True),
        (ReadProgress(100, 50), ReadProgress(150, 900), False),  # all that waited then is taken, the ping too
        (ReadProgress(100, 0), ReadProgress(120, 0), False),  # what came since went through at once
        (ReadProgress(100, 50), ReadProgress(-20, 50), False),  # another outbox since
    ],
)
def test_a_peer_is_advancing_while_it_receives_what_was_waiting(
    before: ReadProgress, now: ReadProgress, *, is_advancing: bool
) -> None:
    assert now.is_advancing(before) is is_advancing


async def test_progress_is_remembered_only_for_clients_with_waiting_data_until_they_have_left(
    serve: Serve, open_raw: OpenRaw
) -> None:
    server = await serve(allow_anonymous=True, max_queue_bytes=64_000_000)
    raw = await open_raw(server, limit=4096, buffer_bytes=4096)
    [connection] = server.roster
    assert isinstance(connection, Connection)
    assert not server.heartbeat.is_catching_up(connection)
    assert server.heartbeat._progress == {}
    while connection.outbox is None:
        await server.broadcaster.send(connection.id, "e", "x" * 100_000)
    assert not server.heartbeat.is_catching_up(connection)
    assert list(server.heartbeat._progress) == [connection]
    raw.writer.transport.abort()
    while server.gate.open_connections:
        await asyncio.sleep(0)
    assert server.heartbeat._progress == {}
