"""Connection ids say which process has the connection."""

from __future__ import annotations

import itertools
import re

import pytest

from fastws.vocabulary.connection_ids import connection_ids, new_node_id, node_of


def test_connection_ids_begin_with_their_node_are_url_safe_and_never_the_same() -> None:
    node = new_node_id()
    made = list(itertools.islice(connection_ids(node), 1000))
    assert all(re.fullmatch(r"[\w-]{28}", connection_id, re.ASCII) for connection_id in made)
    assert {node_of(connection_id) for connection_id in made} == {node}
    assert len(set(made)) == 1000
    assert len({connection_id[6:] for connection_id in made}.union(itertools.islice(connection_ids(node), 9))) == 1009


@pytest.mark.parametrize("text", ["", "short", "x" * 27, "x" * 29])
def test_what_is_no_connection_id_has_no_node(text: str) -> None:
    assert node_of(text) is None
