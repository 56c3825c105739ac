"""`train`: from DATA and a model to a complete run folder, in one call."""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vitral.data import LabelledImages, without_seen, write_splits
from vitral.data.augment import mix
from vitral.data.loader import seed_of
from vitral.device import Compute, choose
from vitral.errors import DataError, UsageError, VitralError
from vitral.inference import Classifier, Normalise
from vitral.language import choose_language, in_both
from vitral.model import VisionTransformer, ViTConfig
from vitral.reporting import write_batch, write_repetition
from vitral.runs import RunFolder, kind_of
from vitral.training import Event, Listener, Notice, Plan, Recipe, continue_from, prepare
from vitral.training import run as run_plan
from vitral.training.checkpoint import has_state
from vitral.training.multi_label import fitted_recipe
from vitral.training.recipe import resolve_recipe, to_toml
from vitral.training.trainer import thresholds_before
from vitral.weights import DEFAULT, find_source, overrides_from, read_config, write_config
from vitral.workflow.facts import run_facts
from vitral.workflow.options import (
    SAID,
    Options,
    bands_of,
    columns_text,
    open_own_data,
    range_of,
    read_options,
)
from vitral.workflow.overview import describe_data, describe_plan
from vitral.workflow.progress import Display
from vitral.workflow.repetition import Part, begin, check_request, parts_of, run_parts
from vitral.workflow.reports import images_of, pictures, write_pages
from vitral.workflow.run import Run
from vitral.workflow.starting import (
    as_network_takes,
    new_config,
    open_as_taken,
    seen_by,
    start_anew,
    start_from,
)


def train(
    data: str | PathLike[str] | None = None,
    *,
    model: str | None = None,
    weights: str | PathLike[str] | None = None,
    recipe: str | PathLike[str] | None = None,
    output: str | PathLike[str] | None = None,
    overwrite: bool = False,
    resume: str | PathLike[str] | None = None,
    dry_run: bool = False,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    compile: bool | None = None,
    workers: int | None = None,
    time_limit: float | None = None,
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
    listen: Listener | None = None,
    **recipe_fields: Any,
) -> Run:
    """Train a model from scratch, or fine-tune one, and leave a complete run folder.

    With `folds` or `seeds` several are trained, in run folders below the one returned, whose `metrics` are about all.

    Args:
        data: DATA: a folder of class folders, a .csv, `digits`, `food-vision-mini`, `torchvision:NAME`.
        model: a MODEL, trained from random weights.
        weights: WEIGHTS to go on from; classes are matched by name. With neither, the catalogue's default.
        recipe: a name in `RECIPES` or a TOML file; small-data for a `model`, finetune-small or finetune for `weights`,
            as the number of images says.
        output: the run folder; the next free runs/NAME-1, -2, … unless said.
        overwrite: replace a run that stands there.
        resume: a run that was interrupted; beside it only time_limit, device and workers are taken.
        dry_run: stop before the first step and leave nothing; the run returned has its overview only.
        seed: of weights, order, augmentation and dropout.
        device: auto, cpu, cuda, mps.
        precision: auto, fp32, bf16, fp16.
        compile: whether to use torch.compile; None: where it pays.
        workers: processes that read images; None: as fits the machine.
        time_limit: seconds after which the training ends, however far it is.
        validation: share of the training images to choose on, where DATA has test but no validation, or with folds.
        split_seed: another number divides DATA without splits, or into folds, in another way.
        folds: cross-validation: all images are divided into so many parts, and each is tested by a training on the
            others, in fold-1, fold-2, … below the run folder.
        seeds: the same training from each of these seeds, in seed-0, seed-1, … below the run folder.
        group_by: "folder" or a regular expression on the path; members of a group stay on one side.
        columns: a csv's other headings, {"path": "id_code"} or "path=id_code".
        data_root: where the files of `torchvision:NAME` are.
        strict: a single bad file is an error.
        range: (low, high) or "low,high", the values that become 0 and 1, of images with more than 8 bits a channel or
            other than 1, 3 or 4 channels; None: the 0.5 and 99.5 percentiles of the training images. Where it is said,
            8-bit pictures are read band by band, too.
        display_bands: (3, 2, 1) or "3,2,1": which bands of such images people are shown as red, green and blue, or
            one in grey; weights for RGB keep these colours' filters.
        language: "en" or "pt", of what people read; the system's unless said.
        command: what run.json keeps as the command that made the run.
        progress: whether a bar is shown.
        listen: told of every step and epoch as well.
        recipe_fields: fields of `Recipe`, such as epochs=10, or what the files of `weights` do not settle, such as
            heads=6 (see `vitral.weights.Overrides`).

    Raises:
        UsageError: what was asked for contradicts itself, or a run stands in the way.
        DataError: DATA cannot be trained on.
        WeightsError, ConfigError: the weights or the recipe do not fit.
        VitralError: the loss was not finite, or memory ran out.
        KeyboardInterrupt: after Ctrl-C, with the state kept.
    """
    if resume is not None:
        _refuse_beside_resume(locals())
    elif data is None:
        raise UsageError("name the images to train on: a folder of class folders, a .csv, or digits")
    check_request(folds, seeds, seed, weights, Path(output) if output is not None else None)
    called = list(command) if command is not None else ["python", Path(sys.argv[0]).name]
    with Display(choose_language(language), shown=progress) as display:
        if resume is not None and kind_of(RunFolder(Path(resume))):
            folder = RunFolder(Path(resume))
            continue_from(folder)
            options, resolved = _of_training(folder)
            options = options.replace(
                device=options.device if device == "auto" else device,
                workers=options.workers if workers is None else workers,
            )
            several = _Several(
                options, lambda _images: resolved, (), time_limit, called, display, listen, dry_run
            )
            return _train_several(several, folder, resume=True)
        if resume is not None:
            ready = _ready_again(RunFolder(Path(resume)), device, workers, time_limit, display)
        else:
            options = Options(
                data=fspath(data or ""),
                model=model,
                weights=fspath(weights) if weights is not None else DEFAULT if model is None else None,
                seed=seed,
                device=device,
                precision=precision,
                compile=compile,
                workers=workers,
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
                said=overrides_from(
                    {name: recipe_fields.pop(name) for name in SAID if name in recipe_fields}
                ),
            )
            resolve = partial(resolve_recipe, recipe, options.weights is not None, recipe_fields)
            if output is not None:
                RunFolder(Path(output)).refuse_if_present(overwrite)
            if folds is not None or seeds is not None:
                folder = RunFolder(Path(output)) if output is not None else None
                several = _Several(
                    options, resolve, recipe_fields, time_limit, called, display, listen, dry_run
                )
                return _train_several(several, folder)
            ready = _ready(options, resolve, recipe_fields, time_limit, display)
        overview = describe_plan(ready.plan, ready.options)
        overview["notes"] += ready.notices
        display.overview(overview)
        if dry_run:
            return Run(Path(output or resume or "runs"), overview)
        if resume is not None:
            folder = RunFolder(Path(resume))
        else:
            folder = RunFolder(Path(output)) if output else RunFolder.next_free(ready.plan.data.name)
            _begin(folder, ready, overview, called)
        _carry_out(folder, ready, overview, display, listen, resume is not None)
        return Run(folder.path, overview)


