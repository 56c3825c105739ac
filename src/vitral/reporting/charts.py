"""Charts as inline SVG that follow the page: colours are CSS variables, so light and dark need one drawing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from vitral.reporting.texts import Wording

WIDTH, HEIGHT = 440, 290
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 16, 46


@dataclass(frozen=True)
class Series:
    """One line of a chart; `style` is its CSS class (`train`, `validation`, `test`, `run0` ...)."""

    name: str
    style: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Axis:
    """One axis: its name with unit, its range, and where its ticks stand."""

    name: str
    low: float
    high: float
    ticks: tuple[float, ...]


def line_chart(
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    *,
    words: Wording,
    alt: str,
    level: float | None = None,
    mark: tuple[float, str] | None = None,
) -> Markup:
    """Lines over two named axes.

    Args:
        level: a height for the dotted line (what chance gives).
        mark: an x and a text for the upright line (the best epoch).
    """
    parts = _axes(x, y, words)
    if level is not None:
        height = _y(y, level)
        parts.append(
            f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>'
        )
    if mark is not None:
        parts.extend(_mark(x, *mark))
    for line in series:
        points = [f"{_x(x, a):.1f},{_y(y, b):.1f}" for a, b in line.points]
        if len(points) > 1:
            parts.append(f'<polyline class="line {line.style}" points="{" ".join(points)}"/>')
        if len(points) <= 40:
            dots = "".join('<circle cx="{}" cy="{}" r="2.4"/>'.format(*point.split(",")) for point in points)
            parts.append(f'<g class="dots {line.style}">{dots}</g>')
    return _svg(parts, alt)


def reliability_chart(bins: Sequence["Bin"], x: Axis, y: Axis, *, words: Wording, alt: str) -> Markup:
    """Share of right answers against the probability that the model gave them, bin by bin, with intervals."""
    parts = _axes(x, y, words)
    most = max((one.images for one in bins), default=1)
    for one in bins:
        left, right = _x(x, 100 * one.low) + 1, _x(x, 100 * one.high) - 1
        height = 0.2 * (HEIGHT - TOP - BOTTOM) * one.images / most
        parts.append(
            f'<rect class="bar" x="{left:.1f}" y="{HEIGHT - BOTTOM - height:.1f}" width="{right - left:.1f}" '
            f'height="{height:.1f}"><title>{words.number(one.images)}</title></rect>'
        )
    parts.append(f'<line class="level" x1="{_x(x, 0)}" y1="{_y(y, 0)}" x2="{_x(x, 100)}" y2="{_y(y, 100)}"/>')
    for one in bins:
        across = _x(x, 100 * one.confidence)
        low, high = (_y(y, 100 * edge) for edge in one.interval)
        parts.append(
            f'<line class="whisker" x1="{across:.1f}" x2="{across:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
        )
        parts.append(f'<circle class="point" cx="{across:.1f}" cy="{_y(y, 100 * one.accuracy):.1f}" r="4"/>')
    return _svg(parts, alt)


@dataclass(frozen=True)
class Bin:
    """Answers of similar confidence: edges, mean confidence, share that is right with its interval, number."""

    low: float
    high: float
    confidence: float
    accuracy: float
    interval: tuple[float, float]
    images: int


def epoch_axis(name: str, epochs: Sequence[float]) -> Axis:
    """From the first to the last epoch, ticks on whole epochs."""
    low, high = min(epochs, default=0), max(epochs, default=1)
    if low == high:
        return Axis(name, low - 0.5, high + 0.5, (low,))
    step = max(1, math.ceil(_nice_step(high - low, 6)))
    first = math.ceil(low / step) * step
    ticks: list[float] = [first + step * index for index in range(int((high - first) / step) + 1)]
    if ticks[0] - low >= 0.6 * step:
        ticks.insert(0, low)
    return Axis(name, low, high, tuple(ticks))


def value_axis(name: str, values: Sequence[float]) -> Axis:
    """From zero to a round number above the largest value."""
    highest = max(values, default=1.0) or 1.0
    step = _nice_step(highest, 5)
    count = math.ceil(highest / step - 1e-9)
    return Axis(name, 0, count * step, tuple(index * step for index in range(count + 1)))


def percent_axis(name: str) -> Axis:
    """Always 0 to 100, so that reports can be compared at a glance."""
    return Axis(name, 0, 100, (0, 20, 40, 60, 80, 100))


def _nice_step(span: float, wanted: int) -> float:
    """The step among 1, 2, 5 times a power of ten that gives about `wanted` intervals."""
    rough = span / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def _axes(x: Axis, y: Axis, words: Wording) -> list[str]:
    parts = []
    bottom = HEIGHT - BOTTOM
    for tick in y.ticks:
        height = _y(y, tick)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>'
        )
        parts.append(
            f'<text x="{LEFT - 8}" y="{height + 4:.1f}" text-anchor="end">{words.significant(tick)}</text>'
        )
    for tick in x.ticks:
        across = _x(x, tick)
        parts.append(
            f'<line class="tick" x1="{across:.1f}" x2="{across:.1f}" y1="{bottom}" y2="{bottom + 4}"/>'
        )
        parts.append(
            f'<text x="{across:.1f}" y="{bottom + 18}" text-anchor="middle">{words.significant(tick)}</text>'
        )
    middle_x, middle_y = (LEFT + WIDTH - RIGHT) / 2, (TOP + bottom) / 2
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(
        f'<text class="name" x="{middle_x}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x.name)}</text>'
    )
    parts.append(
        f'<text class="name" transform="translate(14 {middle_y}) rotate(-90)" text-anchor="middle">'
        f"{escape(y.name)}</text>"
    )
    return parts


def _mark(x: Axis, position: float, text: str) -> list[str]:
    across = _x(x, position)
    on_the_right = across < (LEFT + WIDTH) / 2
    anchor, shift = ("start", 5) if on_the_right else ("end", -5)
    return [
        f'<line class="mark" x1="{across:.1f}" x2="{across:.1f}" y1="{TOP - 8}" y2="{HEIGHT - BOTTOM}"/>',
        f'<text x="{across + shift:.1f}" y="{TOP - 2}" text-anchor="{anchor}">{escape(text)}</text>',
    ]


def _svg(parts: list[str], alt: str) -> Markup:
    inside = "".join(parts)
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(alt)}">{inside}</svg>'
    )


def _x(axis: Axis, value: float) -> float:
    return LEFT + (value - axis.low) / (axis.high - axis.low) * (WIDTH - LEFT - RIGHT)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - (value - axis.low) / (axis.high - axis.low) * (HEIGHT - TOP - BOTTOM)
