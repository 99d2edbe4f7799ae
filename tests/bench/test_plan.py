"""What a run is to do, and what cannot be done."""

from __future__ import annotations

import pytest

from fastws.bench.plan import Plan
from fastws.errors import ConfigError

URLS = ("ws://127.0.0.1:1/",)


def test_plan_survives_the_way_to_another_process() -> None:
    plan = Plan(urls=URLS, connections=7, token="t", slow_fraction=0.5)
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"urls": ("http://x/",)}, "URL"),
        ({"urls": ("ws://",)}, "URL"),
        ({"urls": ("ws://x/?format=msgpack",)}, "URL"),
        ({"urls": ("ws://x/?format=json", "ws://x/?format=msgpack")}, "URL"),
        ({"connections": 0}, "--connections"),
        ({"channels": 11}, "--channels"),
        ({"payload_bytes": 25}, "--payload"),
        ({"rate": -1.0}, "--rate"),
        ({"slow_fraction": 1.0}, "--slow-fraction"),
        ({"slow_fraction": 0.9, "channels": 10}, "--slow-fraction"),
    ],
)
def test_plan_that_cannot_be_is_refused_by_name(fields: dict[str, object], named: str) -> None:
    plan = Plan(**{"urls": URLS, "connections": 10, **fields})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=named):
        plan.check()


@pytest.mark.parametrize("channels", [1, 3, 10])
def test_slow_receivers_are_the_asked_share_and_spread_over_channels(channels: int) -> None:
    plan = Plan(urls=URLS, connections=300, channels=channels, slow_fraction=0.2)
    slow = [index for index in range(300) if plan.is_slow(index)]
    assert 55 <= len(slow) <= 65
    assert {plan.channel_of(index) for index in slow} == set(range(channels))


def test_shares_of_the_processes_are_all_receivers_once() -> None:
    plan = Plan(urls=URLS, connections=11, processes=3)
    assert sorted(index for process in range(3) for index in plan.share(process)) == list(range(11))


@pytest.mark.parametrize("messages", [0, 1, 5, 12])
def test_messages_of_all_channels_add_up(messages: int) -> None:
    plan = Plan(urls=URLS, connections=5, channels=5)
    assert sum(plan.published_to(channel, messages) for channel in range(5)) == messages
    assert plan.published_to(0, messages) == len([m for m in range(messages) if m % 5 == 0])
