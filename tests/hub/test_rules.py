"""The rules for a channel, found by its name."""

from __future__ import annotations

from fastws.hub.rules import Rules


def test_without_rules_slow_clients_are_disconnected_and_nothing_is_held_back() -> None:
    rules = Rules()
    assert rules.policy("news") == "disconnect"
    assert rules.flush_seconds("news") == 0.0


def test_the_first_pattern_that_covers_a_name_decides() -> None:
    rules = Rules([("logs:*", "drop_oldest"), ("**", "conflate")], [("logs:**", 0.1)])
    assert rules.policy("logs:1") == "drop_oldest"
    assert rules.policy("logs:1:2") == "conflate"
    assert rules.flush_seconds("logs:1:2") == 0.1
    assert rules.flush_seconds("news") == 0.0


def test_a_default_applies_to_names_that_no_pattern_covers_in_any_position() -> None:
    for table in ([(None, "drop_newest"), ("logs", "conflate")], [("logs", "conflate"), (None, "drop_newest")]):
        rules = Rules(table)
        assert rules.policy("logs") == "conflate"
        assert rules.policy("news") == "drop_newest"
