"""Where an image may have several labels: a yes-or-no question a class, its loss, and what of a recipe fits it."""

from collections.abc import Collection

import torch
from torch import Tensor
from torch.nn import functional as F

from vitral.errors import ConfigError
from vitral.language import Sentence
from vitral.runs.multi_label import MEASURES
from vitral.training.recipe import Recipe

METRIC = "mean_average_precision"


def fitted_recipe(recipe: Recipe, multi_label: bool, asked: Collection[str]) -> tuple[Recipe, list[str]]:
    """The recipe as the kind of labels wants it, and what to say about it.

    Args:
        recipe: as it was chosen.
        multi_label: whether an image may have several labels.
        asked: the fields that the user asked for one by one; of the others those are changed that do not fit.

    Raises:
        ConfigError: what was asked for does not fit.
    """
    if not multi_label:
        check_recipe(recipe, multi_label)
        return recipe, []
    changes = {}
    if recipe.loss == "softmax" and "loss" not in asked:
        changes["loss"] = "sigmoid"
    if recipe.metric not in MEASURES and "metric" not in asked:
        changes["metric"] = METRIC
    if recipe.head_start == "probe" and "head_start" not in asked:
        changes["head_start"] = "zero"
    recipe = recipe.replace(**changes)
    check_recipe(recipe, multi_label)
    if not changes:
        return recipe, []
    taken = " and ".join(f"{name} {value}" for name, value in changes.items())
    tomado = " e ".join(f"{name} {value}" for name, value in changes.items())
    return recipe, [
        Sentence(
            f"an image may have several labels, so the recipe takes {taken}",
            f"uma imagem pode ter vários rótulos, por isso a receita usa {tomado}",
        )
    ]


def check_recipe(recipe: Recipe, multi_label: bool) -> None:
    """Make sure that a recipe's loss and metric fit the kind of labels.

    Raises:
        ConfigError: they do not.
    """
    if not multi_label and recipe.metric == METRIC:
        raise ConfigError(
            f"the metric {METRIC} is for images with several labels, and these have one: "
            "take balanced_accuracy, accuracy, macro_f1, auroc or loss"
        )
    if multi_label and recipe.loss != "sigmoid":
        raise ConfigError(
            f"the {recipe.loss} loss is for one label an image, and these may have several: take sigmoid"
        )
    if multi_label and recipe.head_start == "probe":
        raise ConfigError(
            "a probe answers with one label an image, and these may have several: take head_start zero"
        )
    if multi_label and recipe.metric not in MEASURES:
        raise ConfigError(
            f"the metric {recipe.metric} is for one label an image, and these may have several: "
            f"take one of {', '.join(MEASURES)}"
        )


def multi_label_loss(logits: Tensor, targets: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
    """The mean over the images of the sum over the classes of the binary cross-entropies.

    Args:
        logits: `(batch, classes)`, fp32.
        targets: `(batch, classes)`, 0 or 1, or between the two in mixed images, whose loss is mixed in the same way.
        smoothing: share of a label that is taken as undecided: a yes is 1 - smoothing / 2, a no smoothing / 2.
        weights: from `balanced_weights`, or None.
    """
    no, yes = (
        (1 - targets, targets) if weights is None else (weights[0] * (1 - targets), weights[1] * targets)
    )
    undecided = smoothing / 2 * (yes + no)
    losses = (yes * (1 - smoothing) + undecided) * F.softplus(-logits)
    losses = losses + (no * (1 - smoothing) + undecided) * F.softplus(logits)
    return losses.sum(dim=1).mean()


def exact_matches(logits: Tensor, targets: Tensor) -> Tensor:
    """How many images have exactly the labels answered at thresholds of 0.5; of mixed images the share that has."""
    answers = logits.detach() > 0
    return torch.where(answers, targets, 1 - targets).prod(dim=1).sum()


def balanced_weights(counts: list[int], images: int) -> Tensor:
    """Weights of no and yes, `(2, classes)`, by which the two weigh the same in every class, 1 in the mean over images.

    A class that every image has keeps 1: there is nothing to balance.
    """
    yes = torch.tensor(counts, dtype=torch.float32)
    no = images - yes
    weights = images / (2 * torch.stack([no, yes]))
    return torch.where((yes > 0) & (no > 0), weights, 1.0)
