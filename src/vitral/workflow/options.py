"""What `train` was asked for beyond the recipe.

It is kept in recipe.toml, so that resuming and evaluating need to be told nothing again.
"""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from vitral.data import LabelledImages, open_data
from vitral.data.scan import Progress
from vitral.errors import UsageError, VitralError
from vitral.runs import RunFolder
from vitral.training import Recipe
from vitral.transfer import ProbeRecipe
from vitral.weights import Overrides

# What can be said about weights, but for what a recipe says already.
SAID = tuple(one.name for one in fields(Overrides) if one.name not in ("pool", "fit"))


@dataclass(frozen=True)
class Options:
    """What a run was asked to do, as its recipe.toml keeps it; None: not asked for, or left to the machine.

    Args:
        data: DATA as it was written.
        model, weights: what the run started from, one of the two.
        columns: as on the command line, "path=id_code,label=diagnosis".
        backend: that computes a probe's features, as `probe` has it.
        seed, device, precision, compile, workers, validation, split_seed, folds, seeds, group_by, data_root, strict: as
            `train` has them; the runs of single folds and seeds have neither of these two.
        range: the values of images that become 0 and 1; whoever says it has 8-bit pictures read band by band, too.
        display_bands: which of an image's bands people are shown.
        said: about the weights; a line of recipe.toml for each field of `SAID`.
    """

    data: str
    model: str | None = None
    weights: str | None = None
    seed: int = 0
    backend: str | None = None
    device: str = "auto"
    precision: str = "auto"
    compile: bool | None = None
    workers: int | None = None
    validation: float | None = None
    split_seed: int = 0
    folds: int | None = None
    seeds: tuple[int, ...] | None = None
    group_by: str | None = None
    columns: str | None = None
    data_root: str | None = None
    strict: bool = False
    range: tuple[float, float] | None = None
    display_bands: tuple[int, ...] | None = None
    said: Overrides = field(default_factory=Overrides)

    def to_dict(self) -> dict[str, Any]:
        """Flat values; None where nothing was asked for."""
        values = asdict(self)
        said = {name: value for name, value in values.pop("said").items() if name in SAID}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in (values | said).items()}

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def open(
        self, *, splits: Path | None = None, bands: bool = False, progress: Progress | None = None
    ) -> LabelledImages:
        """Open DATA as it was asked for.

        Args:
            splits: a run's splits.csv, which then says which image is on which side.
            bands: read 8-bit pictures band by band, as they are anyway where a range was said.
            progress: called with the number of images looked at so far and in all.
        """
        return open_data(
            self.data,
            columns=columns_of(self.columns),
            data_root=self.data_root,
            group_by=self.group_by,
            validation=None if splits else self.validation,
            split_seed=self.split_seed,
            folds=None if splits else self.folds,
            strict=self.strict,
            splits=splits,
            bands=bands or self.range is not None,
            progress=progress,
        )


def read_options(folder: RunFolder) -> tuple[Options, Recipe | ProbeRecipe]:
    """What a run was asked to do, and by which recipe: of a training, or of a probe.

    Raises:
        UsageError: the folder holds no run.
        VitralError: its recipe.toml is missing or damaged.
    """
    folder.read_run()
    own = {field.name for field in fields(Options)} - {"said"}
    try:
        lines = tomllib.loads(folder.recipe.read_text(encoding="utf-8"))
        values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in lines.items()}
        given: dict[str, Any] = {name: value for name, value in values.items() if name in own}
        said: dict[str, Any] = {name: value for name, value in values.items() if name in SAID}
        options = Options(**given, said=Overrides(**said))
        kind = ProbeRecipe if "method" in values else Recipe
        taught = {field.name for field in fields(kind)}
        return options, kind(**{name: value for name, value in values.items() if name in taught})
    except (OSError, ValueError, TypeError) as error:
        raise VitralError(f"{folder.recipe} cannot be read ({error}): restore it, or train anew") from error


def open_own_data(folder: RunFolder, options: Options, progress: Progress | None = None) -> LabelledImages:
    """The images that a run was trained on, on the sides that its splits.csv says.

    Raises:
        UsageError: DATA is not where it was; the text says how it was named.
        DataError: images are missing or changed.
    """
    check_is_here(folder, options)
    return options.open(splits=folder.splits, progress=progress)


def check_is_here(folder: RunFolder, options: Options) -> None:
    """UsageError where a run's DATA was a path, and no such path is seen from the current folder."""
    spec = options.data
    is_a_name = (
        spec in ("digits", "food-vision-mini") or ":" in spec[2:]
    )  # a Windows path has its colon before
    if not is_a_name and not Path(spec).expanduser().exists():
        raise UsageError(
            f"{spec}, which {folder.path} was trained on, is not here: "
            "call vitral from the folder where training was started, or put the images back"
        )


def columns_of(text: str | Mapping[str, str] | None) -> dict[str, str] | None:
    """`path=id_code,label=diagnosis` as {"path": "id_code", "label": "diagnosis"}.

    Raises:
        UsageError: a part without `=`.
    """
    if text is None or isinstance(text, Mapping):
        return dict(text) if text else None
    parts = [part.partition("=") for part in text.split(",")]
    if not all(name.strip() and sign and heading.strip() for name, sign, heading in parts):
        raise UsageError(f"--columns {text!r} is not of the form path=HEADING,label=HEADING: write it so")
    return {name.strip(): heading.strip() for name, _, heading in parts}


def columns_text(columns: str | Mapping[str, str] | None) -> str | None:
    """The reverse of `columns_of`, checked."""
    parsed = columns_of(columns)
    return ",".join(f"{name}={heading}" for name, heading in parsed.items()) if parsed else None


def range_of(range: str | Sequence[float] | None) -> tuple[float, float] | None:
    """`0,4095` or two numbers as the values that become 0 and 1.

    Raises:
        UsageError: these are no two numbers, the lower one first.
    """
    if range is None:
        return None
    try:
        low, high = map(float, range.split(",") if isinstance(range, str) else range)
    except (TypeError, ValueError):
        low, high = 0.0, 0.0
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(f"--range takes two numbers, the lower one first, such as 0,4095, not {range!r}")
    return low, high


def bands_of(bands: str | Sequence[int] | None) -> tuple[int, ...] | None:
    """`3,2,1` or numbers as the bands that are shown as red, green and blue, or one in grey.

    Raises:
        UsageError: these are no one or three whole numbers from 1 on.
    """
    if bands is None:
        return None
    try:
        numbers = tuple(map(int, bands.split(",") if isinstance(bands, str) else bands))
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) not in (1, 3) or min(numbers) < 1:
        raise UsageError(
            "--display-bands takes the numbers of three bands for red, green and blue, such as 3,2,1, or of one, "
            f"not {bands!r}"
        )
    return numbers
