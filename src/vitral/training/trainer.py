"""What surrounds the loop: a plan with its cost, the run folder, evaluation, best weights, interruption, resuming."""

import math
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from itertools import cycle, islice
from time import monotonic, perf_counter
from typing import Any

import numpy as np
import torch

from vitral.data import LabelledImages, check_trainable
from vitral.data.augment import Augmentation
from vitral.data.loader import TrainingBatches, evaluation_batches
from vitral.device import Compute
from vitral.errors import DataError, UsageError, VitralError
from vitral.files import write_json, write_text
from vitral.images import Preprocessing
from vitral.inference import Normalise, probabilities
from vitral.model import VisionTransformer
from vitral.runs import Predictions, RunFolder, evaluate_predictions, write_predictions
from vitral.training.checkpoint import Best, load_state, save_state
from vitral.training.events import EpochDone, Listener, Notice, StepDone
from vitral.training.loop import Learner, Progress, class_weights, train_epoch, train_step
from vitral.training.optimizer import Weights, make_optimizer
from vitral.training.recipe import Recipe, to_toml
from vitral.weights import Checkpoint, read_checkpoint, write_checkpoint

# torch.compile pays when what it saves is more than what it costs; measured by benchmarks/training.py.
COMPILE_SECONDS = 60.0
COMPILE_SAVES = {"cuda": 0.3, "cpu": 0.1}
# The state on disk is never older than this, within long epochs too, and not written more often for short ones.
SECONDS_BETWEEN_STATES = 60.0


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
) -> Plan:
    """Check that the training can be done, and measure a few steps to tell what it will cost.

    The model's weights are as before when this returns; the model is on the device, in its precision, after `run`.

    Args:
        compiled, workers: None lets the machine decide.
        time_limit: seconds; the epochs are cut so that the training ends before.

    Raises:
        DataError: a class has no training image, or the metric cannot be computed.
        VitralError: not enough memory; the text says which batch size to try.
    """
    check_trainable(data)
    recipe = recipe.resolved(len(data.split("train")))
    if recipe.metric == "auroc" and len({sample.label for sample in data.split("validation")}) == 1:
        raise DataError(
            "the validation split has one class only, for which there is no auroc: give another --metric"
        )
    notices = list(data.notes)
    if recipe.total_batch > len(data.split("train")):
        notices.append(
            f"an update stands on {recipe.total_batch} images and there are {len(data.split('train'))} to train on: "
            "every epoch is one update"
        )
    workers = _default_workers(compute) if workers is None else workers
    plan = Plan(
        data, model, preprocessing, recipe, compute, seed, False, "", workers, 0.0, 0.0, 0, time_limit, ()
    )
    seconds_per_step = _measure(plan)
    evaluated = sum(len(data.split(name)) for name in ("validation", "test"))
    trained = len(data.split("train"))
    seconds = seconds_per_step * (plan.steps + plan.epochs * plan.steps_per_epoch * evaluated / trained / 3)
    if compiled is None:
        compiled, reason = _compile_pays(compute, seconds)
    else:
        reason = "asked for"
    if time_limit is not None and seconds > 0.95 * time_limit:
        share = 0.95 * time_limit / seconds
        kept = max(1, int(share * plan.epochs))
        notices.append(f"{kept} epochs instead of {plan.epochs}, to end within the time limit")
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


def run(
    plan: Plan, folder: RunFolder, listen: Listener, *, about: dict[str, Any], resume: bool = False
) -> None:
    """Train, and leave a complete run folder (but for its pictures).

    Args:
        plan: from `prepare`.
        folder: where; it must be free, or hold the run that is resumed.
        listen: told of every step and epoch.
        about: what stands in recipe.toml and run.json beyond what the plan knows: {"options": …, "run": …}.
        resume: go on from the state in the folder.

    Raises:
        KeyboardInterrupt: after Ctrl-C or SIGTERM, with the state kept.
        VitralError: the loss was not finite, or memory ran out.
    """
    learner = make_learner(plan)
    progress, best = load_state(folder.checkpoints, learner) if resume else (Progress(), Best())
    if not resume:
        write_text(folder.recipe, to_toml(plan.recipe.to_dict() | about["options"]))
        started = datetime.now(UTC).isoformat(timespec="seconds")
        folder.write_run(about["run"] | {"state": "running", "started": started})
    else:
        folder.update_run(state="running")
    try:
        with _random_state_put_back(), _stop_asked() as asked:
            finished = _epochs(plan, folder, listen, learner, progress, best, asked)
        if not finished:
            listen(Notice("the time limit ended the training; what it reached is evaluated and kept"))
        _finish(plan, folder, progress, best)
    except BaseException as error:
        _write_model(plan, folder, learner, best)
        state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        folder.update_run(state=state, seconds=round(progress.total_seconds, 1))
        if isinstance(error, KeyboardInterrupt):
            interrupt = _passed_on(error)
            interrupt.add_note(f"`vitral train --resume {folder.path}` goes on from the last state kept")
            raise interrupt from None
        if _is_out_of_memory(error):
            raise VitralError(_memory_advice(plan.recipe, error)) from error
        raise


