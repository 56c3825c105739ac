"""Figures of a run as PNG: its curves and its first batch. Drawn through matplotlib's objects, no global state."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vitral.language import Language
from vitral.reporting.content import read_run
from vitral.reporting.curves import curve, curves_by_split
from vitral.reporting.drawing import COLOURS, DOTS_PER_INCH, INK, LINES, MUTED, families, save, style_axes
from vitral.reporting.texts import Wording, of_measure, printable, wording_of

BATCH_LIMIT = 32


def write_curves(run_path: str | Path, language: Language = "en") -> Path:
    """Draw `RUN/curves.png`: loss, accuracy and learning rate by epoch, for whichever splits were measured.

    Of several labels an image, mean average precision takes the place of accuracy.

    Args:
        run_path: a run folder with `metrics.jsonl`.
        language: `"en"` or `"pt"`.

    Returns:
        The path of the figure.

    Raises:
        DataError: the folder holds no run.
        UsageError: an unknown language.
    """
    words = wording_of(language)
    run = read_run(run_path)
    figure = Figure(figsize=(9, 5.2), dpi=DOTS_PER_INCH, facecolor="white", layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=[4, 1])
    loss, accuracy = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    measure = run.curve_measure
    rate = figure.add_subplot(grid[1, :])

    losses = curves_by_split(run.metrics, "loss")
    _draw_splits(loss, losses, words)
    highest = max((value for points in losses.values() for _, value in points), default=1)
    loss.set_ylim(0, 1.08 * highest or 1)
    _draw_splits(accuracy, curves_by_split(run.metrics, measure, scale=100), words)
    accuracy.set_ylim(0, 102)
    chance = run.chance(measure)
    if chance is not None:
        label = _shortened(printable(words.label(chance.label)), 24)
        text = words.say(of_measure("chance", measure), label=label, majority=words.percent(chance.value))
        accuracy.axhline(100 * chance.value, color=INK, linewidth=1, linestyle=":", label=text)
    points = curve(run.metrics, "learning_rate")
    rate.plot(*_columns(points), color=MUTED, linewidth=1.4, marker="o" if len(points) == 1 else None)
    rate.set_ylim(0, 1.15 * max((value for _, value in points), default=1) or 1)
    for axes, name in ((loss, "loss_unit"), (accuracy, f"{measure}_unit"), (rate, "learning_rate")):
        style_axes(axes, words, words["epoch"])
        axes.set_ylabel(words[name], color=INK)
    rate.yaxis.label.set_fontsize(8)
    rate.yaxis.set_major_locator(MaxNLocator(2, steps=[1, 2, 5, 10]))
    if run.best_epoch is not None:
        text = words.say("best_epoch", epoch=run.best_epoch)
        for axes, label in ((loss, None), (accuracy, text)):
            axes.axvline(
                run.best_epoch, color=COLOURS["validation"], linewidth=1, alpha=0.55, zorder=1, label=label
            )
    _legend(figure, loss, accuracy)

    return save(figure, run.path / "curves.png")


def write_batch(path: str | Path, images: np.ndarray, labels: Sequence[str]) -> Path:
    """Draw up to 32 images as the network sees them, each with its label below.

    Args:
        path: the PNG to write.
        images: uint8 `(images, height, width, channels)`; other than three channels show the first one in grey.
        labels: one text an image; mixed labels as one text, for example `"pizza 70% + sushi 30%"`.
    """
    shown = min(len(images), BATCH_LIMIT)
    if shown == 0 or len(images) != len(labels):
        raise ValueError(
            f"{len(images)} images and {len(labels)} labels: give at least one image, and a label each"
        )
    columns = min(8, shown)
    rows = -(-shown // columns)
    height, width = images.shape[1:3]
    cell = 1.45
    figure = Figure(
        figsize=(columns * cell, rows * (cell * min(2.0, max(0.5, height / width)) + 0.36)),
        dpi=DOTS_PER_INCH,
        facecolor="white",
        layout="constrained",
    )
    grid = figure.subplots(rows, columns, squeeze=False)
    # Enlarging shows the network's pixels as they are; only shrinking may smooth.
    interpolation = "nearest" if width <= cell * DOTS_PER_INCH else "antialiased"
    for index, axes in enumerate(grid.flat):
        axes.set_axis_off()
        if index >= shown:
            continue
        image = images[index] if images.shape[3] == 3 else images[index, :, :, 0]
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation=interpolation)
        text = "\n".join(textwrap.wrap(printable(labels[index]), 22, max_lines=2, placeholder=" …"))
        axes.set_title(
            text, fontsize=7, color=INK, y=-0.02, va="top", pad=0, parse_math=False, family=families()
        )
    return save(figure, Path(path))


def _draw_splits(axes: Axes, curves: dict[str, tuple[tuple[float, float], ...]], words: Wording) -> None:
    for split, points in curves.items():
        axes.plot(
            *_columns(points),
            color=COLOURS[split],
            linestyle=LINES[split],
            linewidth=1.8,
            marker="o" if len(points) <= 40 else None,
            markersize=3.2,
            label=words[split],
            zorder=3,
        )


def _legend(figure: Figure, *panels: Axes) -> None:
    """One legend above the panels: every line of any of them once."""
    lines: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        lines |= zip(labels, handles, strict=True)
    if not lines:
        return
    legend = figure.legend(
        list(lines.values()),
        list(lines),
        frameon=False,
        fontsize=9,
        loc="outside upper left",
        ncols=5,
        labelcolor=INK,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a class may be called "$5"
        text.set_fontfamily(families())


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
