"""The supervisor's side of starting workers: forked from an image where the system can do it, else as new programs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, Final

from fastws.workers.forking import IMAGE_NAME, WORKER_NAME

# Both begin with the sys.path of this process; not by PYTHONPATH, which processes that a hook starts would inherit.
_BEGINNING: Final = (
    "import json, sys\n"
    "order = json.load(sys.stdin)\n"
    "sys.path[:] = order['path']\n"
    "from fastws.quick_imports import quick_imports\n"
    "with quick_imports():\n"
    "    from fastws.workers.worker import run\n"
)
WORKER_PROGRAM: Final = f"{_BEGINNING}sys.exit(run(order))"
IMAGE_PROGRAM: Final = (
    f"{_BEGINNING}"
    "from fastws.workers.forking import wait_to_be_worker\n"
    "sys.exit(run(wait_to_be_worker(order['control'], order['config'])))"
)
_PR_SET_CHILD_SUBREAPER: Final = 36

# The settings of a worker and what else it needs to know. Descriptors are passed separately.
Order = Mapping[str, Any]
Start = Callable[[Order, Sequence[int], int, int], "subprocess.Popen[bytes] | ForkedProcess"]


def spawn(order: Order, sockets: Sequence[int], lifeline: int, report: int) -> subprocess.Popen[bytes]:
    """Start a worker as a new program, which inherits the descriptors. Raises OSError."""
    described = {**order, "sockets": sockets, "lifeline": lifeline, "report": report}
    return _run(WORKER_PROGRAM, described, (*sockets, lifeline, report), WORKER_NAME)


class Image:
    """A process that has imported the server with the modules on disk, and forks workers until it is closed.

    The workers share the pages of the image that neither writes to. The calling process must be a subreaper. Raises
    OSError if the process cannot be started.
    """

    def __init__(self, config: Mapping[str, object]) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._requests.setblocking(False)  # noqa: FBT003 its only form
        with theirs:
            order = {"config": config, "control": theirs.fileno()}
            try:
                self._process = _run(IMAGE_PROGRAM, order, (theirs.fileno(),), IMAGE_NAME)
            except OSError:
                self._requests.close()
                raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_exited(self) -> bool:
        """Whether the process has exited. Also collects its exit status."""
        return self._process.poll() is not None

    def fork(self, order: Order, sockets: Sequence[int], lifeline: int, report: int) -> ForkedProcess:
        """Request a worker, which reports its process id. Does not wait. Raises OSError if the image has exited."""
        with _file_of(json.dumps(order)) as file:
            socket.send_fds(self._requests, [b"\0"], [file.fileno(), report, lifeline, *sockets])
        return ForkedProcess(self)

    def close(self) -> None:
        """Let the process exit after the requests that it has got. Its workers keep running."""
        self._requests.close()

    def kill(self) -> None:
        """Kill the process because it hangs. Requests that it has not handled are lost: their report pipes close."""
        self._process.kill()

    def end(self) -> None:
        """Kill the process and wait for its exit."""
        self._requests.close()
        self._process.kill()
        self._process.wait()


class ForkedProcess:
    """A worker forked by `image`: the part of subprocess.Popen that the supervisor uses. `pid` is 0 until it is known.

    Signals that are sent before are delivered when it is.
    """

    def __init__(self, image: Image) -> None:
        self.pid = 0
        self.returncode: int | None = None
        self._image = image
        self._waiting: list[signal.Signals] = []

    def started(self, pid: int) -> None:
        """Note the process id, which the worker has reported."""
        self.pid = pid
        for number in self._waiting:
            self.send_signal(number)

    def not_started(self) -> None:
        """Note that the report pipe has closed without a process id."""
        self.returncode = 1

    def poll(self) -> int | None:
        """Collect and return the exit code, as subprocess does: negative for a signal; None while it runs."""
        return self._collect(os.WNOHANG)

    def wait(self) -> int | None:
        """Wait for the exit code; None if there is no process yet."""
        return self._collect(0)

    def send_signal(self, number: signal.Signals) -> None:
        if not self.pid:
            self._waiting.append(number)
        elif self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process, or its image if that has not forked it yet."""
        if not self.pid:
            self._image.kill()
        self.send_signal(signal.SIGKILL)

    def _collect(self, options: int) -> int | None:
        if self.returncode is None and self.pid:
            try:
                pid, status = os.waitpid(self.pid, options)
            except ChildProcessError:
                # Collected by other code of this process: the code is unknown, and 0 as in subprocess.
                pid, status = self.pid, 0
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


class Images:
    """Starts workers: from the present image on Linux, else as new programs. After `renew` from a fresh image.

    Where it forks (`is_forking`), this process becomes a subreaper: it also adopts the orphans of its workers, and must
    collect them.
    """

    def __init__(self) -> None:
        self.is_forking = sys.platform == "linux" and _become_subreaper()
        self._present: Image | None = None
        # The present one, and closed ones that have not been collected yet.
        self._all: list[Image] = []

    @property
    def pids(self) -> set[int]:
        """Collect images that have exited, and return the process ids of the others."""
        self._all = [image for image in self._all if not image.has_exited]
        return {image.pid for image in self._all}

    def start(
        self, order: Order, sockets: Sequence[int], lifeline: int, report: int
    ) -> subprocess.Popen[bytes] | ForkedProcess:
        """Start a worker. Raises OSError."""
        if not self.is_forking:
            return spawn(order, sockets, lifeline, report)
        if self._present is None or self._present.has_exited:
            self.renew()
            self._present = Image(order["config"])
            self._all.append(self._present)
        return self._present.fork(order, sockets, lifeline, report)

    def renew(self) -> None:
        """Start no more workers from the present image: the settings or the modules on disk may have changed."""
        if self._present is not None:
            self._present.close()
        self._present = None

    def end(self) -> None:
        """Kill all images and collect them."""
        for image in self._all:
            image.end()


def _run(program: str, order: Order, descriptors: Sequence[int], name: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a Python program that reads its order from stdin and inherits the descriptors."""
    path = list(map(os.path.abspath, sys.path))
    with _file_of(json.dumps({**order, "path": path})) as stdin:
        return subprocess.Popen(  # noqa: S603 our own program
            # -P keeps the working directory out of sys.path.
            [sys.executable, "-P", "-c", program, *name],
            stdin=stdin,
            pass_fds=descriptors,
            start_new_session=True,  # Ctrl-C on a terminal must reach only the supervisor
        )


def _file_of(text: str) -> BinaryIO:
    """Return an anonymous file that contains `text`: unlike a pipe it is never full and never loses its reader."""
    memory = getattr(os, "memfd_create", None)
    file = tempfile.TemporaryFile() if memory is None else os.fdopen(memory("order"), "w+b")  # noqa: SIM115 the caller closes it
    file.write(text.encode())
    file.seek(0)
    return file


def _become_subreaper() -> bool:
    """Make this process adopt the orphans among its descendants (prctl(2)). Returns False if it cannot."""
    try:
        import ctypes  # only supervisors need it, and a small build of Python may lack it
    except ImportError:
        return False
    return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