def make_learner(plan: Plan) -> Learner:
    """The state at the start of a training: the model on its device, optimizer, average, all by the plan."""
    recipe, compute, model = plan.recipe, plan.compute, plan.model
    model.to(compute.device, torch.float32).train()
    weights = Weights(model, compute.dtype)
    counts = list(plan.data.counts()["train"].values())
    return Learner(
        recipe=recipe,
        augmentation=plan.batches.augmentation,
        forward=torch.compile(model, dynamic=False) if plan.compiled else model,
        weights=weights,
        optimizer=make_optimizer(recipe, model, weights),
        scaler=torch.amp.GradScaler(compute.device.type, enabled=compute.precision == "fp16"),
        normalise=Normalise(plan.preprocessing, compute),
        num_classes=len(plan.data.class_names),
        class_weights=class_weights(counts).to(compute.device)
        if recipe.class_weights == "balanced"
        else None,
        average=[weight.detach().clone() for weight in weights.master] if recipe.ema_decay else None,
        seed=plan.seed,
        batches_per_epoch=plan.batches.per_epoch,
        steps=plan.steps,
    )


def _epochs(
    plan: Plan,
    folder: RunFolder,
    listen: Listener,
    learner: Learner,
    progress: Progress,
    best: Best,
    asked: Callable[[], int],
) -> bool:
    """All epochs that are left; False where the time limit ended them."""
    stream = plan.batches.stream(progress.epoch, progress.batch)
    started, written = monotonic() - progress.total_seconds, monotonic()

    def keep_state() -> None:
        nonlocal written
        progress.read()
        _write_model(plan, folder, learner, best)
        save_state(folder.checkpoints, learner, progress, best)
        written = monotonic()

    def out_of_time() -> bool:
        return plan.time_limit is not None and monotonic() - started > plan.time_limit

    def after_step(progress: Progress) -> bool:
        listen(_step_done(plan, learner, progress))
        if monotonic() - written > SECONDS_BETWEEN_STATES:
            keep_state()
        return not (asked() or out_of_time())

    while progress.epoch < plan.epochs:
        whole = train_epoch(learner, stream, progress, after_step)
        progress.read()
        if asked() and not whole:
            keep_state()
            raise _Stopped(asked())
        figures = _measure_epoch(plan, learner, progress)
        better = _choose(plan, learner, figures, best)
        folder.append_metrics(figures)
        listen(EpochDone(figures, plan.epochs, better))
        progress.next_epoch()
        if asked() and progress.epoch < plan.epochs:
            keep_state()
            raise _Stopped(asked())
        if out_of_time():
            break
    keep_state()
    return progress.epoch >= plan.epochs


def _measure_epoch(plan: Plan, learner: Learner, progress: Progress) -> dict[str, Any]:
    """An epoch's line of metrics.jsonl.

    Raises:
        VitralError: the network's answers are not finite.
    """
    began = perf_counter()
    figures: dict[str, Any] = {
        "epoch": progress.epoch + 1,
        "step": learner.step,
        "train_loss": progress.loss / progress.images,
        "train_accuracy": progress.correct / progress.images,
    }
    with _evaluated_weights(learner):
        for split in ("validation", "test"):
            if plan.data.split(split):
                labels, answers = _answers(plan, split)
                if not np.isfinite(answers).all():
                    raise VitralError(
                        f"the network's answers stopped being finite with step {learner.step}: the last good "
                        "weights are kept; lower --learning-rate, or give --clip-norm 1 or --precision fp32"
                    )
                of_truth = np.maximum(answers[np.arange(len(labels)), labels], np.finfo(np.float32).tiny)
                figures[f"{split}_loss"] = float(-np.log(of_truth).mean())
                figures[f"{split}_accuracy"] = float((answers.argmax(axis=1) == labels).mean())
                if split == "validation":
                    figures[f"validation_{plan.recipe.metric}"] = _metric(plan, labels, answers)
    figures["learning_rate"] = learner.optimizer.param_groups[0]["lr"]
    figures["images_per_second"] = round(progress.images / progress.seconds, 1)
    spent = perf_counter() - began
    progress.total_seconds += spent
    figures["seconds"] = round(progress.seconds + spent, 3)
    return figures


