"""Tables of channel patterns."""

from __future__ import annotations

from fastws.vocabulary import channel_table
from fastws.vocabulary.channel_table import ChannelTable


def test_the_first_pattern_that_matches_decides() -> None:
    table = ChannelTable([("logs:a", None), ("logs:**", 1), (None, 2), ("news", 3)])
    for _ in range(2):  # found, then remembered
        assert [table(channel) for channel in ("logs:a", "logs:b", "logs:b:c", "news")] == [None, 1, 1, 2]
    assert ChannelTable[int]([("logs:*", 1)])("news") is None


def test_what_is_remembered_is_bounded() -> None:
    table = ChannelTable([("logs:**", 1)])
    for number in range(channel_table.MAX_REMEMBERED * 2 + 1):
        assert table(f"logs:{number}") == 1
    assert len(table._known) <= channel_table.MAX_REMEMBERED
