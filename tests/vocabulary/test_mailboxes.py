"""Client ids and the names of their mailboxes."""

from __future__ import annotations

import pytest

from fastws.vocabulary.mailboxes import is_client_id, is_mailbox, mailbox_channel


@pytest.mark.parametrize("text", ["a", "A.b_c@d-9", "x" * 128])
def test_a_client_id(text: str) -> None:
    assert is_client_id(text)


@pytest.mark.parametrize("text", ["", "x" * 129, "a b", "a:b", "a/b", "é", "a\n", "a*"])
def test_no_client_id(text: str) -> None:
    assert not is_client_id(text)


def test_the_mailbox_of_a_client_id_is_that_of_its_user() -> None:
    assert mailbox_channel("tab", None) == "client:tab"
    assert mailbox_channel("tab", "ada") == "client:ada:tab"
    assert mailbox_channel("c", "a:b") == "client:a:b:c"
    assert is_mailbox("client:a")
    assert not is_mailbox("clients:a")
