"""Rendezvous hashing: spread, stable, and the smallest moves."""

from __future__ import annotations

from collections import Counter

from fastws.rendezvous import position_of, score

THREE = ["redis://a:6379/0", "redis://b:6379/0", "redis://c:6379/0"]
CHANNELS = [f"chat:{number}" for number in range(3000)]


def test_scores_are_those_of_the_documentation() -> None:
    """Other programs compute them too: a change would move every channel."""
    assert score("redis://a:6379/0", "chat:1").hex() == "fddc86bb46fa4e6f"
    assert [position_of(channel, THREE) for channel in CHANNELS[:12]] == [0, 0, 2, 0, 1, 1, 0, 2, 1, 0, 0, 1]


def test_channels_are_spread_evenly() -> None:
    counts = Counter(position_of(channel, THREE) for channel in CHANNELS)
    assert all(900 < count < 1100 for count in counts.values())


def test_the_order_does_not_matter() -> None:
    turned = THREE[::-1]
    assert all(THREE[position_of(c, THREE)] == turned[position_of(c, turned)] for c in CHANNELS)


def test_one_more_takes_its_share_and_moves_nothing_else() -> None:
    four = [*THREE, "redis://d:6379/0"]
    moved = [c for c in CHANNELS if THREE[position_of(c, THREE)] != four[position_of(c, four)]]
    assert all(four[position_of(c, four)] == four[3] for c in moved)
    assert 600 < len(moved) < 900


def test_a_surrogate_in_a_name_is_no_error() -> None:
    assert position_of("\ud800", THREE) in (0, 1, 2)
