"""One training: what is known before its first step, its run folder, and the course of it."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from vitral.data import LabelledImages, check_trainable, without_seen, write_splits
from vitral.data.augment import mix
from vitral.data.loader import seed_of
from vitral.device import Compute, choose
from vitral.errors import DataError, UsageError, VitralError
from vitral.inference import Classifier, Normalise
from vitral.language import in_both
from vitral.model import VisionTransformer, ViTConfig
from vitral.reporting import write_batch
from vitral.runs import RunFolder
from vitral.training import Event, Listener, Notice, Plan, Recipe, continue_from, prepare
from vitral.training import run as run_plan
from vitral.training.multi_label import fitted_recipe
from vitral.training.trainer import thresholds_before
from vitral.weights import find_source, read_config, write_config
from vitral.workflow.facts import run_facts
from vitral.workflow.head_start import start_at_probe
from vitral.workflow.options import Options, open_own_data, read_options
from vitral.workflow.progress import Display
from vitral.workflow.reports import images_of, write_pages
from vitral.workflow.starting import (
    as_network_takes,
    new_config,
    open_as_taken,
    seen_by,
    start_anew,
    start_from,
)

# The recipe for so many training images, or (None) before they are counted.
Resolve = Callable[[int | None], Recipe]


@dataclass(frozen=True)
class ReadyTraining:
    """All that is known before the first step."""

    plan: Plan
    options: Options
    weights_hash: str | None = None
    notices: tuple[str, ...] = ()


def check_start(options: Options, resolve: Resolve) -> tuple[Compute, ViTConfig | None]:
    """Find what is wrong with model, weights and device before the images are looked at, which may take long."""
    if options.model is not None and options.weights is not None:
        raise UsageError("--model trains from scratch and --from goes on from weights: give one of them")
    compute = choose(options.device, options.precision)
    recipe = resolve(None)
    config = None
    if options.model is not None:
        config = new_config(options.model, recipe, options.said.merge or 0)
    if options.weights is not None:
        find_source(options.weights)
    return compute, config


def prepare_training(
    options: Options,
    resolve: Resolve,
    asked: Collection[str],
    time_limit: float | None,
    display: Display,
    data: LabelledImages | None = None,
    seconds_per_step: float | None = None,
) -> ReadyTraining:
    """Open DATA unless they are given, make or load the model, and measure what training it will cost if unknown."""
    compute, config = check_start(options, resolve)
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
        if start.recipe.head_start == "probe" and start.new_head:
            check_trainable(data)
            start = start_at_probe(
                start,
                data,
                compute,
                options.said,
                seed=options.seed,
                progress=lambda done, total, computed: display.passing(done, total, computed, 0),
            )
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
    return ReadyTraining(plan, options, start.weights_hash, (*fitting, *start.notices))


def prepare_again(
    folder: RunFolder, device: str, workers: int | None, time_limit: float | None, display: Display
) -> ReadyTraining:
    """The same for a run that stopped on its way: everything is as its files say."""
    continue_from(folder)
    options, recipe = options_of_training(folder)
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
    return ReadyTraining(replace(plan, time_limit=time_limit), options)


def options_of_training(folder: RunFolder) -> tuple[Options, Recipe]:
    """What a training was asked to do, and its recipe; UsageError where the run is a probe's."""
    options, recipe = read_options(folder)
    if not isinstance(recipe, Recipe):
        raise UsageError(
            f"{folder.path} is a probe's: the same `vitral probe` with --overwrite goes on from the features kept"
        )
    return options, recipe


def begin_training(
    folder: RunFolder, ready: ReadyTraining, overview: dict[str, Any], command: list[str]
) -> None:
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


def carry_out_training(
    folder: RunFolder,
    ready: ReadyTraining,
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
    classifier = Classifier.of(
        plan.model.eval(),
        plan.preprocessing,
        plan.data.class_names,
        plan.compute,
        thresholds=thresholds_before(plan.data),  # only to show where it looked
    )
    read = images_of(plan.data)
    write_pages(folder, display.language, read, plan.preprocessing, classifier, display.picturing)
    display.close()


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
