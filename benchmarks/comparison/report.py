"""Writes the table and the charts of the measured rows."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from comparison.charts import bars, number
from comparison.servers import ALL
from comparison.workloads import WORKLOADS, Row

BOUND_WORDS: Final = {
    "client": "client-bound",
    "both": "both cores full",
    "disturbed": "disturbed",
    "neither": "neither core full",
}


def write(rows: Sequence[Row], versions: Mapping[str, str], directory: Path, *, seconds: float) -> None:
    """Write `compare.md` and `compare.svg`."""
    directory.mkdir(parents=True, exist_ok=True)
    note = machine()
    (directory / "compare.md").write_text(_markdown(rows, versions, note, seconds))
    (directory / "compare.svg").write_text(_bar_chart(rows, note))


def machine() -> str:
    """The machine, for footnotes."""
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def middle(rows: Iterable[Row], server: str, workload: str) -> Row | None:
    """The row of the median value, of the undisturbed rows if there are any."""
    fitting = [row for row in rows if (row.server, row.workload) == (server, workload)]
    quiet = [row for row in fitting if row.bound != "disturbed"] or fitting
    if not quiet:
        return None
    value = statistics.median_low([row.value for row in quiet])
    return next(row for row in quiet if row.value == value)


def warnings(rows: Sequence[Row]) -> list[str]:
    """Reasons why the comparison is unreliable: the load client limited another server, or a server lost messages.

    fastws may be limited by the load client: its figure is then a lower bound, and the comparison still holds.
    """
    found = []
    for peer in ALL:
        for workload in WORKLOADS:
            row = middle(rows, peer.name, workload.name)
            if row is None:
                continue
            if row.bound in ("client", "disturbed") and not (peer is ALL[0] and row.bound == "client"):
                found.append(f"{peer.title}, {workload.title.lower()}: {BOUND_WORDS[row.bound]}")
            if not row.is_complete:
                found.append(f"{peer.title}, {workload.title.lower()}: messages were lost")
    return found


def _bar_chart(rows: Sequence[Row], note: str) -> str:
    panels = []
    for workload in WORKLOADS:
        found = [(peer, middle(rows, peer.name, workload.name)) for peer in ALL]
        entries = [
            (peer.title, row.value, f"  ({BOUND_WORDS[row.bound]})" if row.bound == "client" else "", peer is ALL[0])
            for peer, row in found
            if row is not None
        ]
        entries.sort(key=lambda entry: entry[1], reverse=workload.higher_is_better)
        if entries:
            unit = workload.unit if workload.higher_is_better else f"{workload.unit}, lower is better"
            panels.append((workload.title, unit, entries))
    return bars(panels, f"Server on one core, load client on another. {note}")


def _markdown(rows: Sequence[Row], versions: Mapping[str, str], note: str, seconds: float) -> str:
    text = [
        "# fastws compared with other servers",
        "",
        f"Written by `python benchmarks/compare.py`. {note}. One server process pinned to one core, `fastws bench`",
        f"as the load client on another; {seconds:g} s each after 0.5 s of warm-up, servers in turn, medians.",
        "128 bytes of data in JSON. Every server parses, encodes and confirms the same messages (`benchmarks/peers/`),",
        "compression off.",
        "In brackets: CPU of server core / client core. *client-bound*, *both cores full*: the client was busy too,",
        "so the figure is a lower bound for the server; *neither core full*: they waited for each other.",
        "",
        f"| | {' | '.join(workload.title for workload in WORKLOADS)} |",
        f"| --- |{' ---: |' * len(WORKLOADS)}",
    ]
    for peer in ALL:
        cells = [_cell(middle(rows, peer.name, workload.name), workload.unit) for workload in WORKLOADS]
        if any(cells):
            text.append(f"| {peer.title} | {' | '.join(cells)} |")
    text += ["", "Versions: " + "; ".join(versions[peer.name] for peer in ALL if peer.name in versions) + "."]
    absent = [peer.title for peer in ALL if peer.name not in versions]
    if absent:
        text.append(f"Not installed: {', '.join(absent)}.")
    return "\n".join(text) + "\n"


def _cell(row: Row | None, unit: str) -> str:
    if row is None:
        return ""
    value = f"{number(row.value)} {unit}"
    if not row.server_cpu:
        return value
    words = BOUND_WORDS.get(row.bound)
    usage = f"{row.server_cpu:.0%} / {row.client_cpu:.0%}" if row.client_cpu else f"{row.server_cpu:.0%}"
    return f"{value} ({usage}{f', *{words}*' if words else ''}){'' if row.is_complete else ' **incomplete**'}"
