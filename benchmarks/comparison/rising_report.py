"""Writes the table and the chart of latency under a rising rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from comparison.charts import lines, number
from comparison.report import machine
from comparison.rising import RATES, RampPlan, Step, knee
from comparison.servers import ALL, Peer

# If a server does not keep up, the latency only reflects the length of the step, so the chart is cut off here.
MOST_DRAWN_US = 5e6


def write(steps: Sequence[Step], versions: Mapping[str, str], directory: Path, plan: RampPlan) -> None:
    """Write `rising_load.md` and `rising_load.svg`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "rising_load.md").write_text(_markdown(steps, versions, plan))
    (directory / "rising_load.svg").write_text(_chart(steps, plan))


def _present(steps: Sequence[Step]) -> list[Peer]:
    names = {step.server for step in steps}
    return [peer for peer in ALL if peer.name in names]


def _chart(steps: Sequence[Step], plan: RampPlan) -> str:
    curves, knees = {}, {}
    for peer in _present(steps):
        mine = sorted((step for step in steps if step.server == peer.name), key=lambda step: step.rate)
        drawn = [step for step in mine if step.p99_us > 0]
        curves[peer.title] = [(step.rate * step.connections, min(step.p99_us, MOST_DRAWN_US)) for step in drawn]
        last = knee(steps, peer.name)
        if last is not None:
            knees[peer.title] = (last.rate * last.connections, last.p99_us)
    return lines(
        f"Delivery latency (p99) under a rising rate, {plan.connections:,} subscribers",
        curves,
        x_name="target deliveries per second (logarithmic); server on one core, load client on another",
        y_name="p99; a dot marks the highest rate at which a server kept up",
        footnote=f"Open loop: latency counts from the time a message was due. {machine()}",
        limit=plan.late_us,
        knees=knees,
    )


def _markdown(steps: Sequence[Step], versions: Mapping[str, str], plan: RampPlan) -> str:
    peers = _present(steps)
    text = [
        "# Latency under a rising rate",
        "",
        *_method(plan),
        "",
        "| server | knee, messages/s | deliveries/s | p50 / p99 there, ms | CPU server / client |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(f"| {peer.title} | {_knee(knee(steps, peer.name), steps, peer.name)} |" for peer in peers),
        "",
        "p99 in ms by messages per second (a dash: the server did not keep up):",
        "",
        *_latency_table(steps, peers),
        "",
        "Versions: " + "; ".join(versions[peer.name] for peer in peers if peer.name in versions) + ".",
    ]
    absent = [peer.title for peer in ALL if peer.name not in versions]
    if absent:
        text.append(f"Not measured: {', '.join(absent)}.")
    return "\n".join(text) + "\n"


def _method(plan: RampPlan) -> list[str]:
    return [
        f"Written by `python benchmarks/rising_load.py`. {machine()}. One server process pinned to one core,",
        "`fastws bench` as the load client on another.",
        f"{plan.connections:,} subscribers of one channel get every message of {plan.payload_bytes} bytes in JSON.",
        "Messages are due at a fixed rate, whatever the server does, and latency counts from that time (open loop,",
        f"no coordinated omission); {plan.seconds:g} s per step. A server keeps up while no message is lost and the",
        f"p99 latency is at most {plan.late_us / 1e3:g} ms. The knee is the highest rate at which it keeps up, refined",
        "between two steps.",
    ]


def _latency_table(steps: Sequence[Step], peers: Sequence[Peer]) -> list[str]:
    rates = [rate for rate in RATES if any(step.rate == rate for step in steps)]
    rows = [f"| server | {' | '.join(f'{rate:,}' for rate in rates)} |", f"| --- |{' ---: |' * len(rates)}"]
    for peer in peers:
        cells = [_cell(next((s for s in steps if (s.server, s.rate) == (peer.name, rate)), None)) for rate in rates]
        rows.append(f"| {peer.title} | {' | '.join(cells)} |")
    return rows


def _knee(last: Step | None, steps: Sequence[Step], server: str) -> str:
    reached = 0.0 if last is None else last.rate
    beyond = [step for step in steps if step.server == server and step.rate > reached and not step.keeps_up]
    first = min(beyond, key=lambda step: step.rate, default=None)
    remark = " *disturbed*" if first is not None and first.bound == "disturbed" else ""
    if last is None:
        return f"none{remark} | | |"
    # If it kept up at every step, or the load client was the limit, the real knee is higher.
    sign = "≥ " if first is None or first.bound else ""
    return (
        f"{sign}{last.rate:,.0f}{remark} | {number(last.rate * last.connections)}"
        f" | {_ms(last.p50_us)} / {_ms(last.p99_us)} | {last.server_cpu:.0%} / {last.client_cpu:.0%}"
    )


def _cell(step: Step | None) -> str:
    if step is None:
        return ""
    return _ms(step.p99_us) if step.keeps_up else "–"


def _ms(microseconds: float) -> str:
    return f"{microseconds / 1e3:.3g}"
