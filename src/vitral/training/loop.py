"""The training loop itself: one step and one epoch. What surrounds it is in `trainer.py`."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitral.data.augment import Augmentation, mix
from vitral.data.loader import Batch, seed_of
from vitral.errors import VitralError
from vitral.inference import Normalise
from vitral.training.multi_label import exact_matches, multi_label_loss
from vitral.training.optimizer import Weights, gradient_norm, learning_rate, update_average
from vitral.training.recipe import Recipe


@dataclass
class Learner:
    """All that a step reads and changes."""

    recipe: Recipe
    augmentation: Augmentation
    forward: Callable[[Tensor], Tensor]  # the model, compiled or not
    weights: Weights
    optimizers: tuple[torch.optim.Optimizer, ...]  # each of some of the weights
    scaler: torch.amp.GradScaler  # of the loss, in fp16 only
    normalise: Normalise
    num_classes: int
    class_weights: Tensor | None
    multi_label: bool
    average: list[Tensor] | None  # the moving average of the weights
    seed: int
    batches_per_epoch: int
    steps: int  # updates in all
    step: int = 0  # updates done

    @property
    def steps_per_epoch(self) -> int:
        """Updates in a whole epoch."""
        return -(-self.batches_per_epoch // self.recipe.accumulate)


@dataclass
class Progress:
    """Where a training is, and the sums that an epoch's line of figures is made of."""

    epoch: int = 0  # the current one, from 0
    batch: int = 0  # batches of this epoch that are done
    images: int = 0
    loss: float = 0.0  # sums over this epoch's images
    correct: float = 0.0
    seconds: float = 0.0  # spent on this epoch's steps
    total_seconds: float = 0.0  # spent on the whole training so far
    # (step, images, (loss, correct)) whose figures are still on the device
    unread: list[tuple[int, int, Tensor]] = field(default_factory=list)

    def read(self) -> None:
        """Bring the figures of the last steps over from the device.

        Raises:
            VitralError: a loss or its gradient was not finite.
        """
        for step, images, figures in self.unread:
            loss, correct = figures.tolist()
            if not math.isfinite(loss):
                raise VitralError(
                    f"the loss or its gradient stopped being finite in step {step + 1}: the last good weights "
                    "are kept; lower --learning-rate, or give --clip-norm 1 or --precision fp32"
                )
            self.loss, self.correct = self.loss + loss * images, self.correct + correct
            self.images += images
        self.unread.clear()

    def next_epoch(self) -> None:
        """Start the sums anew."""
        self.epoch, self.batch, self.images = self.epoch + 1, 0, 0
        self.loss, self.correct, self.seconds = 0.0, 0.0, 0.0


def train_epoch(
    learner: Learner, batches: Iterator[Batch], progress: Progress, after_step: Callable[[Progress], bool]
) -> bool:
    """The rest of one epoch.

    Args:
        learner: what learns.
        batches: the stream of batches, standing at the place that `progress` tells.
        progress: brought up to date after every step.
        after_step: called then; it returns whether to go on.

    Returns:
        Whether the epoch was finished.
    """
    while progress.batch < learner.batches_per_epoch and learner.step < learner.steps:
        started = perf_counter()
        left = learner.batches_per_epoch - progress.batch
        group = list(islice(batches, min(learner.recipe.accumulate, left)))
        figures = train_step(learner, group)
        progress.unread.append((learner.step - 1, sum(len(batch.labels) for batch in group), figures))
        progress.batch += len(group)
        # Reading a figure makes the processor wait for the GPU, so that it is done now and then only.
        if learner.normalise.compute.device.type == "cpu" or learner.step % 20 == 0:
            progress.read()
        spent = perf_counter() - started
        progress.seconds, progress.total_seconds = progress.seconds + spent, progress.total_seconds + spent
        if not after_step(progress):
            return False
    return True


