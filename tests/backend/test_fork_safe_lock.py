import threading

from fastws.backend import fork_safe_lock
from fastws.backend.fork_safe_lock import ForkSafeLock
from tests.forked import printed


def test_it_is_free_in_a_child_whichever_thread_held_it_at_the_fork():
    source = """
from fastws.backend.fork_safe_lock import ForkSafeLock
lock = ForkSafeLock()

def hold():
    with lock:
        pause()

def use():
    for _ in range(2):
        with lock:
            pass

fork_during(hold, use)
use()
"""
    assert printed(source) == "0"


def test_it_excludes_other_threads_also_after_it_was_renewed():
    lock = ForkSafeLock()
    lock.renew()
    entered = threading.Event()

    def enter():
        with lock:
            entered.set()

    with lock:
        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.is_set()
    assert entered.wait(20)
    thread.join()


def test_a_lock_that_is_no_longer_used_is_forgotten():
    before = len(fork_safe_lock._locks)
    lock = ForkSafeLock()
    assert len(fork_safe_lock._locks) == before + 1
    del lock
    assert len(fork_safe_lock._locks) == before