# The recipe for so many training images, or (None) before they are counted.
Resolve = Callable[[int | None], Recipe]


@dataclass(frozen=True)
class _Ready:
    """All that is known before the first step."""

    plan: Plan
    options: Options
    weights_hash: str | None = None
    notices: tuple[str, ...] = ()


def _check_start(options: Options, resolve: Resolve) -> tuple[Compute, ViTConfig | None]:
    """Find what is wrong with model, weights and device before the images are looked at, which may take long."""
    if options.model is not None and options.weights is not None:
        raise UsageError("--model trains from scratch and --from goes on from weights: give one of them")
    compute = choose(options.device, options.precision)
    recipe = resolve(None)
    config = new_config(options.model, recipe) if options.model is not None else None
    if options.weights is not None:
        find_source(options.weights)
    return compute, config


def _ready(
    options: Options,
    resolve: Resolve,
    asked: Collection[str],
    time_limit: float | None,
    display: Display,
    data: LabelledImages | None = None,
    seconds_per_step: float | None = None,
) -> _Ready:
    """Open DATA unless they are given, make or load the model, and measure what training it will cost if unknown."""
    compute, config = _check_start(options, resolve)
    data = data or open_as_taken(options, display.counting)
    values = {
        "range": options.range,
        "display_bands": options.display_bands,
        "progress": display.counting,
    }
    recipe, fitting = fitted_recipe(resolve(len(data.split("train"))), data.multi_label, asked)
    if config is not None:
        start = start_anew(config, data, recipe, options.seed, **values)
    else:
        data = without_seen(data, seen_by(options.weights or ""))
        start = start_from(options.weights or "", data, recipe, asked=asked, said=options.said, **values)
        data = as_network_takes(data, start.preprocessing)
    display.close()
    plan = prepare(
        data,
        start.model,
        start.preprocessing,
        start.recipe,
        compute,
        seed=options.seed,
        compiled=options.compile,
        workers=options.workers,
        time_limit=time_limit,
        seconds_per_step=seconds_per_step,
    )
    return _Ready(plan, options, start.weights_hash, (*fitting, *start.notices))