def _choose(plan: Plan, learner: Learner, figures: dict[str, Any], best: Best) -> bool:
    """Remember the epoch's weights if they are the best by validation, or if nothing chooses; says whether it chose."""
    value = figures.get(f"validation_{plan.recipe.metric}")
    sign = -1 if plan.recipe.metric == "loss" else 1
    if value is not None and best.value is not None and sign * value <= sign * best.value:
        return False
    if value is not None:
        best.epoch, best.value = figures["epoch"], value
    values = learner.weights.master if learner.average is None else learner.average
    best.weights = [weight.detach().clone() for weight in values]
    return value is not None


def _metric(plan: Plan, labels: np.ndarray, answers: np.ndarray) -> float:
    return getattr(
        evaluate_predictions(labels, answers, plan.data.class_names, split="validation"), plan.recipe.metric
    )


def _write_model(plan: Plan, folder: RunFolder, learner: Learner, best: Best) -> None:
    """Write the chosen weights, unless they have not changed since the last time."""
    if best.weights is not None:
        tensors = dict(zip(learner.weights.names, best.weights, strict=True))
        write_checkpoint(
            folder.path, Checkpoint(plan.model.config, plan.preprocessing, plan.data.class_names, tensors)
        )
        best.weights = None


def _finish(plan: Plan, folder: RunFolder, progress: Progress, best: Best) -> None:
    """Evaluate the kept weights, and write evaluation.json, predictions.csv and the end of run.json."""
    model = read_checkpoint(folder.path).model()
    plan.model.load_state_dict(model.state_dict())
    plan.model.to(plan.compute.device, plan.compute.dtype).eval()
    names = plan.data.class_names
    rows, measured = [], {}
    for split in ("train", "validation", "test"):
        samples = plan.data.split(split)
        if not samples or (split == "train" and (plan.data.split("validation") or plan.data.split("test"))):
            continue
        labels, answers = _answers(plan, split)
        groups = [sample.group for sample in samples] if plan.data.has_groups else None
        measured[split] = evaluate_predictions(labels, answers, names, split=split, groups=groups)
        rows += list(zip(samples, answers, strict=True))
    chosen = next(measured[split] for split in ("test", "validation", "train") if split in measured)
    compute = plan.compute
    figures = chosen.to_dict(device=str(compute.device), backend="torch", precision=compute.precision)
    write_json(folder.evaluation, figures)
    write_predictions(
        folder.predictions,
        Predictions(
            class_names=names,
            paths=tuple(sample.path for sample, _ in rows),
            labels=tuple(names[sample.label] for sample, _ in rows),
            splits=tuple(sample.split for sample, _ in rows),
            predicted=tuple(names[int(answer.argmax())] for _, answer in rows),
            probabilities=np.stack([answer for _, answer in rows]),
        ),
    )
    folder.update_run(
        state="finished",
        seconds=round(progress.total_seconds, 1),
        best={"epoch": best.epoch, "metric": plan.recipe.metric if best.epoch else None, "value": best.value},
    )


