"""Opens file descriptors 0, 1 and 2 if they are closed, before anything else is opened."""

from __future__ import annotations

import os
import sys
from typing import Final

_STREAMS: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_closed_descriptors() -> None:
    """Open /dev/null on each of 0, 1 and 2 that is closed. Some init scripts and wrappers close them.

    Otherwise the next socket would get that number: output would be sent to a client, and libuv aborts when it
    closes the socket (`uv__close: fd > STDERR_FILENO`). Child processes inherit the descriptors opened here.
    """
    for number in range(len(_STREAMS)):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null == number:
                os.set_inheritable(null, True)  # noqa: FBT003 its only form
            else:
                os.close(null)  # another thread has opened this number in the meantime


def open_closed_streams() -> None:
    """Open closed descriptors and create `sys.stdin`, `stdout` and `stderr` where Python has set them to None."""
    open_closed_descriptors()
    for number, (name, mode) in enumerate(_STREAMS):
        if getattr(sys, name) is None:
            # Stays open until the process exits, hence no `with`.
            stream = open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
