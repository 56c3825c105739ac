"""Figures of looks inside a network as PNG, drawn as those of a run are: filters, positions, distances and so on."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from vitral.inspection import HIGH_NORM, FeatureComponents, FilterComponents, NormSummary
from vitral.language import Language
from vitral.reporting.drawing import COLOURS, DOTS_PER_INCH, INK, MUTED, save, style_axes
from vitral.reporting.looks_texts import looks_wording
from vitral.reporting.texts import Wording

# Little maps along a side, no more than can be told apart; and all their patches along a side, so that each keeps a few
# pixels of the picture: of 37 x 37 patches 11 x 11 maps.
MOST_MAPS, LEAST_MAPS, MOST_PATCHES = 16, 8, 420
# Inches: the width of the larger figures, and the height of a chart above pictures.
ACROSS, CHART = 7, 3.6
SPECIAL_STYLES = {"class_token": "s", "distillation_token": "D", "registers": "^"}


def write_filters(path: str | Path, filters: FilterComponents, language: Language = "en") -> Path:
    """Draw the components, the first of them top left, each at its own contrast: grey is 0.

    Three channels are shown as red, green and blue, of any other number the first one in grey.
    """
    words = looks_wording(language)
    count, height, width, channels = filters.components.shape
    columns = min(7, count)
    rows = -(-count // columns)
    figure = _figure(ACROSS * columns / 7, ACROSS * rows / 7 * height / width + 0.5)
    title = words.say(
        "filters_title",
        count=words.number(count),
        filters=words.number(filters.filters),
        share=words.percent(float(filters.variance.sum())),
    )
    _title(figure, title)
    for axes, component in zip(
        figure.subplots(rows, columns, squeeze=False).flat, filters.components, strict=False
    ):
        picture = 0.5 + component / (2 * np.abs(component).max())
        shown = picture if channels == 3 else picture[..., 0]
        axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    for axes in figure.axes:
        axes.set_axis_off()
    return save(figure, Path(path))


def write_positions(path: str | Path, similarity: np.ndarray, language: Language = "en") -> Path:
    """Draw a grid of maps: at its place, each patch's similarity to all patches.

    Args:
        path: the PNG to write.
        similarity: `(rows, columns, rows, columns)`, from `position_similarity`; of a big grid an evenly spaced part of
            the maps is shown.
        language: of the texts.
    """
    words = looks_wording(language)
    rows, columns = similarity.shape[:2]
    maps = min(MOST_MAPS, max(LEAST_MAPS, MOST_PATCHES // max(rows, columns)))
    row, column = _spread(rows, maps), _spread(columns, maps)
    gap = max(1, round(min(rows, columns) / 12))
    mosaic = np.full((len(row) * (rows + gap) - gap, len(column) * (columns + gap) - gap), np.nan)
    for down, i in enumerate(row):
        for across, j in enumerate(column):
            top, left = down * (rows + gap), across * (columns + gap)
            mosaic[top : top + rows, left : left + columns] = similarity[i, j]
    title = words.say("positions_title", rows=rows, columns=columns)
    if len(row) < rows or len(column) < columns:
        title += words.say("positions_subset", shown_rows=len(row), shown_columns=len(column))
    tall = min(1.6, max(0.4, mosaic.shape[0] / mosaic.shape[1]))
    figure = _figure(ACROSS, 0.6 + tall * (ACROSS - 1.2))
    axes = figure.subplots()
    _title(figure, title)
    image = axes.imshow(mosaic, cmap="viridis", vmax=1.0, interpolation="nearest")
    axes.set_yticks([down * (rows + gap) + (rows - 1) / 2 for down in range(len(row))], [str(i) for i in row])
    axes.set_xticks(
        [across * (columns + gap) + (columns - 1) / 2 for across in range(len(column))],
        [str(j) for j in column],
    )
    axes.set_ylabel(words["patch_row"], color=INK)
    axes.set_xlabel(words["patch_column"], color=INK)
    _frameless(axes)
    _colour_bar(figure, axes, image, words["cosine"], words)
    return save(figure, Path(path))


def write_distance(
    path: str | Path, distances: np.ndarray, uniform: float, images: int, language: Language = "en"
) -> Path:
    """Draw each head's mean attention distance over the layers.

    Args:
        path: the PNG to write.
        distances: `(layers, heads)` in pixels; NaN is not drawn.
        uniform: the distance in pixels of a head that looks at all patches alike.
        images: how many the means are of.
        language: of the texts.
    """
    words = looks_wording(language)
    figure = _figure(6.4, 4.2)
    axes = figure.subplots()
    layers, heads = distances.shape
    axes.scatter(
        np.repeat(np.arange(layers), heads),
        distances.ravel(),
        s=22,
        color=COLOURS["validation"],
        alpha=0.75,
        linewidth=0,
        label=words["head"],
        zorder=3,
    )
    text = words.say("uniform", distance=words.number(uniform))
    axes.axhline(uniform, color=INK, linewidth=1, linestyle=":", label=text)
    style_axes(axes, words, words["layer"])
    axes.set_ylabel(words["distance_unit"], color=INK)
    axes.set_ylim(0, 1.08 * max(uniform, float(np.nanmax(distances, initial=0.0))) or 1)
    axes.set_xlim(-0.6, layers - 0.4)
    _title(figure, words.say("distance_title", images=words.counted("image_count", images)))
    _legend(figure, axes)
    return save(figure, Path(path))


def write_norms(
    path: str | Path,
    patches: Sequence[NormSummary],
    special: Mapping[str, Sequence[NormSummary]],
    images: int,
    pictures: Sequence[np.ndarray],
    maps: np.ndarray,
    language: Language = "en",
) -> Path:
    """Draw the norms of tokens over the layers, and below a map of the last layer's for some images.

    Args:
        path: the PNG to write.
        patches: one summary a layer.
        special: the same of special tokens, under `class_token`, `distillation_token` and `registers`.
        images: how many these are of.
        pictures: some of them as the network sees them, uint8 `(height, width, channels)`, channels 1 or 3.
        maps: the norms of their patches, `(pictures, rows, columns)`.
        language: of the texts.
    """
    words = looks_wording(language)
    across = max(len(pictures), 4)
    of_maps = 2 * ACROSS / across * _tall(maps)
    figure = _figure(ACROSS, CHART + of_maps)
    above, below = np.ravel(figure.subfigures(2, 1, height_ratios=[CHART, of_maps]))  # type: ignore[arg-type]
    axes = above.subplots()
    layers = np.arange(len(patches))
    colour = COLOURS["validation"]

    def line(field: str) -> list[float]:
        return [getattr(one, field) for one in patches]

    axes.fill_between(layers, line("lower_quartile"), line("upper_quartile"), color=colour, alpha=0.2, lw=0)
    axes.plot(layers, line("median"), color=colour, lw=1.8, label=words["patches_median"], zorder=3)
    axes.plot(layers, line("percentile_99"), color=colour, lw=1.2, ls="--", label=words["patches_99"])
    axes.plot(layers, line("maximum"), color=colour, ls="", marker="x", ms=4, label=words["patches_maximum"])
    bound = [HIGH_NORM * value for value in line("median")]
    text = words.say("high_bound", times=words.significant(HIGH_NORM))
    axes.plot(layers, bound, color=INK, lw=1, ls=":", label=text)
    for name, summaries in special.items():
        medians = [one.median for one in summaries]
        axes.plot(
            layers, medians, color=COLOURS["test"], lw=1, marker=SPECIAL_STYLES[name], ms=4, label=words[name]
        )
    style_axes(axes, words, words["layer"])
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(_plain(words))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel(words["norm_unit"], color=INK)
    _title(figure, words.say("norms_title", images=words.counted("image_count", images)))
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    grid = below.subplots(2, across, squeeze=False)
    for cell in grid.flat:
        cell.set_axis_off()
    for place, (picture, norms) in enumerate(zip(pictures, maps, strict=True)):
        _picture(grid[0, place], picture)
        image = grid[1, place].imshow(norms, cmap="inferno", vmin=0, vmax=maps.max(), interpolation="nearest")
        if place == 0:  # both rows make room for the bar, so that images stand above their maps
            _colour_bar(below, list(grid.flat), image, words["norm_unit"], words)
    return save(figure, Path(path))


def write_components(
    path: str | Path, pictures: Sequence[np.ndarray], components: FeatureComponents, language: Language = "en"
) -> Path:
    """Draw each image beside the colours of its patches.

    Args:
        path: the PNG to write.
        pictures: as the network sees them, uint8 `(height, width, channels)`, channels 1 or 3.
        components: of the same images.
        language: of the texts.
    """
    words = looks_wording(language)
    pairs = 2 if len(pictures) > 1 else 1
    rows = -(-len(pictures) // pairs)
    side = ACROSS / 4
    figure = _figure(2 * pairs * side, rows * side * _tall(components.colours[..., 0]) + 0.45)
    grid = figure.subplots(rows, 2 * pairs, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, (picture, colours) in enumerate(zip(pictures, components.colours, strict=True)):
        row, pair = divmod(place, pairs)
        _picture(grid[row, 2 * pair], picture)
        grid[row, 2 * pair + 1].imshow(colours, interpolation="nearest")
    share = words.percent(float(components.variance.sum()))
    _title(figure, words.say("components_title", share=share))
    return save(figure, Path(path))


def write_layer_probes(
    path: str | Path,
    accuracies: Sequence[float],
    intervals: Sequence[tuple[float, float]],
    *,
    majority: float,
    split: str,
    images: int,
    language: Language = "en",
) -> Path:
    """Draw the accuracy of each layer's linear probe with its 95 % interval.

    Args:
        path: the PNG to write.
        accuracies, intervals: of each layer, from 0 to 1.
        majority: what always answering the commonest class gives.
        split: which images were answered, `validation` or `test`.
        images: how many.
        language: of the texts.
    """
    words = looks_wording(language)
    figure = _figure(6.4, 4.2)
    axes = figure.subplots()
    values = 100 * np.array(accuracies)
    low, high = (100 * np.array(ends) for ends in zip(*intervals, strict=True))
    axes.errorbar(
        np.arange(len(values)),
        values,
        yerr=np.maximum([values - low, high - values], 0),
        color=COLOURS[split],
        lw=1.6,
        marker="o",
        ms=4,
        capsize=3,
        label=words["interval"],
        zorder=3,
    )
    text = words.say("majority", value=words.percent(majority))
    axes.axhline(100 * majority, color=INK, linewidth=1, linestyle=":", label=text)
    style_axes(axes, words, words["layer"])
    axes.set_ylim(0, 102)
    axes.set_xlim(-0.6, len(values) - 0.4)
    axes.set_ylabel(words.say("accuracy_unit", split=words[split]), color=INK)
    said = words.counted("split_images", images, split=words[split])
    _title(figure, words.say("probe_title", images=said))
    _legend(figure, axes)
    return save(figure, Path(path))


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white", layout="constrained")


def _title(figure: Figure, text: str) -> None:
    figure.suptitle(text, fontsize=9, color=INK, x=0.01, ha="left")


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, frameon=False, fontsize=8, labelcolor=INK, loc="outside lower left", ncols=3
    )


def _picture(axes: Axes, picture: np.ndarray) -> None:
    shown = picture if picture.shape[2] == 3 else picture[..., 0]
    axes.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    axes.set_axis_off()


def _colour_bar(
    figure: Figure | SubFigure, axes: Axes | list[Axes], image: AxesImage, name: str, words: Wording
) -> None:
    bar = figure.colorbar(image, ax=axes, shrink=0.7, aspect=30, format=_plain(words))
    bar.set_label(name, color=INK, fontsize=8)
    bar.ax.tick_params(colors=MUTED, labelsize=7)


def _plain(words: Wording) -> FuncFormatter:
    return FuncFormatter(lambda value, _: words.significant(round(value, 6)))


def _frameless(axes: Axes) -> None:
    axes.tick_params(length=0, colors=MUTED, labelsize=7)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _spread(count: int, most: int) -> list[int]:
    """At most so many whole numbers from 0 to count - 1, evenly spaced, both ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()


def _tall(maps: np.ndarray) -> float:
    """Height of a map in widths, within what a page can hold."""
    return min(2.0, max(0.5, maps.shape[1] / maps.shape[2]))