def _answers(plan: Plan, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels `(images,)` and probabilities `(images, classes)` of a split, by the model as it is."""
    samples = plan.data.split(split)
    batches = evaluation_batches(plan.data, samples, plan.preprocessing, max(64, plan.recipe.batch_size))
    answers = probabilities(plan.model, batches, plan.preprocessing, plan.compute)
    return np.array([sample.label for sample in samples]), answers


@contextmanager
def _evaluated_weights(learner: Learner) -> Iterator[None]:
    """Within the block the model computes with the average of the weights, where there is one."""
    if learner.average is None:
        yield
        return
    mine = None if learner.weights.copies else [w.detach().clone() for w in learner.weights.master]
    learner.weights.show(learner.average)
    try:
        yield
    finally:
        learner.weights.show(mine)


def _step_done(plan: Plan, learner: Learner, progress: Progress) -> StepDone:
    done = min(progress.batch * plan.recipe.batch_size, len(plan.data.split("train")))
    rate = done / progress.seconds if progress.seconds else 0.0
    left = (learner.steps - learner.step) * progress.total_seconds / max(1, learner.step)
    loss = progress.loss / progress.images if progress.images else None
    return StepDone(progress.epoch + 1, learner.step, learner.steps, loss, rate, left)


def _measure(plan: Plan) -> float:
    """Seconds a step takes: the fastest of three after a first, the weights put back afterwards."""
    weights = {name: tensor.detach().clone() for name, tensor in plan.model.state_dict().items()}
    learner = make_learner(plan)
    stream = cycle(islice(plan.batches.stream(), 4))  # a training may have fewer batches
    try:
        times = []
        with _random_state_put_back():
            for _ in range(4):
                started = perf_counter()
                train_step(learner, [next(stream)]).tolist()
                times.append(perf_counter() - started)
        return min(times[1:]) * plan.recipe.accumulate
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        raise VitralError(_memory_advice(plan.recipe, error)) from error
    finally:
        plan.model.to(plan.compute.device, torch.float32)
        plan.model.load_state_dict(weights)
        plan.model.zero_grad()


def _compile_pays(compute: Compute, seconds: float) -> tuple[bool, str]:
    saved = COMPILE_SAVES.get(compute.device.type, 0.0) * seconds
    if saved <= COMPILE_SECONDS:
        return False, "it would take longer than it saves"
    if compute.device.type == "cpu" and shutil.which(os.environ.get("CXX", "g++")) is None:
        return False, "there is no C++ compiler"
    return True, "it saves more time than it takes"


def _default_workers(compute: Compute) -> int:
    """Reading beside a GPU takes processes; beside a processor that computes they would only take turns."""
    if compute.device.type == "cpu" or os.name != "posix":
        return 0
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4)


def _steps_per_epoch(data: LabelledImages, recipe: Recipe) -> int:
    return math.ceil(math.ceil(len(data.split("train")) / recipe.batch_size) / recipe.accumulate)


def _is_out_of_memory(error: BaseException) -> bool:
    # A processor's memory has no error of its own in torch.
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def _memory_advice(recipe: Recipe, error: BaseException) -> str:
    found = re.search(r"tried to allocate ([\d.]+ \w+)", str(error), re.IGNORECASE)
    problem = f"not enough memory ({found[1]} more were asked for)" if found else "not enough memory"
    total = recipe.total_batch
    if recipe.batch_size == 1:
        return f"{problem}, though one image is computed at a time: take a smaller model or a smaller --image-size"
    smaller = max(size for size in range(1, recipe.batch_size // 2 + 1) if total % size == 0)
    sizes = f"--batch-size {smaller} --accumulate {total // smaller}"
    return f"{problem}: give {sizes}, which keeps the {total} images an update stands on"


@contextmanager
def _random_state_put_back() -> Iterator[None]:
    """Training seeds torch's generators at every step; the caller finds them afterwards as they were."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        yield


class _Stopped(KeyboardInterrupt):
    """The training stopped because a signal asked it to."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def _passed_on(error: KeyboardInterrupt) -> KeyboardInterrupt:
    """Send the signal again to whoever handled it before the training; what that raises, or else the error itself."""
    if isinstance(error, _Stopped):
        try:
            signal.raise_signal(error.number)
        except KeyboardInterrupt as raised:
            return raised
    return error


@contextmanager
def _stop_asked() -> Iterator[Callable[[], int]]:
    """Within the block a first Ctrl-C or SIGTERM only asks, so that no step is cut in half; a second one stops at once.

    What the block is given tells the number of the signal that asked, 0 where none did.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    asked: list[int] = []
    owner = os.getpid()

    def ask(number: int, _frame: object) -> None:
        if os.getpid() != owner:  # a data worker, which Ctrl-C reaches too: it ends with the training
            return
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked[0] if asked else 0
    except RuntimeError:
        if not asked:
            raise
        raise _Stopped(
            asked[0]
        ) from None  # the signal ended the data workers too, which their loader reports so
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def continue_from(folder: RunFolder) -> None:
    """Check that a run can be resumed.

    Raises:
        UsageError: it is no run, or already finished.
    """
    state = folder.read_run()["state"]
    if state == "finished":
        raise UsageError(f"{folder.path} is finished: `vitral evaluate {folder.path}` shows its figures")