def _ready_again(
    folder: RunFolder, device: str, workers: int | None, time_limit: float | None, display: Display
) -> _Ready:
    """The same for a run that stopped on its way: everything is as its files say."""
    continue_from(folder)
    options, recipe = _of_training(folder)
    compute = choose(options.device if device == "auto" else device, options.precision)
    config, preprocessing, class_names = read_config(folder.path)
    data = open_own_data(folder, options, display.counting)
    display.close()
    if data.class_names != class_names:
        raise DataError(
            f"{options.data} has other classes than when {folder.path} began: restore it, or train anew"
        )
    data = as_network_takes(data, preprocessing)
    with torch.random.fork_rng(devices=[]):
        model = VisionTransformer(config)  # its weights come from the state
    plan = prepare(
        data,
        model,
        preprocessing,
        recipe,
        compute,
        seed=options.seed,
        compiled=options.compile,
        workers=options.workers if workers is None else workers,
    )
    if time_limit is not None:
        time_limit += sum(epoch["seconds"] for epoch in folder.read_metrics())
    return _Ready(replace(plan, time_limit=time_limit), options)


def _of_training(folder: RunFolder) -> tuple[Options, Recipe]:
    """What a training was asked to do, and its recipe; UsageError where the run is a probe's."""
    options, recipe = read_options(folder)
    if not isinstance(recipe, Recipe):
        raise UsageError(
            f"{folder.path} is a probe's: the same `vitral probe` with --overwrite goes on from the features kept"
        )
    return options, recipe


@dataclass(frozen=True)
class _Several:
    """What is asked for when several trainings are."""

    options: Options
    resolve: Resolve
    asked: Collection[str]
    time_limit: float | None
    called: list[str]
    display: Display
    listen: Listener | None
    dry_run: bool


def _train_several(several: _Several, folder: RunFolder | None, *, resume: bool = False) -> Run:
    """Train every fold or seed that is not finished, all by the recipe and in the precision of the first.

    Args:
        folder: of the whole; None for the next free one.
        resume: go on with what stands there.
    """
    options, resolve, display = several.options, several.resolve, several.display
    _check_start(options, resolve)
    if resume and folder is not None:
        data = open_own_data(folder, options, display.counting)
    else:
        data = open_as_taken(options, display.counting)
    display.close()
    parts = parts_of(data, options.seeds, options.seed)
    left = [part for part in parts if not (resume and folder is not None and part.is_finished(folder))]
    share = several.time_limit / max(1, len(left)) if several.time_limit is not None else None

    def prepared(
        part: Part, asked: Collection[str] = (), limit: float | None = None, step: float | None = None
    ) -> _Ready:
        if resume and folder is not None and has_state(part.folder(folder).checkpoints):
            return _ready_again(part.folder(folder), options.device, options.workers, share, display)
        alone = options.replace(folds=None, seeds=None, seed=part.seed)
        ready = _ready(alone, resolve, asked, limit, display, part.data, step)
        if options.folds and not ready.plan.data.split("test"):
            raise DataError(
                f"{part.name} has no image to test: {options.weights} has seen all of them, start from others"
            )
        return replace(ready, plan=replace(ready.plan, time_limit=share))

    ready = [prepared(left[0], several.asked, None if resume else share)] if left else []
    overview = _overview_of_all(ready[0], data, len(left), options) if ready else {}
    if ready:
        display.overview(overview)
    if several.dry_run:
        return Run(folder.path if folder is not None else Path("runs"), overview)
    if not resume:
        plan = ready[0].plan
        recipe = plan.recipe
        resolve = lambda _images: recipe  # noqa: E731
        options = options.replace(precision=plan.compute.precision, compile=plan.compiled)
        folder = folder or RunFolder.next_free(data.name)
        facts = run_facts(overview, several.called, data.digest, ready[0].weights_hash)
        begin(folder, parts, data, to_toml(recipe.to_dict() | options.to_dict()), facts)
    assert folder is not None

    def run_one(part: Part, after: int) -> None:
        place = part.folder(folder)
        again = has_state(place.checkpoints)
        one = ready.pop() if ready else prepared(part, step=overview["seconds_per_step"])
        display.seconds_after = after * one.plan.seconds
        about = describe_plan(one.plan, one.options)
        about["notes"] += one.notices
        if not again:
            _begin(place, one, about, several.called)
        _carry_out(place, one, about, display, several.listen, again)
        torch.compiler.reset()  # it compiles one function for a few networks only, and then no more

    run_parts(folder, parts, run_one, display)
    seen = read_config(parts[0].folder(folder).path)[1]
    write_repetition(folder.path, language=display.language, images=pictures(images_of(data), seen))
    return Run(folder.path, overview)


