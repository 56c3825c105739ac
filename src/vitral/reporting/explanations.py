"""Figures about explanations: the heads of a layer, and how faithful explanations are."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from vitral.inference import Explanation
from vitral.inspection import Faithfulness
from vitral.language import Language
from vitral.reporting.drawing import DOTS_PER_INCH, GRID, INK, MUTED, save
from vitral.reporting.texts import wording_of

CELL = 1.9  # inches
COLOURS = {"explained": "#0b6fb8", "random": "#77808c"}


def write_heads(path: str | Path, explanation: Explanation, language: Language = "en") -> Path:
    """Draw where every head of a layer looked, each over the image, after the image itself.

    Args:
        path: the PNG to write.
        explanation: of method "attention".
        language: `"en"` or `"pt"`.
    """
    assert explanation.heads is not None
    words = wording_of(language)
    pictures = [("", Image.fromarray(explanation.picture))]
    for head in range(len(explanation.heads)):
        pictures.append((words.say("head", number=head), explanation.overlay(head)))
    height, width = explanation.picture.shape[:2]
    columns = math.ceil(math.sqrt(len(pictures))) + (len(pictures) > 4)
    rows = -(-len(pictures) // columns)
    figure = Figure(
        figsize=(columns * CELL, rows * (CELL * min(2.0, max(0.5, height / width)) + 0.25)),
        dpi=DOTS_PER_INCH,
        facecolor="white",
        layout="constrained",
    )
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in cells:
        axes.set_axis_off()
    for axes, (name, picture) in zip(cells, pictures, strict=False):
        # No more than is drawn anyway; what is smaller shows its pixels as they are.
        picture.thumbnail((640, 640))
        small = max(picture.size) < CELL * DOTS_PER_INCH
        axes.imshow(np.asarray(picture), interpolation="nearest" if small else "antialiased")
        axes.set_title(name, fontsize=8, color=INK)
    return save(figure, Path(path))


def write_faithfulness(path: str | Path, measured: Sequence[Faithfulness], language: Language = "en") -> Path:
    """Draw deletion and insertion over the share of the patches, in the order of relevance and at random.

    Args:
        path: the PNG to write.
        measured: of each image; the figure shows their mean, and lightly the middle half of them.
        language: `"en"` or `"pt"`.
    """
    words = wording_of(language)
    figure = Figure(figsize=(8, 3.6), dpi=DOTS_PER_INCH, facecolor="white", layout="constrained")
    fractions = np.linspace(0, 1, 101)
    for axes, kind in zip(figure.subplots(1, 2), ("deletion", "insertion"), strict=True):
        for name, colour in COLOURS.items():
            field = kind if name == "explained" else f"random_{kind}"
            curves = [np.interp(fractions, one.fractions, getattr(one, field)) for one in measured]
            low, high = np.quantile(curves, (0.25, 0.75), axis=0)
            axes.fill_between(100 * fractions, 100 * low, 100 * high, color=colour, alpha=0.15, linewidth=0)
            area = np.mean([one.areas()[field] for one in measured])
            label = words.say(f"order_{name}", area=words.percent(float(area)))
            axes.plot(
                100 * fractions, 100 * np.mean(curves, axis=0), color=colour, linewidth=1.8, label=label
            )
        axes.set_title(words[f"{kind}_title"], fontsize=9, color=INK)
        axes.set_xlabel(words[f"{kind}_share"], fontsize=8, color=INK)
        axes.set_ylabel(words[f"{kind}_score"], fontsize=8, color=INK)
        axes.set_xlim(0, 100)
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=MUTED, labelsize=8)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="lower right", labelcolor=INK)
    return save(figure, Path(path))
