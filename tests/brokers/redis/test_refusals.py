"""What Redis's ACL refuses: logged once, asked for again with backoff, forgotten when it is heard or dropped."""

from __future__ import annotations

from structlog.testing import capture_logs

from fastws.brokers.redis.refusals import MAX_LOGGED, MAX_RETRY_SECONDS, RETRIES, RedisRefusals
from fastws.brokers.redis.wire.listener import Names

BAD: Names = (b"ours", b"bad")


class Bench:
    """Refusals with a clock of the test's own. `asked` are the times of tries."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[tuple[float, Names]] = []
        self.refusals = RedisRefusals(
            lambda names: self.asked.append((self.now, names)), lambda: self.now, "ACL SETUSER u &*"
        )

    def run_until(self, end: float, *, is_refused: bool = True) -> list[float]:
        """A sweep a second; the times of tries since the last call, each of which is refused again."""
        while self.now < end:
            self.now += 1.0
            known = len(self.asked)
            self.refusals.sweep(self.now)
            for _, names in self.asked[known:]:
                if is_refused:
                    self.refusals.refused(names, names[-1], "NOPERM")
        times = [at for at, _ in self.asked]
        self.asked.clear()
        return times


def test_refused_names_are_asked_for_again_each_time_later() -> None:
    bench = Bench()
    bench.refusals.refused(BAD, b"bad", "NOPERM")
    assert bench.run_until(130.0) == [1.0, 3.0, 7.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0, 105.0, 120.0]
    assert MAX_RETRY_SECONDS == 15.0


def test_refusal_by_a_new_connection_makes_no_second_row_of_tries() -> None:
    bench = Bench()
    for _ in range(3):
        bench.refusals.refused(BAD, b"bad", "NOPERM")
    assert bench.run_until(20.0) == [4.0, 12.0]


def test_what_is_heard_or_dropped_is_not_asked_for_again() -> None:
    bench = Bench()
    for end in (bench.refusals.accepted, bench.refusals.forget):
        bench.refusals.refused(BAD, b"bad", "NOPERM")
        bench.refusals.refused((b"other",), b"other", "NOPERM")
        assert BAD in bench.refusals
        end(BAD)
        assert BAD not in bench.refusals
        assert len(bench.refusals) == 1
        bench.run_until(bench.now + 1.0, is_refused=False)
        bench.refusals.forget((b"other",))
        assert bench.run_until(bench.now + 60.0) == []


def test_one_sweep_asks_for_a_bounded_number() -> None:
    bench = Bench()
    for number in range(RETRIES + 1):
        bench.refusals.refused((b"%d" % number,), b"%d" % number, "NOPERM")
    assert len(bench.run_until(1.0, is_refused=False)) == RETRIES
    assert len(bench.run_until(2.0, is_refused=False)) == 1


def test_each_name_is_logged_once_with_the_remedy_until_it_is_heard() -> None:
    bench = Bench()
    with capture_logs() as logs:
        for _ in range(3):
            bench.refusals.refused(BAD, b"bad", "NOPERM no")
        bench.refusals.accepted(BAD)
        bench.refusals.refused(BAD, b"bad", "NOPERM no")
    assert len(logs) == 2
    assert logs[0] == {
        "event": "redis refuses a channel",
        "log_level": "error",
        "command": "SUBSCRIBE",
        "channel": "bad",
        "reason": "NOPERM no",
        "remedy": "ACL SETUSER u &*",
    }


def test_names_that_clients_choose_do_not_fill_the_log() -> None:
    bench = Bench()
    with capture_logs() as logs:
        for number in range(MAX_LOGGED + 50):
            bench.refusals.refused((b"%d" % number,), b"%d" % number, "NOPERM")
    assert len(logs) == MAX_LOGGED
