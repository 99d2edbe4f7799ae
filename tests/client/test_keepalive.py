import asyncio
import selectors

import pytest

from fastws.client.keepalive import keep_alive


class VirtualSelector(selectors.DefaultSelector):
    """Instead of waiting it moves the clock."""

    now = 0.0

    def select(self, timeout=None):
        self.now += timeout or 0.0
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self):
        self.virtual = VirtualSelector()
        super().__init__(self.virtual)

    def time(self):
        return self.virtual.now


class Transport:
    aborted_at = None

    def abort(self):
        self.aborted_at = asyncio.get_running_loop().time()


class Connection:
    """Bytes arrive at the times in `arrivals`; `pongs`: each ping is answered at once."""

    def __init__(self, arrivals=(), *, pongs=False, takes_bytes=True):
        self.received_at = 0.0
        self.is_paused = False
        self.pings = []
        self.transport = Transport()
        self.pongs = pongs
        self.takes_bytes = takes_bytes
        for moment in arrivals:
            asyncio.get_running_loop().call_at(moment, self.arrive)

    def arrive(self):
        self.received_at = asyncio.get_running_loop().time()

    async def ping(self):
        self.pings.append(round(asyncio.get_running_loop().time()))
        if not self.takes_bytes:
            await asyncio.Event().wait()
        if self.pongs:
            self.arrive()


def live(seconds, timeout=20.0, **connection):
    """A connection that was kept alive for so long, and whether it still is."""

    async def run():
        made = Connection(**connection)
        keeping = asyncio.create_task(keep_alive(made, 20.0, timeout))
        await asyncio.wait([keeping], timeout=seconds)
        if keeping.done():
            keeping.result()
        keeping.cancel()
        return made

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(run())


def test_a_mute_connection_is_given_up_a_while_after_the_ping(caplog):
    connection = live(100)
    assert connection.pings == [20]
    assert connection.transport.aborted_at == pytest.approx(40)
    assert "aborted" in caplog.text


def test_one_that_answers_is_kept():
    connection = live(1000, pongs=True)
    assert connection.transport.aborted_at is None
    assert len(connection.pings) > 20


def test_bytes_of_a_message_that_takes_minutes_are_a_sign_of_life():
    connection = live(300, arrivals=range(0, 300, 15))
    assert connection.transport.aborted_at is None
    assert connection.pings == []


def test_slow_bytes_between_the_pings_are_too_and_when_they_end_so_does_the_connection():
    connection = live(500, arrivals=range(0, 200, 30))
    assert connection.transport.aborted_at == pytest.approx(180 + 40)


def test_a_peer_that_takes_no_bytes_is_given_up_too():
    assert live(100, takes_bytes=False).transport.aborted_at == pytest.approx(40)


def test_without_a_timeout_nothing_is_given_up():
    assert live(1000, timeout=None).transport.aborted_at is None


def test_one_that_the_client_does_not_read_on_purpose_is_neither_pinged_nor_given_up():
    async def run():
        made = Connection()
        made.is_paused = True
        keeping = asyncio.create_task(keep_alive(made, 20.0, 20.0))
        await asyncio.wait([keeping], timeout=200)
        assert (made.pings, made.transport.aborted_at) == ([], None)
        made.is_paused = False
        made.arrive()
        await asyncio.wait([keeping], timeout=30)
        assert made.pings == [220]
        made.is_paused = True
        await asyncio.wait([keeping], timeout=100)
        assert made.transport.aborted_at is None
        keeping.cancel()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())
