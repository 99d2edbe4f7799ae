"""Socket ids: their form, and the node in them."""

from __future__ import annotations

import re
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from fastws.vocabulary.connection_ids import new_node_id
from fastws.vocabulary.socket_ids import SocketIds, is_socket_id

IDS = SocketIds(b"secret")
NODE_IDS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", min_size=6, max_size=6)


@given(NODE_IDS)
def test_every_process_finds_the_node_of_an_id(node: str) -> None:
    for socket_id in islice(IDS.of(node), 5):
        assert re.fullmatch(r"\d{1,10}\.\d{1,10}", socket_id)
        assert is_socket_id(socket_id)
        assert SocketIds(b"secret").node_of(socket_id) == node


def test_ids_of_one_node_are_different_and_share_nothing_that_is_seen() -> None:
    ids = list(islice(IDS.of(new_node_id()), 2000))
    assert len(set(ids)) == len({i.split(".")[0] for i in ids}) == len({i.split(".")[1] for i in ids}) == 2000
    assert len({len(socket_id) for socket_id in ids}) > 1


def test_another_key_finds_another_node() -> None:
    node = new_node_id()
    assert SocketIds(b"other").node_of(next(IDS.of(node))) != node


@given(st.text())
def test_any_text_is_taken(text: str) -> None:
    assert (IDS.node_of(text) is None) or is_socket_id(text)


def test_only_one_form_of_an_id_has_a_node() -> None:
    assert IDS.node_of("1.2") is not None
    for other in ("01.2", "1.02", "1.2.3", "1", "9999999999.1", "1.9999999999", "١.2", "1.2\n"):
        assert IDS.node_of(other) is None
