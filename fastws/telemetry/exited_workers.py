"""The ledger: figures of workers that do not answer, and the counters of those that are gone, in files of their folder.

A counter that fell because a worker was replaced would look to Prometheus like a restart of all, and `rate()` would
count everything that the others have ever counted as new. So what has been counted once stays in the sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry

# `<pid>.sock` is where a worker answers, `<pid>.prom` what it last knew of itself.
SOCKET_SUFFIX: Final = ".sock"
FIGURES_SUFFIX: Final = ".prom"
EXITED: Final = "departed"
# What is not a sum over processes: the oldest start, the worst of the workers' brokers.
TAKE_MINIMUM: Final = frozenset({"process_start_time_seconds", "fastws_broker_up", "python_info"})
COUNTED: Final = frozenset({"counter", "histogram"})
# The first line of the ledger names those that are in it: their own files, if still there, count no more.
_NAMES: Final = "# of "
_MAX_NAMES: Final = 1000

_Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def keep_own(folder: Path, pid: int, text: str) -> None:
    """Write down what a worker knows of itself. Only that worker calls this."""
    _write(folder / f"{pid}{FIGURES_SUFFIX}", text)


def add_exited(folder: Path, pid: int) -> None:
    """Take the counters of a worker that is gone into the ledger. Only the supervisor calls this."""
    own = folder / f"{pid}{FIGURES_SUFFIX}"
    (folder / f"{pid}{SOCKET_SUFFIX}").unlink(missing_ok=True)
    if not own.exists():
        return
    names, before = _departed(folder)
    text = merge((before, own.read_text()), is_departed=True).decode()
    _write(folder / EXITED, f"{_NAMES}{' '.join([*names, own.stem][-_MAX_NAMES:])}\n{text}")
    own.unlink()


def last_known(folder: Path, answered: Iterable[int], busy: Iterable[int]) -> list[str]:
    """What to add to the figures of the workers that `answered` (their process ids).

    Of those that are `busy` all that they last knew, of those that are gone what they have counted.
    """
    skipped, wholly = set(map(str, answered)), set(map(str, busy))
    found = {path.stem: path for path in folder.glob(f"*{FIGURES_SUFFIX}") if path.stem not in skipped}
    texts = {stem: text for stem, path in found.items() if (text := _read(path)) is not None}
    # Read after the others: whoever went into the ledger meanwhile is named in it.
    names, departed = _departed(folder)
    kept = {stem: text for stem, text in texts.items() if stem not in names}
    counted = [departed, *(text for stem, text in kept.items() if stem not in wholly)]
    return [*(text for stem, text in kept.items() if stem in wholly), merge(counted, is_departed=True).decode()]


def merge(texts: Iterable[str], *, is_departed: bool = False) -> bytes:
    """Expositions of several processes as one: samples of equal name and labels added up.

    `is_departed`: only what a process has counted, and not what it has now. Cost: some 3 ms a text.
    """
    families: dict[str, Metric] = {}
    values: dict[str, _Samples] = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            if is_departed and family.type not in COUNTED:
                continue
            families.setdefault(family.name, family)
            samples = values.setdefault(family.name, {})
            for sample in family.samples:
                key = (sample.name, tuple(sample.labels.items()))
                if key not in samples:
                    samples[key] = sample.value
                elif sample.name in TAKE_MINIMUM:
                    samples[key] = min(samples[key], sample.value)
                else:
                    samples[key] += sample.value
    registry = CollectorRegistry()
    registry.register(_Merged(families, values))
    return generate_latest(registry)


class _Merged(Collector):
    def __init__(self, families: Mapping[str, Metric], values: Mapping[str, _Samples]) -> None:
        self._families = families
        self._values = values

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        for name, family in self._families.items():
            merged = Metric(name, family.documentation, family.type)
            for (sample, labels), value in self._values[name].items():
                merged.add_sample(sample, dict(labels), value)
            yield merged


def _departed(folder: Path) -> tuple[list[str], str]:
    """The ledger: whose counters are in it, and their sums."""
    text = _read(folder / EXITED)
    if text is None:
        return [], ""
    names, _, sums = text.partition("\n")
    return names.removeprefix(_NAMES).split(), sums


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _write(path: Path, text: str) -> None:
    """Whoever reads meanwhile reads what was there before."""
    fresh = path.with_name(path.name + "~")
    fresh.write_text(text)
    fresh.replace(path)
