"""How often the model tests run: with `MODEL_RUNS=60 pytest tests/brokers/redis`, 60 times as often."""

from __future__ import annotations

import os
from typing import Final

TIMES: Final = int(os.environ.get("MODEL_RUNS", "1"))


def runs(usual: int) -> int:
    return usual * TIMES
