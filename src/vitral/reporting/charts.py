"""Charts as inline SVG that follow the page: colours are CSS variables, so light and dark need one drawing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from vitral.reporting.texts import Wording

WIDTH, HEIGHT = 440, 294
LEFT, RIGHT, TOP, BOTTOM = 60, 14, 22, 48
# Below the reliability diagram: the gap above its histogram, and the histogram itself.
GAP, BARS = 22, 62


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
    parts = [*_grid(y, PANEL, words), *_foot(x, PANEL, words)]
    if level is not None:
        height = _y(y, level, PANEL)
        parts.append(
            f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>'
        )
    if mark is not None:
        parts.extend(_mark(x, *mark))
    for line in series:
        points = [f"{_x(x, a):.1f},{_y(y, b, PANEL):.1f}" for a, b in line.points]
        if len(points) > 1:
            parts.append(f'<polyline class="line {line.style}" points="{" ".join(points)}"/>')
        if len(points) <= 40:
            dots = "".join('<circle cx="{}" cy="{}" r="2.4"/>'.format(*point.split(",")) for point in points)
            parts.append(f'<g class="dots {line.style}">{dots}</g>')
    return _svg(parts, alt)


def reliability_chart(
    bins: Sequence["Bin"], x: Axis, y: Axis, count: Axis, *, words: Wording, alt: str
) -> Markup:
    """Share of right answers against the probability that the model gave them, bin by bin, with intervals.

    Below it, over the same probabilities, stands how many answers each bin holds, on the axis `count`.
    """
    bars = _Panel(PANEL.bottom + GAP, PANEL.bottom + GAP + BARS)
    parts = [*_grid(y, PANEL, words), *_grid(count, bars, words), *_foot(x, bars, words)]
    (x0, y0), (x1, y1) = ((_x(x, end), _y(y, end, PANEL)) for end in (0, 100))
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y0:.1f}" y2="{y0:.1f}"/>')
    parts.append(f'<line class="level" x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"/>')
    for one in bins:
        left, right = _x(x, 100 * one.low) + 1, _x(x, 100 * one.high) - 1
        top = _y(count, one.images, bars)
        # A bin with few answers stays visible beside one with thousands.
        height = max(1.0, bars.bottom - top)
        parts.append(
            f'<rect class="bar" x="{left:.1f}" y="{bars.bottom - height:.1f}" width="{right - left:.1f}" '
            f'height="{height:.1f}"><title>{words.number(one.images)}</title></rect>'
        )
        across = _x(x, 100 * one.confidence)
        low, high = (_y(y, 100 * edge, PANEL) for edge in one.interval)
        parts.append(
            f'<line class="whisker" x1="{across:.1f}" x2="{across:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
        )
        parts.append(
            f'<circle class="point" cx="{across:.1f}" cy="{_y(y, 100 * one.accuracy, PANEL):.1f}" r="4"/>'
        )
    return _svg(parts, alt, HEIGHT + GAP + BARS)


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


def value_axis(name: str, values: Sequence[float], intervals: int = 5) -> Axis:
    """From zero to a round number above the largest value, cut into about so many intervals."""
    highest = max(values, default=1.0) or 1.0
    step = _nice_step(highest, intervals)
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


@dataclass(frozen=True)
class _Panel:
    """Where the drawing of one vertical axis begins and ends, from above."""

    top: float
    bottom: float


PANEL = _Panel(TOP, HEIGHT - BOTTOM)


def _tick_texts(ticks: Sequence[float], words: Wording) -> list[str]:
    """All ticks of an axis with as many decimals as any of them needs; what is very small as a power of ten."""
    for digits in range(5):
        if all(abs(tick - round(tick, digits)) < 1e-9 * max(1.0, abs(tick)) for tick in ticks):
            return [words.number(tick, digits) for tick in ticks]
    return [words.significant(tick) for tick in ticks]


def _grid(y: Axis, panel: _Panel, words: Wording) -> list[str]:
    """The vertical axis of a panel: its name, its ticks, and a line across for each."""
    parts = []
    for tick, text in zip(y.ticks, _tick_texts(y.ticks, words), strict=True):
        height = _y(y, tick, panel)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>'
        )
        parts.append(f'<text x="{LEFT - 8}" y="{height + 4:.1f}" text-anchor="end">{text}</text>')
    middle = (panel.top + panel.bottom) / 2
    parts.append(
        f'<text class="name" transform="translate(13 {middle:.1f}) rotate(-90)" text-anchor="middle">'
        f"{escape(y.name)}</text>"
    )
    return parts


def _foot(x: Axis, panel: _Panel, words: Wording) -> list[str]:
    """The horizontal axis below a panel."""
    bottom = panel.bottom
    parts = [f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>']
    for tick, text in zip(x.ticks, _tick_texts(x.ticks, words), strict=True):
        across = _x(x, tick)
        parts.append(
            f'<line class="tick" x1="{across:.1f}" x2="{across:.1f}" y1="{bottom}" y2="{bottom + 4}"/>'
        )
        parts.append(f'<text x="{across:.1f}" y="{bottom + 19}" text-anchor="middle">{text}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text class="name" x="{middle}" y="{bottom + BOTTOM - 8}" text-anchor="middle">'
        f"{escape(x.name)}</text>"
    )
    return parts


def _mark(x: Axis, position: float, text: str) -> list[str]:
    across = _x(x, position)
    on_the_right = across < (LEFT + WIDTH) / 2
    anchor, shift = ("start", 5) if on_the_right else ("end", -5)
    return [
        f'<line class="mark" x1="{across:.1f}" x2="{across:.1f}" y1="{TOP - 14}" y2="{HEIGHT - BOTTOM}"/>',
        f'<text x="{across + shift:.1f}" y="{TOP - 7}" text-anchor="{anchor}">{escape(text)}</text>',
    ]


def _svg(parts: list[str], alt: str, height: float = HEIGHT) -> Markup:
    inside = "".join(parts)
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(alt)}">'
        f"{inside}</svg>"
    )


def _x(axis: Axis, value: float) -> float:
    return LEFT + (value - axis.low) / (axis.high - axis.low) * (WIDTH - LEFT - RIGHT)


def _y(axis: Axis, value: float, panel: _Panel) -> float:
    return panel.bottom - (value - axis.low) / (axis.high - axis.low) * (panel.bottom - panel.top)