def train_step(learner: Learner, group: list[Batch]) -> Tensor:
    """One update from one or more batches.

    Returns:
        On the device, `(2,)`: the mean loss (not finite where the gradient is not), and how many images were
        answered rightly (in mixed images, their share).
    """
    recipe = learner.recipe
    torch.manual_seed(seed_of(learner.seed, learner.step))  # of mixing and dropout
    rate = learning_rate(recipe, learner.step, learner.steps, learner.steps_per_epoch)
    for optimizer in learner.optimizers:
        for settings in optimizer.param_groups:
            settings["lr"] = rate * settings["share"]

    images_in_all = sum(len(batch.labels) for batch in group)
    figures = torch.zeros(2, device=learner.normalise.compute.device)
    for batch in group:
        images = learner.normalise(batch.images)
        labels = batch.labels.to(images.device, non_blocking=True)
        images, targets = mix(images, labels, learner.num_classes, learner.augmentation)
        logits = learner.forward(images).float()
        if learner.multi_label:
            loss = multi_label_loss(logits, targets, recipe.label_smoothing, learner.class_weights)
            # Said as the mean over the classes, as an evaluation says it; learned as the sum, so that a class moves
            # the weights as much as with one label an image.
            figure, correct = loss.detach() / learner.num_classes, exact_matches(logits, targets)
        else:
            loss = loss_of(logits, targets, recipe, learner.class_weights)
            figure, correct = loss.detach(), correct_answers(logits, targets)
        share = len(labels) / images_in_all
        learner.scaler.scale(loss * share).backward()
        learner.weights.add_gradients()
        figures += torch.stack([figure * share, correct])

    for optimizer in learner.optimizers:
        learner.scaler.unscale_(optimizer)
    norm = gradient_norm(learner.weights.master, recipe.clip_norm)
    if not learner.scaler.is_enabled():  # it leaves out the steps whose gradient overflows
        figures[0] = torch.where(norm.isfinite(), figures[0], norm)  # such a step spoils the weights
    for optimizer in learner.optimizers:
        learner.scaler.step(optimizer)
        optimizer.zero_grad()
    learner.scaler.update()
    learner.weights.show()
    if learner.average is not None:
        update_average(learner.average, learner.weights.master, recipe.ema_decay, learner.step)
    learner.step += 1
    return figures


def loss_of(logits: Tensor, targets: Tensor, recipe: Recipe, class_weights: Tensor | None) -> Tensor:
    """The mean loss of a batch.

    Args:
        logits: `(batch, classes)`, fp32.
        targets: labels `(batch,)` or probabilities `(batch, classes)`.
        recipe: says which loss, and how much label smoothing.
        class_weights: `(classes,)` with a mean of 1 over the training images, or None.
    """
    if recipe.loss == "softmax":
        # Not reduced here: torch would divide by the sum of the weights, and small batches of rare classes would
        # count as much as others.
        return F.cross_entropy(
            logits, targets, weight=class_weights, label_smoothing=recipe.label_smoothing, reduction="none"
        ).mean()
    targets = as_probabilities(targets, logits.shape[1])
    smooth = targets * (1 - recipe.label_smoothing) + recipe.label_smoothing / logits.shape[1]
    losses = F.binary_cross_entropy_with_logits(logits, smooth, reduction="none").sum(dim=1)
    if class_weights is not None:
        losses = losses * (targets @ class_weights)
    return losses.mean()


def correct_answers(logits: Tensor, targets: Tensor) -> Tensor:
    """How many images were answered rightly; a mixed image counts by the answer's share in it."""
    answers = logits.detach().argmax(dim=1)
    return as_probabilities(targets, logits.shape[1]).gather(1, answers[:, None]).sum()


def as_probabilities(targets: Tensor, num_classes: int) -> Tensor:
    """Labels `(batch,)` or probabilities `(batch, classes)` as the latter."""
    return F.one_hot(targets, num_classes).float() if targets.ndim == 1 else targets.float()


def class_weights(counts: list[int]) -> Tensor:
    """Weights by which every class weighs the same, `(classes,)`, 1 in the mean over the images."""
    images = torch.tensor(counts, dtype=torch.float32)
    return images.sum() / (len(counts) * images)


def parameters_of(module: nn.Module) -> int:
    """How many numbers a module learns."""
    return sum(parameter.numel() for parameter in module.parameters())
