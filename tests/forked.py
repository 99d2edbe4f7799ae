"""Programs that fork while another of their threads is in the middle of something."""

from __future__ import annotations

import subprocess
import sys

PRELUDE = """
import os, signal, threading

def exit_code_of_child(work):
    # 0 if `work` returns, 1 if it raises, minus the number of a signal if it hangs.
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

is_inside, may_go_on = threading.Event(), threading.Event()

def pause():
    # The thread that calls this is in the middle of something until the fork is over.
    is_inside.set()
    may_go_on.wait()

def fork_during(work, in_child):
    thread = threading.Thread(target=work)
    thread.start()
    is_inside.wait()
    code = exit_code_of_child(in_child)
    may_go_on.set()
    thread.join()
    print(code)
"""


def printed(source: str, *arguments: str) -> str:
    """Run `source` as a program of its own, which finds the functions of PRELUDE. Returns what it prints."""
    # Python 3.12 warns of each fork of a process with threads.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PRELUDE + source, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
