"""Connection ids say which process has the connection."""

from __future__ import annotations

import re

import pytest

from fastws.brokers.connection_ids import new_connection_id, new_node_id, node_of


def test_connection_id_begins_with_its_node_and_is_url_safe() -> None:
    node = new_node_id()
    connection_id = new_connection_id(node)
    assert re.fullmatch(r"[\w-]{28}", connection_id, re.ASCII)
    assert node_of(connection_id) == node
    assert new_connection_id(node) != connection_id


@pytest.mark.parametrize("text", ["", "short", "x" * 27, "x" * 29])
def test_what_is_no_connection_id_has_no_node(text: str) -> None:
    assert node_of(text) is None
