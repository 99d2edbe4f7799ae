"""What processes use, against what is known of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil

from fastws.bench.usage import busy_seconds, kernel_slab_bytes, usage_of


def test_use_of_this_process_is_what_psutil_says() -> None:
    me = psutil.Process()
    family = [me, *me.children(recursive=True)]  # a Redis that other tests share may be among them
    use = usage_of([os.getpid()])
    assert use.processes == len(family)
    assert abs(use.rss_bytes - sum(one.memory_info().rss for one in family)) < 8 << 20
    assert abs(use.cpu_seconds - sum(sum(one.cpu_times()[:2]) for one in family)) < 0.5


def test_children_are_counted_once_with_their_parent() -> None:
    code = "import sys; print(flush=True); sys.stdin.read()"
    before = usage_of([os.getpid()]).processes
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        both = usage_of([os.getpid(), child.pid])
        assert both.processes == usage_of([os.getpid()]).processes == before + 1
        child.communicate()


def test_process_that_is_gone_uses_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert usage_of([child.pid]).processes == 0


def test_busy_core_is_seen() -> None:
    core = min(os.sched_getaffinity(0))
    before, began = busy_seconds(core), time.monotonic()
    code = f"import os, time; os.sched_setaffinity(0, {{{core}}}); end = time.monotonic() + 0.4"
    code += "\nwhile time.monotonic() < end: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert 0.2 < busy_seconds(core) - before <= time.monotonic() - began + 0.2


def test_kernel_memory_is_some() -> None:
    assert kernel_slab_bytes() > 1 << 20
