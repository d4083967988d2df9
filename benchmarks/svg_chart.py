"""Line charts with logarithmic axes as SVG: small, readable in a text diff, no library."""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 560, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 32, 40, 48
COLOURS = ["#1f6fb2", "#d1711c", "#3b8f4a", "#8a4fa3"]


@dataclass(frozen=True)
class Series:
    name: str
    points: list[tuple[float, float]]  # positive, x ascending


def short(value: float) -> str:
    """A label for an axis: 0.5, 250, 1,024, 20k, 1M."""
    for size, letter in [(1e9, "G"), (1e6, "M"), (1e3, "k")]:
        if value >= size and value % (size / 10) == 0:
            return f"{value / size:g}{letter}"
    return f"{value:,.0f}" if value >= 1e3 else f"{value:g}"


def decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten from `low` to `high`; powers alone if that is too many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1, 2, 5), (1,)):
        marks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
        marks = [mark for mark in marks if low * 0.999 <= mark <= high * 1.001]
        if len(marks) <= 8:
            break
    return marks


def line_chart(title: str, x_title: str, y_title: str, series: list[Series]) -> str:
    """The chart as the text of an SVG file. ValueError if there are no points or one is not positive."""
    points = [point for one in series for point in one.points]
    if not points or min(min(point) for point in points) <= 0:
        raise ValueError(f"{title}: a chart needs positive points")
    x_low, x_high = min(p[0] for p in points), max(p[0] for p in points)
    # Room for a factor of ten at least: a flat line must look flat.
    y_low, y_high = min(p[1] for p in points) / 1.3, max(p[1] for p in points) * 1.3
    if y_high / y_low < 10:
        middle = math.sqrt(y_high * y_low)
        y_low, y_high = middle / math.sqrt(10), middle * math.sqrt(10)
    x_span = math.log(x_high / x_low) or 1.0
    y_span = math.log(y_high / y_low)

    def x_at(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(value / x_low) / x_span

    def y_at(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log(value / y_low) / y_span

    def text(x: float, y: float, words: str, anchor: str = "middle", more: str = "") -> str:
        return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(words)}</text>'

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        text(WIDTH / 2, 20, title, more=' font-size="14"'),
    ]
    for mark in decades(y_low, y_high):
        y = y_at(mark)
        out.append(
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>'
        )
        out.append(text(LEFT - 6, y + 4, short(mark), "end"))
    for mark in sorted({p[0] for p in points}):
        x = x_at(mark)
        out.append(
            f'<line x1="{x:.1f}" y1="{HEIGHT - BOTTOM}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM + 4}" stroke="#333"/>'
        )
        out.append(text(x, HEIGHT - BOTTOM + 17, short(mark)))
    out.append(
        f'<polyline points="{LEFT},{TOP} {LEFT},{HEIGHT - BOTTOM} {WIDTH - RIGHT},{HEIGHT - BOTTOM}" fill="none" stroke="#333"/>'
    )
    out.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_title))
    out.append(text(16, HEIGHT / 2, y_title, more=f' transform="rotate(-90 16 {HEIGHT / 2:.0f})"'))
    for number, one in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x_at(x):.1f},{y_at(y):.1f}" for x, y in one.points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y in one.points:
            out.append(f'<circle cx="{x_at(x):.1f}" cy="{y_at(y):.1f}" r="3" fill="{colour}"/>')
        out.append(
            text(WIDTH - RIGHT - 4, TOP + 14 + 16 * number, one.name, "end", f' fill="{colour}"')
        )
    return "\n".join([*out, "</svg>"]) + "\n"
