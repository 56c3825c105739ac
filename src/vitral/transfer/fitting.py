"""A recipe carried out on features: the probe, with the pooling that answers left-out images best; few shots."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax

from vitral.errors import DataError
from vitral.model import model_without_weights
from vitral.transfer.pooling import Pooling
from vitral.transfer.probes import (
    LinearProbe,
    NeighbourProbe,
    calibrated,
    least_squares,
    logistic,
    nearest_neighbours,
    targets_of,
)
from vitral.transfer.recipe import ProbeRecipe
from vitral.weights import Checkpoint


@dataclass(frozen=True, eq=False)
class Fitted:
    """A probe, and what of a network it sees."""

    pooling: Pooling
    probe: LinearProbe | NeighbourProbe

    def answers(self, features: np.ndarray) -> np.ndarray:
        """The most probable class of each image: `(images, width)` to `(images,)`."""
        if isinstance(self.probe, LinearProbe):
            return self.probe.scores(features).argmax(axis=1)
        return self.probe.shares(features).argmax(axis=1)

    def settled(self, recipe: ProbeRecipe) -> ProbeRecipe:
        """The recipe with what was chosen."""
        probe = self.probe
        return recipe.replace(
            layer=self.pooling.layer,
            feature_layers=self.pooling.feature_layers,
            pool=self.pooling.pool,
            strength=float(probe.strength) if isinstance(probe, LinearProbe) else None,
            neighbours=probe.neighbours if isinstance(probe, NeighbourProbe) else None,
        )


def fit(
    recipe: ProbeRecipe,
    features: Mapping[Pooling, np.ndarray],
    labels: np.ndarray,
    classes: int,
    *,
    groups: np.ndarray | None = None,
    seed: int = 0,
) -> Fitted:
    """Fit a recipe's method to what each pooling gives, and keep the one with the smallest error on left-out images.

    Args:
        recipe: its method counts.
        features: float32 `(images, width)` of each pooling.
        labels: whole numbers `(images,)`, each class at least once.
        classes: how many.
        groups: whole numbers `(images,)`: images of equal number are left out together.
        seed: of the folds of logistic regression.
    """
    found = []
    for pooling, values in features.items():
        probe, error = _METHODS[recipe.method](values, labels, classes, groups, seed)
        found.append((error, Fitted(pooling, probe)))
    return min(found, key=lambda one: one[0])[1]


def few_shots(
    recipe: ProbeRecipe,
    features: Mapping[Pooling, np.ndarray],
    labels: np.ndarray,
    test_features: Mapping[Pooling, np.ndarray],
    test_labels: np.ndarray,
    classes: int,
    *,
    views: int = 1,
    groups: np.ndarray | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Accuracy on test images after learning from few: each number of `recipe.shots` in several random draws.

    Everything is chosen anew in each draw, from its images alone.

    Args:
        recipe, classes, seed: as for `fit`; every draw follows from the seed and its own number.
        features, labels, groups: of the training images; with 2 views the mirrored ones after the others, in their
            order.
        test_features, test_labels: of the images to be answered.
        views: rows that each training image has.

    Returns:
        For each number of shots {"shots", "images", "draws", "mean", "standard_deviation", "minimum", "maximum"}: the
        deviation is that of the draws (n - 1), None of a single one.

    Raises:
        DataError: a class has fewer training images.
    """
    images = len(labels) // views
    own = labels[:images]
    fewest = int(np.bincount(own, minlength=classes).min())
    short = [shots for shots in recipe.shots if shots != "all" and shots > fewest]
    if short:
        raise DataError(
            f"--shots {min(short)} is more than the {fewest} training images of the smallest class: lower it"
        )
    rows = []
    for shots in recipe.shots:
        found = []
        for draw in range(1 if shots == "all" else recipe.draws):
            taken = np.arange(images)
            if shots != "all":
                generator = np.random.default_rng([seed, shots, draw])
                taken = np.concatenate(
                    [generator.permutation(np.flatnonzero(own == label))[:shots] for label in range(classes)]
                )
            taken = np.concatenate([taken + view * images for view in range(views)])
            fitted = fit(
                recipe,
                {pooling: values[taken] for pooling, values in features.items()},
                labels[taken],
                classes,
                groups=None if groups is None else groups[taken],
                seed=seed,
            )
            found.append(float((fitted.answers(test_features[fitted.pooling]) == test_labels).mean()))
        rows.append(
            {
                "shots": shots,
                "images": len(taken) // views,
                "draws": len(found),
                "mean": float(np.mean(found)),
                "standard_deviation": float(np.std(found, ddof=1)) if len(found) > 1 else None,
                "minimum": min(found),
                "maximum": max(found),
            }
        )
    return rows


def classifier_from(checkpoint: Checkpoint, fitted: Fitted, class_names: tuple[str, ...]) -> Checkpoint:
    """The network cut off after the probe's layer, with the probe as its head: a complete classifier.

    Args:
        checkpoint: of the whole network, at the size that its features were taken at.
        fitted: the probe.
        class_names: in the order of its classes.
    """
    pooling, probe = fitted.pooling, fitted.probe
    config = checkpoint.config.replace(
        layers=pooling.layer + 1,
        feature_layers=pooling.feature_layers,
        pool=pooling.pool,
        num_classes=len(class_names),
        representation_size=None,
        neighbours=probe.neighbours if isinstance(probe, NeighbourProbe) else None,
        examples=len(probe.bank) if isinstance(probe, NeighbourProbe) else None,
    )
    if isinstance(probe, LinearProbe):
        head = {"weight": probe.weight, "bias": probe.bias}
    else:
        head = {"bank": probe.bank, "targets": probe.targets}
    tensors = {}
    for name in model_without_weights(config).state_dict():
        place, _, of_head = name.rpartition(".")
        if place in (
            "head",
            "distillation_head",
        ):  # the same head on either token answers as one on their average
            tensors[name] = torch.from_numpy(np.ascontiguousarray(head[of_head], np.float32))
        else:
            tensors[name] = checkpoint.tensors[name]
    return Checkpoint(config, checkpoint.preprocessing, class_names, tensors)


def _least_squares(
    values: np.ndarray, labels: np.ndarray, classes: int, groups: np.ndarray | None, seed: int
) -> tuple[LinearProbe, float]:
    del seed
    targets = targets_of(labels, classes)
    probe = least_squares(values, targets, groups=groups)
    assert probe.held_out is not None
    return calibrated(probe, labels, groups), float(((targets - probe.held_out) ** 2).mean())


def _logistic(
    values: np.ndarray, labels: np.ndarray, classes: int, groups: np.ndarray | None, seed: int
) -> tuple[LinearProbe, float]:
    probe = logistic(values, labels, classes, groups=groups, seed=seed)
    if probe.held_out is None:
        return probe, float("inf")
    loss = -log_softmax(probe.held_out, axis=1)[np.arange(len(labels)), labels].mean()
    return calibrated(probe, labels, groups), float(loss)


def _neighbours(
    values: np.ndarray, labels: np.ndarray, classes: int, groups: np.ndarray | None, seed: int
) -> tuple[NeighbourProbe, float]:
    del seed
    probe = nearest_neighbours(values, labels, classes, groups=groups)
    return probe, float((probe.held_out.argmax(axis=1) != labels).mean())


_METHODS: dict[str, Callable[..., tuple[LinearProbe | NeighbourProbe, float]]] = {
    "least-squares": _least_squares,
    "logistic": _logistic,
    "knn": _neighbours,
}
