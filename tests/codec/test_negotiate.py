"""Which codec a client speaks."""

from __future__ import annotations

import pytest

from fastws.codec.json_text import JSON
from fastws.codec.msgpack_binary import MSGPACK
from fastws.codec.negotiate import negotiate
from fastws.errors import BadRequest


def test_json_is_what_is_spoken_where_nothing_is_said() -> None:
    assert negotiate([], None) == (JSON, None)
    assert negotiate(["graphql-ws", "fastws.token.x"], None) == (JSON, None)


def test_the_first_subprotocol_of_ours_is_selected_and_wins_over_the_format() -> None:
    assert negotiate(["x", "fastws.msgpack", "fastws.json"], "json") == (MSGPACK, "fastws.msgpack")
    assert negotiate(["fastws.json", "fastws.msgpack"], "msgpack") == (JSON, "fastws.json")


def test_the_format_is_for_clients_that_cannot_offer_a_subprotocol() -> None:
    assert negotiate([], "msgpack") == (MSGPACK, None)
    assert negotiate(["other"], "json") == (JSON, None)


@pytest.mark.parametrize("format_name", ["", "JSON", "xml"])
def test_another_format_is_refused(format_name: str) -> None:
    with pytest.raises(BadRequest, match="`format`"):
        negotiate([], format_name)
