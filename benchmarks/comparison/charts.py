"""Charts as SVG text for light and dark pages: no background, colours of medium brightness."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
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
# The first colour is fastws; all are distinguishable on light and dark pages.
COLOURS: Final = ("#2f81f7", "#d29922", "#3fb950", "#db61a2", "#a371f7", "#f0883e", "#8b949e")


def bars(panels: Sequence[tuple[str, str, Sequence[tuple[str, float, str, bool]]]], footnote: str) -> str:
    """Draw panels of horizontal bars: (title, unit, [(label, value, remark, is fastws)])."""
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


class _Axes:
    """Two logarithmic axes and the place of a point on the page."""

    left, top, right, bottom, height = 70, 40, 170, 44, 400

    def __init__(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        self._x_low, self._x_high = _decades(xs)
        self._y_low, self._y_high = _decades(ys)

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self._across(x), self._up(y)

    def _across(self, x: float) -> float:
        share = (math.log10(x) - self._x_low) / (self._x_high - self._x_low)
        return self.left + share * (WIDTH - self.left - self.right)

    def _up(self, y: float) -> float:
        share = (math.log10(y) - self._y_low) / (self._y_high - self._y_low)
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)

    def horizontal(self, y: float, kind: str) -> str:
        place = self._up(y)
        return f'<line class="{kind}" x1="{self.left}" x2="{WIDTH - self.right}" y1="{place:.1f}" y2="{place:.1f}"/>'

    def grid(self) -> Iterator[str]:
        for power in range(math.ceil(self._y_low), math.floor(self._y_high) + 1):
            value = 10.0**power
            yield self.horizontal(value, "grid")
            place = f'x="{self.left - 6}" y="{self._up(value) + 4:.1f}"'
            yield f'<text class="small" {place} text-anchor="end">{_time(value)}</text>'
        for power in range(math.ceil(self._x_low), math.floor(self._x_high) + 1):
            x, low = self._across(10.0**power), self.height - self.bottom
            yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{self.top}" y2="{low}"/>'
            yield f'<text class="small" x="{x:.1f}" y="{low + 16}" text-anchor="middle">{number(10.0**power)}</text>'


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
    """Draw one line per name through (x, y in µs), with logarithmic axes. The first name is fastws.

    `limit` is a horizontal dashed line; the knee of each name is a dot.
    """
    points = [point for line in series.values() for point in line]
    axes = _Axes([x for x, _ in points], [limit, *(y for _, y in points)])
    parts = [f'<text class="title" x="8" y="20">{escape(title)}</text>', *axes.grid(), axes.horizontal(limit, "limit")]
    labels: list[float] = []
    for position, (name, line) in enumerate(series.items()):
        if line:
            parts += _line(axes, position, name, line, knees.get(name), labels)
    parts.append(f'<text class="small" x="{axes.left}" y="{axes.height - 8}">{escape(x_name)}</text>')
    parts.append(f'<text class="small" x="{axes.left}" y="{axes.top - 6}">{escape(y_name)}</text>')
    parts.append(f'<text class="small" x="8" y="{axes.height + 12}">{escape(footnote)}</text>')
    return _document(axes.height + 22, parts)


def _line(
    axes: _Axes,
    position: int,
    name: str,
    line: Sequence[tuple[float, float]],
    knee: tuple[float, float] | None,
    labels: list[float],
) -> Iterator[str]:
    """One line with its knee and its name. `labels`: heights of the names drawn so far, which must not overlap."""
    colour = COLOURS[position % len(COLOURS)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (axes.at(*point) for point in line))
    yield f'<polyline class="line" stroke="{colour}" points="{path}"/>'
    if knee is not None:
        x, y = axes.at(*knee)
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
    x, y = axes.at(*line[-1])
    while any(abs(y - other) < 14 for other in labels):
        y += 4
    labels.append(y)
    weight = ' font-weight="600"' if position == 0 else ""
    yield f'<text x="{x + 6:.1f}" y="{y + 4:.1f}" style="fill:{colour}"{weight}>{escape(name)}</text>'


def number(value: float) -> str:
    """Three significant digits: 5.69 M, 331 k, 1,940."""
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
