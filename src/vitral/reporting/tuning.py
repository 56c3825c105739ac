"""Speed against accuracy as a PNG: every candidate of a tuning, and the Pareto front."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from vitral.language import Language
from vitral.reporting.drawing import DOTS_PER_INCH, GRID, INK, MUTED, families, save, style_axes
from vitral.reporting.texts import Wording, printable
from vitral.reporting.tuning_texts import name_of, tuning_wording

# As in the other figures these colours stay apart in every kind of colour blindness; shapes tell them apart in print.
BACKENDS = {"torch": ("#d1570a", "s"), "openvino": ("#0b6fb8", "o"), "onnx": ("#77808c", "^")}
# How what is pointed out is ringed: shape, size and width of the line.
RINGS = {"recommended": ("*", 20, 1.2), "default": ("o", 13, 1.4), "reference": ("D", 13, 1.4)}
# Room beside the outermost points, in their own measure.
MARGIN = 1.15


def write_tuning(path: str | Path, found: Mapping[str, Any], language: Language = "en") -> Path:
    """Draw images per second, on a logarithmic axis, against accuracy with its 95 % interval.

    The points of the front are joined and numbered as in the table, the fastest first; what is recommended, what is
    taken without asking, and fp32 in torch are ringed.

    Args:
        path: the PNG to write.
        found: a tuning as tune.json keeps it.
        language: of the texts.
    """
    words = tuning_wording(language)
    figure = Figure(figsize=(9.6, 4.8), dpi=DOTS_PER_INCH, facecolor="white", layout="constrained")
    axes = figure.subplots()
    _draw_front(axes, found, words)
    for role in RINGS:
        _ring(axes, found, role, words)
    _draw_others(axes, found, words)
    reference = found["candidates"][found["reference"]]
    points = words.significant(found["max_drop"])
    axes.axhline(
        100 * reference[found["measure"]] - found["max_drop"],
        color=INK,
        linewidth=1,
        linestyle=":",
        label=words.say("level", points=points),
        zorder=1,
    )
    _style(axes, found, words)
    said = words.counted("split_images", found["images"], split=words[found["split"]])
    title = words.say("title", weights=printable(found["name"]), images=said, device=found["device"])
    figure.suptitle(title, fontsize=9, color=INK, x=0.01, ha="left", family=families(), parse_math=False)
    legend = axes.legend(
        frameon=False, fontsize=8, labelcolor=INK, loc="upper left", bbox_to_anchor=(1.0, 1.0)
    )
    for handle in legend.legend_handles:
        if handle is not None and hasattr(handle, "set_markersize"):
            handle.set_markersize(min(handle.get_markersize(), 9))  # pyright: ignore[reportAttributeAccessIssue]
    return save(figure, Path(path))


def _draw_others(axes: Axes, found: Mapping[str, Any], words: Wording) -> None:
    """Small: what the front beats."""
    label: str | None = words["others"]
    for one in found["candidates"]:
        if not one["front"]:
            x, y = _place(one, found)
            shape = BACKENDS[one["backend"]][1]
            axes.plot(x, y, color=MUTED, marker=shape, ms=3.5, ls="", alpha=0.6, label=label, zorder=2)
            label = None


def _draw_front(axes: Axes, found: Mapping[str, Any], words: Wording) -> None:
    measure = found["measure"]
    front = [one for one in found["candidates"] if one["front"]]
    axes.plot(
        *zip(*(_place(one, found) for one in front), strict=True),
        color=INK,
        linewidth=1,
        label=words["front"],
        zorder=3,
    )
    for number, one in enumerate(front, start=1):
        x, y = _place(one, found)
        colour, shape = BACKENDS[one["backend"]]
        low, high = (100 * end for end in one[f"{measure}_interval"])
        axes.vlines(x, low, high, color=colour, linewidth=1.2, alpha=0.35, zorder=2)
        label = f"{number}  {name_of(one, words)}"
        axes.plot(x, y, color=colour, marker=shape, ms=6, ls="", label=label, zorder=4)
        axes.annotate(
            str(number), (x, y), (6, 5), textcoords="offset points", fontsize=8, color=INK, zorder=6
        )


def _ring(axes: Axes, found: Mapping[str, Any], role: str, words: Wording) -> None:
    shape, size, width = RINGS[role]
    x, y = _place(found["candidates"][found[role]], found)
    axes.plot(
        x,
        y,
        marker=shape,
        ms=size,
        mew=width,
        ls="",
        color=INK,
        fillstyle="none",
        label=words[role],
        zorder=5,
    )


def _style(axes: Axes, found: Mapping[str, Any], words: Wording) -> None:
    style_axes(axes, words, words.say("speed_unit", batch=found["batch_size"]))
    axes.set_ylabel(words.say(f"{found['measure']}_unit", split=words[found["split"]]), color=INK)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    speeds = np.array([one["images_per_second"] for one in found["candidates"]])
    axes.set_xscale("log")
    axes.set_xlim(speeds.min() / MARGIN, speeds.max() * MARGIN)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words.significant(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _place(one: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[float, float]:
    return one["images_per_second"], 100 * one[found["measure"]]
