"""The image: a process that has imported the server and forks workers, which share its memory."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastws.workers.reports import NOT_FORKED, STARTED, report

# The end of the command line, for `ps` and `pgrep`: a worker writes its name over that of the image, in as many bytes.
IMAGE_NAME: Final = ("fastws.workers.image", "")
WORKER_NAME: Final = ("fastws.workers.worker",)
# The kernel's limit for one message (SCM_MAX_FD).
MAX_DESCRIPTORS: Final = 253
# Of /proc/self/stat, which proc(5) counts from 1: the end of the command line in memory.
_ARG_END: Final = 49


def wait_to_be_worker(control: int, config: Mapping[str, object]) -> dict[str, Any]:
    """Fork a worker for each request on `control`. Returns only in the workers: the order of this one.

    A request consists of descriptors: a file with the order, the report pipe, the lifeline, the listening sockets.
    There must be no event loop, thread or TLS context yet: a fork copies only the thread that calls it, and all workers
    would share the state of the others. The image exits when the supervisor closes its end of `control`.
    """
    _import_needed(config)
    gc.collect()
    # A collection in a worker would write into these objects, and so copy their pages.
    gc.freeze()
    requests = socket.socket(fileno=control)
    while True:
        data, descriptors, _, _ = socket.recv_fds(requests, 1, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
        if not data:
            os._exit(0)
        if _fork(descriptors[1]):
            requests.close()
            _rename()
            return _order_of(descriptors)
        for number in descriptors:
            os.close(number)


def _import_needed(config: Mapping[str, object]) -> None:
    """Import what the workers would import later, so that they share it."""
    # getaddrinfo() imports the codec for the first name that it gets.
    "localhost".encode("idna")
    if config.get("jwt_jwks_url"):
        import fastws.callouts.jwks  # noqa: F401


def _fork(pipe: int) -> bool:
    """Fork a worker, which becomes a child of the supervisor. Returns whether this process is the worker.

    The process between the two exits at once: then the kernel gives the worker to the nearest subreaper, which is the
    supervisor. The worker reports its process id only after that, so that the supervisor can collect its exit status.
    """
    try:
        between = os.fork()
    except OSError as error:
        report(pipe, NOT_FORKED, str(error))
        return False
    if between:
        if code := os.waitstatus_to_exitcode(os.waitpid(between, 0)[1]):
            report(pipe, NOT_FORKED, os.strerror(code))
        return False
    between = os.getpid()
    try:
        if os.fork():
            os._exit(0)
    except OSError as error:
        os._exit(error.errno or 1)
    while os.getppid() == between:
        time.sleep(0.001)
    os.setsid()  # Ctrl-C on a terminal must reach only the supervisor
    report(pipe, STARTED, str(os.getpid()))
    return True


def _order_of(descriptors: Sequence[int]) -> dict[str, Any]:
    file, pipe, lifeline, *sockets = descriptors
    with open(file, "rb") as text:
        order: dict[str, Any] = json.load(text)
    return {**order, "report": pipe, "lifeline": lifeline, "sockets": sockets}


def _rename() -> None:
    """Write the name of a worker over that of the image in the command line of this process."""
    sys.orig_argv[-len(IMAGE_NAME) :] = WORKER_NAME
    before, after = (b"".join(part.encode() + b"\0" for part in name) for name in (IMAGE_NAME, WORKER_NAME))
    # Without /proc, or where the kernel forbids to write, the worker keeps the name of the image.
    with contextlib.suppress(OSError), open("/proc/self/stat") as stat, open("/proc/self/mem", "r+b", 0) as memory:
        # The second field, the name of the program, may contain spaces.
        place = int(stat.read().rpartition(")")[2].split()[_ARG_END - 3]) - len(before)
        memory.seek(place)
        if memory.read(len(before)) == before:
            memory.seek(place)
            memory.write(after)
