"""What all figures share: colours, axes, fonts, and how they are written."""

import warnings
from functools import cache
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vitral.files import written_whole
from vitral.reporting.texts import Wording

DOTS_PER_INCH = 160

# Grey, blue and vermilion stay apart in every kind of colour blindness; line styles tell them apart in print.
COLOURS = {"train": "#77808c", "validation": "#0b6fb8", "test": "#d1570a"}
LINES = {"train": (0, (4, 1.6)), "validation": "solid", "test": "solid"}
INK, MUTED, GRID = "#1d2329", "#5c6670", "#e4e7ea"


def style_axes(axes: Axes, words: Wording, x_name: str) -> None:
    """A plain chart over whole numbers, such as epochs or layers: light lines across, numbers as at home."""
    axes.set_xlabel(x_name, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: words.significant(value)))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, length=3, labelsize=8)
    axes.margins(x=0.02)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(MUTED)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all."""
    with written_whole(path) as file, warnings.catch_warnings():
        # A name in a script that no font here has is drawn as boxes; a warning for each letter helps nobody.
        warnings.filterwarnings("ignore", message="Glyph")
        # More compression takes four times as long, and of photographs saves a twelfth of the bytes.
        options = {"compress_level": 2}
        FigureCanvasAgg(figure).print_png(file, metadata={"Software": "vitral"}, pil_kwargs=options)
    return path


@cache
def families() -> list[str]:
    """DejaVu, then whatever this machine has for scripts that DejaVu lacks, so that no class name turns to boxes."""
    wider = (
        "Noto Sans CJK JP",
        "Noto Sans CJK SC",
        "Hiragino Sans",
        "PingFang SC",
        "Microsoft YaHei",
        "Arial Unicode MS",
    )
    present = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in wider if name in present)]
