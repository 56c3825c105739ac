"""`train`: from DATA and a model to a complete run folder, in one call."""

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch

from vitral.data import LabelledImages
from vitral.errors import DataError, UsageError
from vitral.language import choose_language
from vitral.reporting import write_repetition
from vitral.runs import RunFolder, kind_of
from vitral.training import Listener, continue_from
from vitral.training.checkpoint import has_state
from vitral.training.recipe import resolve_recipe, to_toml
from vitral.weights import DEFAULT, overrides_from, read_config
from vitral.workflow.facts import run_facts
from vitral.workflow.one_training import (
    ReadyTraining,
    Resolve,
    begin_training,
    carry_out_training,
    check_start,
    options_of_training,
    prepare_again,
    prepare_training,
)
from vitral.workflow.options import SAID, Options, bands_of, check_is_here, columns_text, range_of
from vitral.workflow.overview import describe_data, describe_plan
from vitral.workflow.progress import Display
from vitral.workflow.repetition import Part, begin, check_request, parts_of, run_parts
from vitral.workflow.reports import images_of, pictures
from vitral.workflow.run import Run
from vitral.workflow.starting import open_as_taken


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
            options, resolved = options_of_training(folder)
            options = options.replace(
                device=options.device if device == "auto" else device,
                workers=options.workers if workers is None else workers,
            )
            several = _Several(
                options, lambda _images: resolved, (), time_limit, called, display, listen, dry_run
            )
            return _train_several(several, folder, resume=True)
        if resume is not None:
            ready = prepare_again(RunFolder(Path(resume)), device, workers, time_limit, display)
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
            ready = prepare_training(options, resolve, recipe_fields, time_limit, display)
        overview = describe_plan(ready.plan, ready.options)
        overview["notes"] += ready.notices
        display.overview(overview)
        if dry_run:
            return Run(Path(output or resume or "runs"), overview)
        if resume is not None:
            folder = RunFolder(Path(resume))
        else:
            folder = RunFolder(Path(output)) if output else RunFolder.next_free(ready.plan.data.name)
            begin_training(folder, ready, overview, called)
        carry_out_training(folder, ready, overview, display, listen, resume is not None)
        return Run(folder.path, overview)


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
    check_start(options, resolve)
    if resume and folder is not None:
        check_is_here(folder, options)
    splits = folder.splits if resume and folder is not None else None
    data = open_as_taken(options, display.counting, splits=splits)
    display.close()
    parts = parts_of(data, options.seeds, options.seed)
    left = [part for part in parts if not (resume and folder is not None and part.is_finished(folder))]
    share = several.time_limit / max(1, len(left)) if several.time_limit is not None else None

    def prepared(
        part: Part, asked: Collection[str] = (), limit: float | None = None, step: float | None = None
    ) -> ReadyTraining:
        if resume and folder is not None and has_state(part.folder(folder).checkpoints):
            return prepare_again(part.folder(folder), options.device, options.workers, share, display)
        alone = options.replace(folds=None, seeds=None, seed=part.seed)
        ready = prepare_training(alone, resolve, asked, limit, display, part.data, step)
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
            begin_training(place, one, about, several.called)
        carry_out_training(place, one, about, display, several.listen, again)
        torch.compiler.reset()  # it compiles one function for a few networks only, and then no more

    run_parts(folder, parts, run_one, display)
    seen = read_config(parts[0].folder(folder).path)[1]
    write_repetition(folder.path, language=display.language, images=pictures(images_of(data), seen))
    return Run(folder.path, overview)


def _overview_of_all(
    ready: ReadyTraining, data: LabelledImages, count: int, options: Options
) -> dict[str, Any]:
    """What several trainings will do and cost, from the first of them."""
    overview = describe_plan(ready.plan, ready.options)
    overview["notes"] += ready.notices
    # Folds have a range each, seeds the same.
    as_taken = ("channels", "dtype") if options.folds else ("channels", "dtype", "range")
    overview["data"] = describe_data(data) | {name: overview["data"][name] for name in as_taken}
    overview["repeated"] = {"folds" if options.folds else "seeds": count}
    overview["seconds"] *= count
    overview["disk_bytes"] *= count
    return overview


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
