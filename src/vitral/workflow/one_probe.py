"""One probe: from DATA and the features of a network that stays as it is to a complete run folder."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import torch

from vitral.data import SPLITS, LabelledImages, check_trainable, without_seen, write_splits
from vitral.device import Compute
from vitral.errors import DataError, VitralError
from vitral.files import write_text
from vitral.inference import Classifier
from vitral.inference.forward import answers_from
from vitral.inference.networks import choose_compute
from vitral.language import in_both
from vitral.model.summary import summarise
from vitral.reporting import write_batch
from vitral.runs import RunFolder, write_results
from vitral.training.recipe import to_toml
from vitral.transfer import (
    Backbone,
    Extraction,
    Fitted,
    Pooling,
    ProbeRecipe,
    classifier_from,
    few_shots,
    fit,
    make_backbone,
    poolings,
)
from vitral.weights import Checkpoint, find_source, write_checkpoint
from vitral.workflow.extracting import complete, extractions_of, labels_of, lessons
from vitral.workflow.facts import run_facts
from vitral.workflow.options import Options
from vitral.workflow.overview import describe_data, describe_machine
from vitral.workflow.progress import Display
from vitral.workflow.reports import images_of, write_pages
from vitral.workflow.starting import FrozenStart, as_network_takes, open_as_taken, seen_by, start_frozen

# Computed to tell how long all will take; nothing of it is lost.
TIMED_IMAGES = 64
SHOWN = 32


@dataclass(frozen=True)
class ReadyProbe:
    """All that is known before the features are complete.

    Args:
        data: on their sides, as the network takes them.
        checkpoint: the whole network at its image size.
        backbone: the same at work.
        recipe, options: what was asked for.
        choice: the poolings to choose from.
        extractions: by split; of mirrored training images under "mirrored".
        weights_hash: of their file.
        notices: what a person should know, one sentence each.
    """

    data: LabelledImages
    checkpoint: Checkpoint
    backbone: Backbone
    recipe: ProbeRecipe
    options: Options
    choice: tuple[Pooling, ...]
    extractions: Mapping[str, Extraction]
    weights_hash: str | None
    notices: tuple[str, ...]

    @property
    def compute(self) -> Compute:
        """Where and how."""
        return self.backbone.compute


@dataclass(frozen=True)
class Probed:
    """What fitting gives.

    Args:
        recipe: with what was chosen.
        checkpoint: the classifier.
        answers: probabilities float32 `(images, classes)` of each split that exists, by the classifier.
        shots: as `few_shots` has them.
        seconds: that it took, features included.
    """

    recipe: ProbeRecipe
    checkpoint: Checkpoint
    answers: Mapping[str, np.ndarray]
    shots: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Frozen:
    """DATA, and a network at work that is to stay as it is.

    Args:
        data: on their sides, as the network takes them.
        start: the whole network at its image size, and what to say about it.
        backbone: the same at work.
    """

    data: LabelledImages
    start: FrozenStart
    backbone: Backbone


def open_frozen(
    options: Options, recipe: ProbeRecipe, display: Display, data: LabelledImages | None = None
) -> Frozen:
    """Open DATA unless they are given, and load the network.

    Args:
        options, recipe: what was asked for; of the recipe, image size and fit count.
        display: told how many images have been looked at.
        data: opened already, on their sides, such as a fold.

    Raises:
        UsageError, WeightsError, ConfigError: as `start_frozen`, and as `choose_compute`.
        DataError: there is nothing to learn from, or an image may have several labels.
    """
    assert options.weights is not None
    choice, compute = choose_compute(options.backend or "auto", options.device, options.precision)
    find_source(options.weights)  # before the images are looked at, which may take long
    data = data or open_as_taken(options, display.counting)
    if data.multi_label:
        raise DataError(
            f"the images of {data.spec} may have several labels, and a probe answers with one: "
            f"`vitral train {data.spec} --from {options.weights} --freeze-backbone` learns several"
        )
    data = without_seen(data, seen_by(options.weights))
    check_trainable(data)
    start = start_frozen(options, data, recipe, display.counting)
    data = as_network_takes(data, start.checkpoint.preprocessing)
    display.close()
    backbone = make_backbone(start.checkpoint.model(), start.checkpoint.preprocessing, compute, choice)
    return Frozen(data, start, backbone)


def prepare_probe(
    options: Options, recipe: ProbeRecipe, display: Display, data: LabelledImages | None = None
) -> ReadyProbe:
    """Open DATA unless they are given, load the network, look into the cache, and compute a few features for the time.

    Args:
        data: opened already, on their sides, such as a fold.
    """
    opened = open_frozen(options, recipe, display, data)
    data, start, backbone = opened.data, opened.start, opened.backbone
    choice = poolings(start.checkpoint.config, recipe)
    splits = [split for split in SPLITS if data.split(split)]
    extractions = extractions_of(backbone, data, splits, choice, recipe)
    for part in extractions.values():
        if part.missing:
            with display.waiting("preparing_network"):
                part.run(TIMED_IMAGES)
            break
    return ReadyProbe(
        data,
        start.checkpoint,
        backbone,
        recipe,
        options,
        choice,
        extractions,
        start.weights_hash,
        tuple(data.notes) + start.notices,
    )


def describe_probe(ready: ReadyProbe) -> dict[str, Any]:
    """The overview as plain values for JSON."""
    config, parts = ready.checkpoint.config, ready.extractions.values()
    size = summarise(config)
    left = sum(len(part.missing) for part in parts)
    per_image = next((part.seconds_per_image for part in parts if part.times), None)
    width = 4 * sum(part.shape[1] for part in next(iter(parts)).values.values())
    return {
        "data": describe_data(ready.data) | {"range": list(ready.checkpoint.preprocessing.range)},
        "model": {
            "name": None,
            "weights": ready.options.weights,
            "parameters": size.parameters,
            "multiply_adds": size.multiply_adds,
            "image_size": list(config.image_size),
            "channels": config.channels,
        },
        "recipe": ready.recipe.to_dict(),
        "machine": describe_machine(ready.compute, ready.backbone.choice),
        "features": sum(len(part.samples) for part in parts),
        "features_left": left,
        "seconds_per_image": per_image,
        "seconds": left * (per_image or 0.0),
        "disk_bytes": 4 * size.parameters + left * width + 2_000_000,
        "notes": list(ready.notices),
    }


def probe_data(ready: ReadyProbe, display: Display) -> Probed:
    """Complete the features and fit the probe; nothing is written but the cache.

    Raises:
        ImageError: a file has gone bad since DATA was opened.
        DataError: there are too few images for the shots.
    """
    started = perf_counter()
    complete(ready.extractions, lambda done, total, computed: display.passing(done, total, computed, 0))
    display.close()
    data, parts = ready.data, ready.extractions
    classes = len(data.class_names)
    taught = lessons(parts, data, ready.choice)
    fitted = fit(
        ready.recipe, taught.features, taught.labels, classes, groups=taught.groups, seed=ready.options.seed
    )
    recipe = fitted.settled(ready.recipe)
    shots: list[dict[str, Any]] = []
    if ready.recipe.shots and "test" in parts:
        shots = few_shots(
            ready.recipe,
            taught.features,
            taught.labels,
            {pooling: parts["test"].pooled(pooling) for pooling in ready.choice},
            labels_of(data, "test"),
            classes,
            views=taught.views,
            groups=taught.groups,
            seed=ready.options.seed,
        )
    checkpoint = classifier_from(ready.checkpoint, fitted, data.class_names)
    answers = _answers(ready, checkpoint, fitted)
    return Probed(recipe, checkpoint, answers, shots, perf_counter() - started)


def begin_probe(folder: RunFolder, ready: ReadyProbe, overview: dict[str, Any], command: list[str]) -> None:
    """Make the run folder with all that stands in it before the features are complete."""
    folder.clear()
    try:
        folder.write_run(run_facts(overview, command, ready.data.digest, ready.weights_hash))
        write_splits(folder.splits, ready.data.samples, ready.data.class_names)
        samples = ready.data.split("train")[:: max(1, len(ready.data.split("train")) // SHOWN)][:SHOWN]
        seen = ready.backbone.preprocessing
        values = np.stack([seen.fit_image(ready.data.read(sample)) for sample in samples])
        names = [ready.data.class_names[sample.label] for sample in samples]
        write_batch(folder.batch, seen.picture(values), names)
    except BaseException:
        with suppress(VitralError, OSError):
            folder.update_run(state="failed")
        raise


def carry_out_probe(
    folder: RunFolder, ready: ReadyProbe, overview: dict[str, Any], display: Display
) -> Probed:
    """Complete the features, fit, measure, and leave a complete run.

    Raises:
        KeyboardInterrupt: after Ctrl-C; the features computed so far are kept in the cache.
    """
    try:
        probed = probe_data(ready, display)
        display.close()
        write_checkpoint(folder.path, probed.checkpoint)
        seen = probed.checkpoint.preprocessing
        options = ready.options.replace(
            backend=ready.backbone.choice.backend,
            precision=ready.compute.precision,
            range=seen.range if seen.dtype is not None else None,
            display_bands=seen.display_bands,
        )
        write_text(folder.recipe, to_toml(probed.recipe.to_dict() | options.to_dict()))
        write_results(
            folder,
            ready.data,
            probed.answers,
            device=str(ready.compute.device),
            backend=ready.backbone.choice.backend,
            precision=ready.compute.precision,
            more={"shots": probed.shots} if probed.shots else {},
        )
        folder.update_run(
            state="finished",
            seconds=round(probed.seconds, 1),
            notes=list(map(in_both, overview["notes"])),
        )
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        with suppress(VitralError, OSError):
            folder.update_run(state="interrupted" if interrupted else "failed")
        if interrupted:
            error.add_note(
                "the features computed so far are kept: the same command with --overwrite goes on from there"
            )
        raise
    classifier = _classifier(ready, probed.checkpoint)
    write_pages(folder, display.language, images_of(ready.data), seen, classifier, display.picturing)
    display.close()
    return probed


def _classifier(ready: ReadyProbe, checkpoint: Checkpoint) -> Classifier:
    compute = ready.compute
    model = checkpoint.model().to(compute.device, compute.dtype)
    return Classifier.of(model, checkpoint.preprocessing, checkpoint.class_names, compute)


@torch.inference_mode()
def _answers(ready: ReadyProbe, checkpoint: Checkpoint, fitted: Fitted) -> dict[str, np.ndarray]:
    """What the classifier answers, from the features that its backbone would give again."""
    compute, parts = ready.compute, ready.extractions
    head = checkpoint.model().head.to(compute.device, compute.dtype)
    found = {}
    for split in SPLITS:
        if split in parts:
            features = torch.from_numpy(parts[split].pooled(fitted.pooling))
            logits = head(features.to(compute.device, compute.dtype))
            found[split] = answers_from(logits, multi_label=False).cpu().numpy()
    return found
