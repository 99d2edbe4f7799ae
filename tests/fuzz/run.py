"""Fuzz one target with atheris: `python -m tests.fuzz.run TARGET SECONDS`. Findings go to tests/fuzz/cases/TARGET.

Atheris is no dependency of the tests: `pip install atheris` into an environment that has fastws.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

HERE = Path(__file__).parent

with atheris.instrument_imports(include=["fastws", "wsproto", "h11"]):
    from tests.fuzz.seeds import SEEDS
    from tests.fuzz.targets import TARGETS


def main() -> None:
    target, seconds = sys.argv[1], int(sys.argv[2])
    corpus, cases = Path(tempfile.gettempdir()) / "fastws-fuzz" / target, HERE / "cases" / target
    for folder in (corpus, cases):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[target]):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=5", "-rss_limit_mb=1024"]
    options += [f"-artifact_prefix={cases}/", "-print_final_stats=1", str(corpus), str(cases)]
    atheris.Setup([sys.argv[0], *options], TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
