"""Signals that a selector can wait for."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator

import pytest

from fastws.workers.signals import SignalInbox

NUMBERS = (signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture
def inbox() -> Iterator[SignalInbox]:
    handlers = {number: signal.getsignal(number) for number in NUMBERS}
    inbox = SignalInbox(NUMBERS)
    yield inbox
    inbox.close()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def is_readable(inbox: SignalInbox) -> bool:
    return bool(select.select([inbox], [], [], 0)[0])


def test_pending_signals_are_taken_once_and_in_order(inbox: SignalInbox) -> None:
    assert not is_readable(inbox)
    assert inbox.take() == []
    sent = [signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR2]
    for number in sent:
        os.kill(os.getpid(), number)
    assert is_readable(inbox)
    assert inbox.take() == sent
    assert not is_readable(inbox)
    assert inbox.take() == []


def test_more_signals_than_the_socket_can_store_are_all_handled(inbox: SignalInbox) -> None:
    for _ in range(3000):
        signal.raise_signal(signal.SIGUSR1)
    assert len(inbox.take()) == 3000
