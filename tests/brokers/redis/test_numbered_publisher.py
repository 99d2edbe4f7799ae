"""Publishing on channels with a history: order, a new run of Redis, scripts that Redis has forgotten."""

from __future__ import annotations

from fastws.brokers.history import HistoryRule
from fastws.brokers.redis.numbered_publisher import RELOAD_SECONDS
from fastws.vocabulary.positions import Position
from tests.brokers.redis.history_cluster import Cluster

RULE = HistoryRule(100, 60.0)


def publish(cluster: Cluster, *numbers: int) -> None:
    for number in numbers:
        cluster.step(lambda number=number: cluster.processes[0].publish(number))


def offsets(cluster: Cluster) -> list[int]:
    """The numbers that were published, in the order of their offsets in the last epoch."""
    top = cluster.top
    assert top is not None
    return [data["n"] for position, data in sorted(cluster.truth.items()) if position.epoch == top.epoch]


def test_the_first_in_a_run_goes_alone_and_the_others_follow_in_order() -> None:
    cluster = Cluster(RULE)
    cluster.settle()
    publish(cluster, 1, 2, 3)
    assert cluster.processes[0].commands is not None
    assert len(cluster.processes[0].commands.commands) == 1
    cluster.settle()
    publish(cluster, 4, 5)
    assert len(cluster.processes[0].commands.commands) == 2
    cluster.settle()
    assert offsets(cluster) == [1, 2, 3, 4, 5]


def test_a_numbering_that_nobody_vouches_for_ends_after_a_second_without_a_change_of_order() -> None:
    cluster = Cluster(RULE)
    cluster.settle()
    publish(cluster, 1)
    cluster.settle()
    before = cluster.top
    cluster.step(lambda: cluster.processes[0].lose_commander(0))
    cluster.redis.restart(cluster.redis.saved())
    cluster.connect()
    publish(cluster, 2, 3, 4)
    for _ in range(15):
        cluster.settle()
        cluster.advance(0.1)
    assert before is not None
    assert cluster.top is not None
    assert cluster.top.epoch != before.epoch
    assert offsets(cluster) == [2, 3, 4]
    assert [ticket.position for ticket in cluster.processes[0].tickets[1:]] == [
        Position(offset, cluster.top.epoch) for offset in (1, 2, 3)
    ]


def test_a_numbering_that_another_process_has_heard_goes_on() -> None:
    cluster = Cluster(RULE)
    cluster.settle()
    cluster.step(lambda: cluster.processes[1].join(None))
    cluster.settle()
    publish(cluster, 1)
    cluster.settle()
    before = cluster.top
    for process in cluster.processes:
        cluster.step(lambda process=process: process.lose_commander(0))
    cluster.redis.restart(cluster.redis.saved())
    cluster.connect()
    publish(cluster, 2)
    cluster.settle()
    cluster.advance(0.2)
    cluster.settle()
    assert before is not None
    assert cluster.top == Position(2, before.epoch)


def test_scripts_that_redis_has_forgotten_are_loaded_again_by_whatever_needs_them() -> None:
    cluster = Cluster(RULE)
    cluster.settle()
    cluster.advance(RELOAD_SECONDS)
    cluster.redis.scripts.clear()
    answers: list[object] = []
    cluster.step(lambda: cluster.processes[0].history.page("c", None, 10, is_reverse=False, answer=answers.append))
    cluster.settle()
    assert isinstance(answers[0], Exception)
    publish(cluster, 1)
    cluster.settle()
    assert cluster.processes[0].tickets[0].position is not None