def _overview_of_all(ready: _Ready, data: LabelledImages, count: int, options: Options) -> dict[str, Any]:
    """What several trainings will do and cost, from the first of them."""
    overview = describe_plan(ready.plan, ready.options)
    overview["notes"] += ready.notices
    as_taken = {name: overview["data"][name] for name in ("channels", "dtype", "range")}
    overview["data"] = describe_data(data) | as_taken
    overview["repeated"] = {"folds" if options.folds else "seeds": count}
    overview["seconds"] *= count
    overview["disk_bytes"] *= count
    return overview


def _begin(folder: RunFolder, ready: _Ready, overview: dict[str, Any], command: list[str]) -> None:
    """Make the run folder with all that stands in it before the first step."""
    plan = ready.plan
    folder.clear()
    try:
        folder.write_run(run_facts(overview, command, plan.data.digest, ready.weights_hash))
        write_splits(folder.splits, plan.data.samples, plan.data.class_names)
        write_config(
            folder.path,
            plan.model.config,
            plan.preprocessing,
            plan.data.class_names,
            thresholds=thresholds_before(plan.data),
        )
        write_batch(folder.batch, *_first_batch(plan))
    except BaseException:
        with suppress(VitralError, OSError):
            folder.update_run(state="failed")
        with suppress(OSError):
            folder.path.rmdir()  # where not even run.json could be written
        raise


def _carry_out(
    folder: RunFolder,
    ready: _Ready,
    overview: dict[str, Any],
    display: Display,
    listen: Listener | None,
    resume: bool,
) -> None:
    """Train, and draw what came out."""
    plan, notes = ready.plan, list(overview["notes"])

    def tell(event: Event) -> None:
        if isinstance(event, Notice):
            notes.append(event.text)
        display(event)
        if listen is not None:
            listen(event)

    # What was left to the machine stands in recipe.toml as it was decided, so that resuming decides the same.
    seen = plan.preprocessing
    decided = ready.options.replace(
        precision=plan.compute.precision,
        compile=plan.compiled,
        range=seen.range if seen.dtype is not None else None,
        display_bands=seen.display_bands,
    )
    about = {"options": decided.to_dict(), "run": folder.read_run()}
    run_plan(plan, folder, tell, about=about, resume=resume)
    display.close()
    folder.update_run(notes=list(map(in_both, notes)))
    classifier = Classifier(
        plan.model.eval(),
        plan.preprocessing,
        plan.data.class_names,
        plan.compute,
        thresholds=thresholds_before(plan.data),  # only to show where it looked
    )
    write_pages(folder, display.language, images_of(plan.data), plan.preprocessing, classifier)


def _first_batch(plan: Plan) -> tuple[np.ndarray, list[str]]:
    """The first batch as the network sees it: uint8 `(images, height, width, 3 or 1)`, and a label each."""
    batches = replace(plan.batches, workers=0, pin=False)
    batch = next(batches.stream())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(plan.seed, 0))  # as in the first step
        normalise = Normalise(plan.preprocessing, choose("cpu", "fp32"))
        names = plan.data.class_names
        images, targets = mix(normalise(batch.images), batch.labels, len(names), batches.augmentation)
    values = ((images - normalise.shift) / normalise.scale).permute(0, 2, 3, 1)
    if not plan.preprocessing.bands:
        values = values.round().clamp(0, 255).byte()
    pixels = plan.preprocessing.picture(values.numpy())
    if targets.ndim == 1:
        return pixels, [names[label] for label in targets.tolist()]
    return pixels, [_shares(row, names) for row in targets.tolist()]


def _shares(shares: Sequence[float], names: Sequence[str]) -> str:
    """The labels of a mixed image, or several labels: `pizza 70% + sushi 30%`, `red + round`, `–` for none."""
    if all(share in (0, 1) for share in shares):
        return " + ".join(name for share, name in zip(shares, names, strict=True) if share) or "–"
    parts = sorted(
        ((share, name) for share, name in zip(shares, names, strict=True) if share >= 0.005), reverse=True
    )
    if len(parts) == 1 and parts[0][0] >= 0.99:
        return parts[0][1]
    return " + ".join(f"{name} {share:.0%}" for share, name in parts) or "–"


def _refuse_beside_resume(given: Mapping[str, Any]) -> None:
    """UsageError where something is asked for that the resumed run has decided already."""
    free = {
        "resume",
        "time_limit",
        "device",
        "workers",
        "language",
        "command",
        "progress",
        "listen",
        "dry_run",
    }
    for name, parameter in signature(train).parameters.items():
        default = {} if parameter.kind is parameter.VAR_KEYWORD else parameter.default
        if name not in free and given[name] != default:
            asked = next(iter(given[name])) if name == "recipe_fields" else name
            raise UsageError(
                f"--resume goes on as the run began: leave out {asked}; "
                "only --time-limit, --device and --workers may be new"
            )
