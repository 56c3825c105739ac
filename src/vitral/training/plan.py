"""The plan of a training: what it will do, and from a few timed steps what that will cost."""

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from itertools import cycle, islice
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

from vitral.data import LabelledImages, check_trainable
from vitral.data.augment import Augmentation
from vitral.data.loader import TrainingBatches
from vitral.device import ASKED_FOR, Compute, keep_memory
from vitral.errors import DataError, VitralError
from vitral.images import Preprocessing
from vitral.inference import Normalise
from vitral.language import Sentence
from vitral.model import VisionTransformer
from vitral.training.loop import Learner, class_weights, train_step
from vitral.training.memory import is_out_of_memory, memory_advice
from vitral.training.multi_label import balanced_weights, check_recipe
from vitral.training.optimizer import Weights, make_optimizers
from vitral.training.recipe import Recipe

# torch.compile pays where the share of the time that it saves is more than the seconds that it takes; on processors
# as benchmarks/training.py measures them.
COMPILE_SECONDS = {"cuda": 60.0, "cpu": 30.0}
COMPILE_SAVES = {"cuda": 0.3, "cpu": 0.08}
# A step is timed so often, or for so long, whichever comes first; the first ones warm up.
TIMED_STEPS, TIMED_SECONDS, WARM_UP_STEPS = 10, 2.0, 2


