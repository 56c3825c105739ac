"""A linear probe of every layer: how soon in a network its features tell the classes of DATA apart."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from vitral.errors import UsageError
from vitral.model import ViTConfig
from vitral.runs.evaluation import accuracy_interval
from vitral.runs.intervals import Interval, group_codes
from vitral.transfer import ProbeRecipe, fit, poolings
from vitral.workflow.extracting import complete, extractions_of, labels_of, lessons
from vitral.workflow.one_probe import Frozen
from vitral.workflow.progress import Display


@dataclass(frozen=True)
class LayerProbes:
    """What the probe of each layer answers.

    Args:
        accuracies, intervals: of each layer, from 0 to 1; the intervals are 95 %, by groups where there are groups.
        split: which images were answered, "test", or "validation" where there are no test images.
        images: how many of them.
        train_images: how many each probe learned from.
        majority_accuracy: what always answering the commonest class gives on them.
        pool: what each layer's tokens became, the same in all layers.
    """

    accuracies: tuple[float, ...]
    intervals: tuple[Interval, ...]
    split: str
    images: int
    train_images: int
    majority_accuracy: float
    pool: str

    def to_dict(self) -> dict[str, Any]:
        """As inspection.json keeps it."""
        layers = [
            {"layer": layer, "accuracy": accuracy, "accuracy_interval": list(interval), "images": self.images}
            for layer, (accuracy, interval) in enumerate(zip(self.accuracies, self.intervals, strict=True))
        ]
        named = ("split", "images", "train_images", "majority_accuracy", "pool")
        return {name: getattr(self, name) for name in named} | {"method": "least-squares", "layers": layers}


def pool_of_layers(config: ViTConfig, pool: str = "") -> str:
    """How the tokens of every layer are pooled, alike so that layers compare: as asked for, else the network's own way.

    Attention pooling goes with the last layer alone; such a network's patches are averaged.

    Raises:
        UsageError: the network cannot pool so in all its layers.
    """
    chosen = pool or ("average" if config.pool == "attention" else config.pool)
    for layer in range(config.layers):
        poolings(config, ProbeRecipe(layer=layer, feature_layers=1, pool=chosen))  # type: ignore[arg-type]
    return chosen


def probe_layers(opened: Frozen, pool: str, display: Display) -> LayerProbes:
    """Compute the features of all layers once, or take them from the cache, and fit a probe to each.

    Each is the paper's few-shot evaluation, least squares onto -1 and 1, its strength chosen on training images that
    are left out in turn; nothing is chosen on the images that it then answers. Images are not mirrored.

    Args:
        opened: DATA and the network.
        pool: from `pool_of_layers`.
        display: told how far it is.

    Raises:
        UsageError: DATA has neither test nor validation images.
        ImageError: a file has gone bad since DATA was opened.
    """
    data, config = opened.data, opened.backbone.model.config
    split = next((name for name in ("test", "validation") if data.split(name)), None)
    if split is None:
        raise UsageError(
            f"{data.spec} has neither test nor validation images to measure a probe on: "
            "add some, or take some of the training images with --validation 0.15"
        )
    recipe = ProbeRecipe(flip="none")
    choice = [
        poolings(config, recipe.replace(layer=layer, feature_layers=1, pool=pool))[0]
        for layer in range(config.layers)
    ]
    parts = extractions_of(opened.backbone, data, ["train", split], choice, recipe)
    complete(parts, lambda done, total, computed: display.passing(done, total, computed, 0))
    display.close()
    taught = lessons(parts, data, choice)
    truth, classes = labels_of(data, split), len(data.class_names)
    groups = group_codes([sample.group for sample in data.split(split)]) if data.has_groups else None
    accuracies, intervals = [], []
    for layer, pooling in enumerate(choice):
        display.fitting(layer, len(choice))
        features = {pooling: taught.features[pooling]}
        fitted = fit(recipe, features, taught.labels, classes, groups=taught.groups)
        right = fitted.answers(parts[split].pooled(pooling)) == truth
        accuracies.append(float(right.mean()))
        intervals.append(accuracy_interval(right, groups))
    counts = np.bincount(truth, minlength=classes)
    return LayerProbes(
        tuple(accuracies),
        tuple(intervals),
        split,
        len(truth),
        len(data.split("train")),
        float(counts.max() / len(truth)),
        pool,
    )
