"""`probe`: a classifier on frozen features, from DATA and WEIGHTS to a complete run folder, in one call."""

import sys
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from vitral.errors import DataError
from vitral.language import choose_language
from vitral.reporting import write_repetition
from vitral.runs import RunFolder
from vitral.training.recipe import to_toml
from vitral.transfer import ProbeRecipe, shots_from
from vitral.weights import DEFAULT, overrides_from, read_config
from vitral.workflow.facts import run_facts
from vitral.workflow.one_probe import (
    ReadyProbe,
    begin_probe,
    carry_out_probe,
    describe_probe,
    prepare_probe,
)
from vitral.workflow.options import SAID, Options, bands_of, columns_text, range_of
from vitral.workflow.overview import describe_data
from vitral.workflow.progress import Display
from vitral.workflow.repetition import Part, begin, check_request, parts_of, run_parts
from vitral.workflow.reports import images_of, pictures
from vitral.workflow.run import Run
from vitral.workflow.starting import open_as_taken


def probe(
    data: str | PathLike[str],
    *,
    weights: str | PathLike[str] | None = None,
    output: str | PathLike[str] | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    method: str = "least-squares",
    layer: int = -1,
    feature_layers: int = 0,
    pool: str = "",
    shots: str | Sequence[int | str] | None = None,
    draws: int = 5,
    image_size: int = 0,
    fit: str = "crop",
    flip: str = "horizontal",
    seed: int = 0,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    validation: float | None = None,
    split_seed: int = 0,
    folds: int | None = None,
    seeds: Sequence[int] | None = None,
    group_by: str | None = None,
    columns: str | Mapping[str, str] | None = None,
    data_root: str | PathLike[str] | None = None,
    strict: bool = False,
    range: str | Sequence[float] | None = None,
    display_bands: str | Sequence[int] | None = None,
    language: str | None = None,
    command: Sequence[str] | None = None,
    progress: bool = True,
    **said: Any,
) -> Run:
    """Fit a classifier to the features of a network that stays as it is, and leave a complete run folder.

    Features are computed once and kept in the cache; a changed image, network or preprocessing is noticed.

    Args:
        data: DATA, as for `train`.
        weights: WEIGHTS whose features are taken; the catalogue's default unless given.
        output: the run folder; the next free runs/NAME-1, -2, … unless said.
        overwrite: replace a run that stands there.
        dry_run: stop before the features are computed, but for a few to tell the time, and leave no run.
        method: least-squares, logistic or knn.
        layer: the network ends with this one, from 0, or from the end with -1.
        feature_layers: so many of the last layers side by side; 0: 1 or 6, as left-out images are answered better.
        pool: token, average, token_average, distilled, attention; "": as feature_layers.
        shots: numbers of training images a class to learn from as well, "1,5,10,all"; the figures are in
            evaluation.json under "shots".
        draws: of each number of shots.
        image_size: side in pixels; 0: the checkpoint's own, at most 224.
        fit: crop, pad, stretch.
        flip: horizontal: training images count once more, mirrored; none: half the time.
        seed: of draws and folds.
        backend, device, precision: of what computes the features, as for `Classifier.load`; int8 only when asked for.
        folds, seeds: several probes instead of one, each in a run folder below the one returned, as for `train`.
        validation, split_seed, group_by, columns, data_root, strict, range, display_bands: of DATA, as for `train`.
        language: "en" or "pt", of what people read; the system's unless said.
        command: what run.json keeps as the command that made the run.
        progress: whether a bar is shown.
        said: what the files of `weights` do not settle, such as heads=6 (see `vitral.weights.Overrides`).

    Raises:
        UsageError: what was asked for contradicts itself, or a run stands in the way.
        DataError: DATA cannot be learned from, or have too few images for the shots.
        WeightsError, ConfigError: the weights do not fit.
    """
    known = {name: said.pop(name) for name in SAID if name in said}
    options = Options(
        data=fspath(data),
        weights=fspath(weights) if weights is not None else DEFAULT,
        seed=seed,
        backend=backend,
        device=device,
        precision=precision,
        validation=validation,
        split_seed=split_seed,
        folds=folds,
        seeds=tuple(seeds) if seeds is not None else None,
        group_by=group_by,
        columns=columns_text(columns),
        data_root=fspath(data_root) if data_root is not None else None,
        strict=strict,
        range=range_of(range),
        display_bands=bands_of(display_bands),
        said=overrides_from(known | said),
    )
    asked: dict[str, Any] = {"method": method, "fit": fit, "flip": flip, "pool": pool}
    recipe = ProbeRecipe(
        layer=layer,
        feature_layers=feature_layers,
        image_size=image_size,
        shots=shots_from(shots),
        draws=draws,
        **asked,
    )
    check_request(folds, seeds, seed, weights, Path(output) if output is not None else None)
    called = list(command) if command is not None else ["python", Path(sys.argv[0]).name]
    with Display(choose_language(language), shown=progress) as display:
        folder = RunFolder(Path(output)) if output is not None else None
        if folder is not None:
            folder.refuse_if_present(overwrite)
        if folds is not None or seeds is not None:
            return _probe_several(options, recipe, folder, called, display, dry_run)
        ready = prepare_probe(options, recipe, display)
        overview = describe_probe(ready)
        display.overview(overview)
        if dry_run:
            return Run(Path(output or "runs"), overview)
        folder = folder or RunFolder.next_free(ready.data.name)
        begin_probe(folder, ready, overview, called)
        carry_out_probe(folder, ready, overview, display)
        return Run(folder.path, overview)


def _probe_several(
    options: Options,
    recipe: ProbeRecipe,
    folder: RunFolder | None,
    called: list[str],
    display: Display,
    dry_run: bool,
) -> Run:
    """A probe for every fold or seed, in the precision of the first; an image's features are computed once for all."""
    data = open_as_taken(options, display.counting)
    display.close()
    parts = parts_of(data, options.seeds, options.seed)

    def prepared(part: Part) -> ReadyProbe:
        alone = options.replace(folds=None, seeds=None, seed=part.seed)
        ready = prepare_probe(alone, recipe, display, part.data)
        if options.folds and not ready.data.split("test"):
            raise DataError(
                f"{part.name} has no image to test: {options.weights} has seen all of them, start from others"
            )
        return ready

    ready = [prepared(parts[0])]
    overview = describe_probe(ready[0])
    overview["data"] = describe_data(data)
    overview["repeated"] = {"folds" if options.folds else "seeds": len(parts)}
    overview["disk_bytes"] *= len(parts)
    display.overview(overview)
    if dry_run:
        return Run(folder.path if folder is not None else Path("runs"), overview)
    folder = folder or RunFolder.next_free(data.name)
    taken = ready[0].backbone
    options = options.replace(backend=taken.choice.backend, precision=taken.compute.precision)
    facts = run_facts(overview, called, data.digest, ready[0].weights_hash)
    begin(folder, parts, data, to_toml(recipe.to_dict() | options.to_dict()), facts)

    def run_one(part: Part, _after: int) -> None:
        one = ready.pop() if ready else prepared(part)
        about = describe_probe(one)
        begin_probe(part.folder(folder), one, about, called)
        carry_out_probe(part.folder(folder), one, about, display)

    run_parts(folder, parts, run_one, display, "the same command with --overwrite")
    seen = read_config(parts[0].folder(folder).path)[1]
    write_repetition(folder.path, language=display.language, images=pictures(images_of(data), seen))
    return Run(folder.path, overview)
