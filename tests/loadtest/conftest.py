"""Makes the package `soaking` importable as `loadtest/soak.py` imports it: from its own folder."""

from __future__ import annotations

import sys
from pathlib import Path

LOADTEST = str(Path(__file__).resolve().parents[2] / "loadtest")

# For this import alone: the other modules of that folder have names that others use too.
sys.path.insert(0, LOADTEST)
try:
    import soaking  # noqa: F401
finally:
    sys.path.remove(LOADTEST)
