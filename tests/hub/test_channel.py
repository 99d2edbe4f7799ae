"""Channels: their number of subscribers, and the estimate of how large a publication is."""

from __future__ import annotations

import pytest

from fastws.hub.channel import Audience, Channel, rough_bytes
from fastws.vocabulary.publication import Encoded
from tests.hub.members import LineForm, Listener


def test_subscribers_are_those_of_all_audiences() -> None:
    channel = Channel("news", "disconnect", 0.0)
    for number, form in enumerate((LineForm("a"), LineForm("b")), start=1):
        audience = channel.audiences[(form, None)] = Audience(channel, form, None)
        audience.members.update(dict.fromkeys(Listener(str(count)) for count in range(number)))
    assert channel.subscribers == 3


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (None, 4),
        (12345, 4),
        ("abc", 5),
        (b"abcd", 6),
        ([1, "ab", ["c"]], 4 + 4 + 3),
        ({"key": "value", "n": (1.5, True)}, 5 + 3 + 7 + 4 + 4),
        (Encoded("json", b'{"a":1}'), 7),
        ([], 0),
    ],
)
def test_the_size_of_data_is_estimated_by_its_values(data: object, size: int) -> None:
    assert rough_bytes(data) == size
