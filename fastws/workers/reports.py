"""Reports of a starting worker to the supervisor: lines of JSON in a pipe, `[kind, text]`."""

from __future__ import annotations

import json
import os
from typing import Final

# The text is the process id.
STARTED: Final = "started"
# No process could be forked; the text is the reason.
NOT_FORKED: Final = "not forked"
READY: Final = "ready"
# The settings are invalid; the text is a message for the operator.
ERROR: Final = "error"


def report(pipe: int, kind: str, text: str = "") -> bool:
    """Write a report. Returns False if the supervisor has exited."""
    try:
        os.write(pipe, json.dumps([kind, text]).encode() + b"\n")
    except BrokenPipeError:
        return False
    return True
