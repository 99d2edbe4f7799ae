"""Descriptors 0, 1 and 2, which a process must have open before it opens anything else."""

from __future__ import annotations

import os
import sys
from typing import Final

_STREAMS: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_closed_descriptors() -> None:
    """Open /dev/null on whatever of 0, 1 and 2 is closed, as some init scripts and wrappers leave them.

    The next socket would get that number otherwise: what is printed goes to a client then, and libuv aborts when it
    closes the socket (`uv__close: fd > STDERR_FILENO`). Child processes inherit what is opened here.
    """
    for number in range(len(_STREAMS)):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null == number:
                os.set_inheritable(null, True)  # noqa: FBT003 its only form
            else:
                os.close(null)  # another thread has opened something there meanwhile


def open_closed_streams() -> None:
    """The same for a process of our own, and give it the `sys.stdin`, `stdout` and `stderr` that Python left out."""
    open_closed_descriptors()
    for number, (name, mode) in enumerate(_STREAMS):
        if getattr(sys, name) is None:
            # Open as long as the process is, hence no `with`.
            stream = open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
