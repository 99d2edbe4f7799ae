"""Charts as SVG text, readable on a light and on a dark page: no background, colours of middle brightness."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

WIDTH: Final = 860
_BAR: Final = 18
_GAP: Final = 7
_LEFT: Final = 190
_RIGHT: Final = 120
_STYLE: Final = """
text { font: 13px -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif; fill: #57606a; }
.title { font-weight: 600; font-size: 14px; }
.strong { font-weight: 600; }
.small { font-size: 11px; }
.ours { fill: #2f81f7; }
.theirs { fill: #8b949e; opacity: .75; }
.grid { stroke: #8b949e; stroke-opacity: .25; }
.limit { stroke: #f85149; stroke-opacity: .7; stroke-dasharray: 5 4; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
@media (prefers-color-scheme: dark) { text { fill: #adbac7; } }
"""
# The first is ours; the others are told apart in both schemes.
COLOURS: Final = ("#2f81f7", "#d29922", "#3fb950", "#db61a2", "#a371f7", "#f0883e", "#8b949e")


def bars(panels: Sequence[tuple[str, str, Sequence[tuple[str, float, str, bool]]]], footnote: str) -> str:
    """Panels of horizontal bars: (title, unit, [(label, value, remark, is ours)])."""
    parts: list[str] = []
    y = 8
    for title, unit, rows in panels:
        parts.append(f'<text class="title" x="8" y="{y + 14}">{escape(title)} · {escape(unit)}</text>')
        y += 26
        largest = max((value for _, value, _, _ in rows), default=1.0) or 1.0
        for label, value, remark, is_ours in rows:
            length = max(1.0, value / largest * (WIDTH - _LEFT - _RIGHT))
            kind = "ours" if is_ours else "theirs"
            weight = ' class="strong"' if is_ours else ""
            middle = y + _BAR - 5
            parts += [
                f'<text{weight} x="{_LEFT - 8}" y="{middle}" text-anchor="end">{escape(label)}</text>',
                f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{length:.1f}" height="{_BAR}" rx="3"/>',
                f'<text{weight} x="{_LEFT + length + 6:.1f}" y="{middle}">{number(value)}{escape(remark)}</text>',
            ]
            y += _BAR + _GAP
        y += 14
    parts.append(f'<text class="small" x="8" y="{y + 4}">{escape(footnote)}</text>')
    return _document(y + 14, parts)


def lines(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_name: str,
    y_name: str,
    footnote: str,
    limit: float,
    knees: Mapping[str, tuple[float, float]],
) -> str:
    """One line for each name through (x, y in µs), both axes logarithmic. The first name is ours.

    `limit` is drawn across as a dashed line, and the point of each name's knee as a dot.
    """
    left, top, right, bottom, height = 70, 40, 170, 44, 400
    points = [point for line in series.values() for point in line]
    x_low, x_high = _decades([x for x, _ in points])
    y_low, y_high = _decades([limit, *(y for _, y in points)])

    def at(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - x_low) / (x_high - x_low)
        up = (math.log10(y) - y_low) / (y_high - y_low)
        return left + across * (WIDTH - left - right), height - bottom - up * (height - top - bottom)

    parts = [f'<text class="title" x="8" y="20">{escape(title)}</text>']
    for power in range(math.ceil(y_low), math.floor(y_high) + 1):
        _, y = at(10**x_low, 10.0**power)
        parts.append(f'<line class="grid" x1="{left}" x2="{WIDTH - right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="small" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{_time(10.0**power)}</text>'
        )
    for power in range(math.ceil(x_low), math.floor(x_high) + 1):
        x, _ = at(10.0**power, 10**y_low)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{height - bottom}"/>')
        middle = f'x="{x:.1f}" y="{height - bottom + 16}" text-anchor="middle"'
        parts.append(f'<text class="small" {middle}>{number(10.0**power)}</text>')
    _, y = at(10**x_low, limit)
    parts.append(f'<line class="limit" x1="{left}" x2="{WIDTH - right}" y1="{y:.1f}" y2="{y:.1f}"/>')
    ends: list[float] = []
    for position, (name, line) in enumerate(series.items()):
        if not line:
            continue
        colour = COLOURS[position % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in line))
        parts.append(f'<polyline class="line" stroke="{colour}" points="{path}"/>')
        if name in knees:
            x, y = at(*knees[name])
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
        x, y = at(*line[-1])
        while any(abs(y - other) < 14 for other in ends):
            y += 4
        ends.append(y)
        weight = ' font-weight="600"' if position == 0 else ""
        style = f'style="fill:{colour}"{weight}'
        parts.append(f'<text x="{x + 6:.1f}" y="{y + 4:.1f}" {style}>{escape(name)}</text>')
    parts.append(f'<text class="small" x="{left}" y="{height - 8}">{escape(x_name)}</text>')
    parts.append(f'<text class="small" x="{left}" y="{top - 6}">{escape(y_name)}</text>')
    parts.append(f'<text class="small" x="8" y="{height + 12}">{escape(footnote)}</text>')
    return _document(height + 22, parts)


def number(value: float) -> str:
    """Three digits that say something: 5.69 M, 331 k, 1,940."""
    for size, letter in ((1e6, " M"), (1e4, " k")):
        if value >= size:
            scaled = value / (size if letter == " M" else 1e3)
            return f"{scaled:.3g}{letter}" if scaled < 1000 else f"{scaled:.0f}{letter}"
    return f"{value:,.0f}"


def _time(microseconds: float) -> str:
    if microseconds >= 1e6:
        return f"{microseconds / 1e6:g} s"
    return f"{microseconds / 1e3:g} ms" if microseconds >= 1e3 else f"{microseconds:g} µs"


def _decades(values: Sequence[float]) -> tuple[float, float]:
    low, high = math.log10(min(values)), math.log10(max(values))
    return low - 0.08, max(high, low + 1) + 0.08


def _document(height: float, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}"'
        f' role="img"><style>{_STYLE}</style>\n{body}\n</svg>\n'
    )