@dataclass(frozen=True)
class Plan:
    """A training that is ready to start.

    Args:
        data, model, preprocessing, recipe, compute: what is trained on what, how and where.
        seed: of everything random.
        compiled, compile_reason: whether `torch.compile` is used, and why.
        workers: processes that read images.
        seconds_per_step, seconds: measured, and for the whole training as it follows from that.
        disk_bytes: what the run folder will need.
        notices: what a person should know before the start.
    """

    data: LabelledImages
    model: VisionTransformer
    preprocessing: Preprocessing
    recipe: Recipe
    compute: Compute
    seed: int
    compiled: bool
    compile_reason: str
    workers: int
    seconds_per_step: float
    seconds: float
    disk_bytes: int
    time_limit: float | None
    notices: tuple[str, ...]

    @property
    def batches(self) -> TrainingBatches:
        """The course of the training's batches."""
        return TrainingBatches(
            self.data,
            self.preprocessing,
            Augmentation(**{field.name: getattr(self.recipe, field.name) for field in fields(Augmentation)}),
            self.recipe.batch_size,
            self.epochs,
            self.seed,
            self.workers,
            pin=self.compute.device.type == "cuda",
        )

    @property
    def steps_per_epoch(self) -> int:
        """Updates an epoch."""
        return _steps_per_epoch(self.data, self.recipe)

    @property
    def epochs(self) -> int:
        """Passes over the training images, the last one possibly not whole where the recipe counts in steps."""
        return -(-self.recipe.steps // self.steps_per_epoch) if self.recipe.steps else self.recipe.epochs

    @property
    def steps(self) -> int:
        """Updates in all."""
        return self.recipe.steps or self.recipe.epochs * self.steps_per_epoch


def prepare(
    data: LabelledImages,
    model: VisionTransformer,
    preprocessing: Preprocessing,
    recipe: Recipe,
    compute: Compute,
    *,
    seed: int = 0,
    compiled: bool | None = None,
    workers: int | None = None,
    time_limit: float | None = None,
    seconds_per_step: float | None = None,
) -> Plan:
    """Check that the training can be done, and measure a few steps to tell what it will cost.

    The model's weights are as before when this returns; the model is on the device, in its precision, after `run`.

    Args:
        compiled, workers: None lets the machine decide.
        time_limit: seconds; the epochs are cut so that the training ends before.
        seconds_per_step: as measured for an equal training before, which then is not done again.

    Raises:
        DataError: a class has no training image, or the metric cannot be computed.
        VitralError: not enough memory; the text says which batch size to try.
    """
    check_trainable(data)
    check_recipe(recipe, data.multi_label)
    recipe = recipe.resolved(len(data.split("train")))
    _check_metric(recipe.metric, data)
    if recipe.early_stopping and not data.split("validation"):
        raise DataError(
            "early stopping needs validation images: give --validation 0.15, or leave --early-stopping out"
        )
    notices = list(data.notes)
    if recipe.total_batch > len(data.split("train")):
        notices.append(
            Sentence(
                f"an update stands on {recipe.total_batch} images and there are {len(data.split('train'))} "
                "to train on: every epoch is one update",
                f"uma atualização usa {recipe.total_batch} imagens e há {len(data.split('train'))} de treino: "
                "cada época é uma só atualização",
            )
        )
    warm_up = recipe.warm_up(_steps_per_epoch(data, recipe))
    if warm_up >= (steps := recipe.steps or recipe.epochs * _steps_per_epoch(data, recipe)):
        notices.append(
            Sentence(
                f"the warm-up takes {warm_up:,} updates and there are {steps:,}: the learning rate never reaches "
                f"{recipe.learning_rate:g}; lower --warmup-steps",
                f"o aquecimento leva {warm_up} atualizações e há {steps}: a taxa de aprendizado nunca chega a "
                f"{recipe.learning_rate:g}; diminua --warmup-steps",
            )
        )
    workers = _default_workers(compute) if workers is None else workers
    plan = Plan(
        data, model, preprocessing, recipe, compute, seed, False, "", workers, 0.0, 0.0, 0, time_limit, ()
    )
    if seconds_per_step is None:
        seconds_per_step = _measure(plan)
    evaluated = sum(len(data.split(name)) for name in ("validation", "test"))
    trained = len(data.split("train"))
    seconds = seconds_per_step * (plan.steps + plan.epochs * plan.steps_per_epoch * evaluated / trained / 3)
    compiled, reason = _compile_pays(compute, seconds) if compiled is None else (compiled, ASKED_FOR)
    if compiled:
        kind = compute.device.type
        seconds = COMPILE_SECONDS.get(kind, 0.0) + seconds * (1 - COMPILE_SAVES.get(kind, 0.0))
    if time_limit is not None and seconds > 0.95 * time_limit:
        share = 0.95 * time_limit / seconds
        kept = max(1, int(share * plan.epochs))
        notices.append(
            Sentence(
                f"{kept} epochs instead of {plan.epochs}, to end within the time limit",
                f"{kept} épocas em vez de {plan.epochs}, para terminar dentro do tempo pedido",
            )
        )
        recipe = recipe.replace(epochs=kept, steps=0)
        seconds *= kept / plan.epochs
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    moments = 1 if recipe.optimizer == "sgd" else 2
    disk = weights * (2 + moments + bool(recipe.ema_decay)) + 2_000_000
    return replace(
        plan,
        recipe=recipe,
        compiled=compiled,
        compile_reason=reason,
        seconds_per_step=seconds_per_step,
        seconds=seconds,
        disk_bytes=disk,
        notices=tuple(notices),
    )


def make_learner(plan: Plan) -> Learner:
    """The state at the start of a training: the model on its device, optimizer, average, all by the plan."""
    recipe, compute, model = plan.recipe, plan.compute, plan.model
    if compute.device.type == "cpu":
        keep_memory()
    model.to(compute.device, torch.float32).train()
    for name, weight in model.named_parameters():
        in_head = name.startswith(("head.", "distillation_head."))
        weight.requires_grad_(in_head or not recipe.freeze_backbone)
    weights = Weights(model, compute.dtype)
    return Learner(
        recipe=recipe,
        augmentation=plan.batches.augmentation,
        forward=torch.compile(model, dynamic=False) if plan.compiled else model,
        weights=weights,
        optimizers=make_optimizers(recipe, model, weights),
        scaler=torch.amp.GradScaler(compute.device.type, enabled=compute.precision == "fp16"),
        normalise=Normalise(plan.preprocessing, compute),
        num_classes=len(plan.data.class_names),
        class_weights=_class_weights(plan.data).to(compute.device)
        if recipe.class_weights == "balanced"
        else None,
        multi_label=plan.data.multi_label,
        average=[weight.detach().clone() for weight in weights.master] if recipe.ema_decay else None,
        seed=plan.seed,
        batches_per_epoch=plan.batches.per_epoch,
        steps=plan.steps,
    )


def _class_weights(data: LabelledImages) -> Tensor:
    counts = list(data.counts()["train"].values())
    return balanced_weights(counts, len(data.split("train"))) if data.multi_label else class_weights(counts)


def _check_metric(metric: str, data: LabelledImages) -> None:
    """DataError where the validation split cannot be measured by the metric."""
    samples = data.split("validation")
    if not samples:
        return
    targets = data.targets(samples)
    if data.multi_label and metric in ("mean_average_precision", "macro_f1") and not targets.any():
        raise DataError(f"no validation image has a label, so there is no {metric}: give another --metric")
    if metric == "auroc" and (targets == targets[0]).all():
        raise DataError(
            "the validation split has one class only, for which there is no auroc: give another --metric"
        )


def _measure(plan: Plan) -> float:
    """Seconds a step takes, the median of a few; the weights are put back afterwards."""
    weights = {name: tensor.detach().clone() for name, tensor in plan.model.state_dict().items()}
    learner = make_learner(plan)
    batches = islice(plan.batches.stream(), WARM_UP_STEPS + TIMED_STEPS)
    times: list[float] = []
    try:
        with random_state_put_back():
            for batch in cycle(batches):  # a training may have fewer batches
                started = perf_counter()
                train_step(learner, [batch]).tolist()
                times.append(perf_counter() - started)
                if len(times) == WARM_UP_STEPS + TIMED_STEPS:
                    break
                if len(times) > WARM_UP_STEPS and sum(times[WARM_UP_STEPS:]) > TIMED_SECONDS:
                    break
        return median(times[WARM_UP_STEPS:]) * plan.recipe.accumulate
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise VitralError(memory_advice(plan.recipe, error)) from error
    finally:
        plan.model.to(plan.compute.device, torch.float32)
        plan.model.load_state_dict(weights)
        plan.model.zero_grad()


def _compile_pays(compute: Compute, seconds: float) -> tuple[bool, str]:
    kind = compute.device.type
    if COMPILE_SAVES.get(kind, 0.0) * seconds <= COMPILE_SECONDS.get(kind, 0.0):
        return False, Sentence("it would take longer than it saves", "levaria mais tempo do que poupa")
    if compute.device.type == "cpu" and shutil.which(os.environ.get("CXX", "g++")) is None:
        return False, Sentence("there is no C++ compiler", "falta um compilador de C++")
    return True, Sentence("it saves more time than it takes", "poupa mais tempo do que leva")


def _default_workers(compute: Compute) -> int:
    """Reading beside a GPU takes processes; beside a processor that computes they would only take turns."""
    if compute.device.type == "cpu" or os.name != "posix":
        return 0
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4)


def _steps_per_epoch(data: LabelledImages, recipe: Recipe) -> int:
    return math.ceil(math.ceil(len(data.split("train")) / recipe.batch_size) / recipe.accumulate)


@contextmanager
def random_state_put_back() -> Iterator[None]:
    """Training seeds torch's generators at every step; the caller finds them afterwards as they were."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        yield
