"""What surrounds the loop: the run folder, evaluation, best weights, interruption, resuming."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from time import monotonic, perf_counter
from typing import Any

import numpy as np

from vitral.data import LabelledImages
from vitral.data.loader import evaluation_batches
from vitral.errors import UsageError, VitralError
from vitral.files import write_text
from vitral.inference import probabilities
from vitral.language import Sentence
from vitral.runs import RunFolder, choose_thresholds, evaluate_predictions, write_results
from vitral.runs.multi_label import measure
from vitral.runs.thresholds import UNCHOSEN
from vitral.training.checkpoint import Best, load_state, save_state
from vitral.training.events import EpochDone, Listener, Notice, StepDone
from vitral.training.loop import Learner, Progress, train_epoch
from vitral.training.memory import is_out_of_memory, memory_advice
from vitral.training.plan import Plan, make_learner, random_state_put_back
from vitral.training.recipe import to_toml
from vitral.training.stopping import Stopped, passed_on, stop_asked
from vitral.weights import Checkpoint, read_checkpoint, write_checkpoint, write_config

# The state on disk is never older than this, within long epochs too, and not written more often for short ones.
SECONDS_BETWEEN_STATES = 60.0


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
        with random_state_put_back(), stop_asked() as asked:
            ended_by = _epochs(plan, folder, listen, learner, progress, best, asked)
        if ended_by is not None:
            listen(Notice(ended_by))
        _finish(plan, folder, progress, best)
    except BaseException as error:
        _write_model(plan, folder, learner, best)
        state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        folder.update_run(state=state, seconds=round(progress.total_seconds, 1))
        if isinstance(error, KeyboardInterrupt):
            interrupt = passed_on(error)
            interrupt.add_note(f"`vitral train --resume {folder.path}` goes on from the last state kept")
            raise interrupt from None
        if is_out_of_memory(error):
            raise VitralError(memory_advice(plan.recipe, error)) from error
        raise


def _epochs(
    plan: Plan,
    folder: RunFolder,
    listen: Listener,
    learner: Learner,
    progress: Progress,
    best: Best,
    asked: Callable[[], int],
) -> Sentence | None:
    """All epochs that are left; where they were cut short, by what."""
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
            raise Stopped(asked())
        figures = _measure_epoch(plan, learner, progress)
        better = _choose(plan, learner, figures, best)
        folder.append_metrics(figures)
        listen(EpochDone(figures, plan.epochs, better))
        progress.next_epoch()
        if asked():
            keep_state()
            raise Stopped(asked())
        if out_of_time() or _waited_enough(plan, progress, best):
            break
    keep_state()
    if learner.step >= learner.steps:
        return None
    if out_of_time():
        return Sentence(
            "the time limit ended the training; what it reached is evaluated and kept",
            "o tempo pedido acabou; o que o treino alcançou é avaliado e guardado",
        )
    return Sentence(
        f"the training ended early: no better {plan.recipe.metric} in {plan.recipe.early_stopping} epochs",
        f"o treino terminou antes: {plan.recipe.early_stopping} épocas sem {plan.recipe.metric} melhor",
    )


def _waited_enough(plan: Plan, progress: Progress, best: Best) -> bool:
    """Whether validation has found nothing better for as long as the recipe waits."""
    waits = plan.recipe.early_stopping
    return waits > 0 and best.epoch is not None and progress.epoch - best.epoch >= waits


def _measure_epoch(plan: Plan, learner: Learner, progress: Progress) -> dict[str, Any]:
    """An epoch's line of metrics.jsonl; train_loss is the recipe's, the others are negative log-likelihoods.

    Of several labels an image, accuracy is the share whose labels are all right, at thresholds of 0.5.

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
                targets, answers = _answers(plan, split)
                if not np.isfinite(answers).all():
                    raise VitralError(
                        f"the network's answers stopped being finite with step {learner.step}: the last good "
                        "weights are kept; lower --learning-rate, or give --clip-norm 1 or --precision fp32"
                    )
                measured = _several_labels if plan.data.multi_label else _one_label
                figures |= {
                    f"{split}_{name}": value
                    for name, value in measured(plan, split, targets, answers).items()
                }
    group = learner.optimizers[0].param_groups[0]
    figures["learning_rate"] = group["lr"] / group["share"]
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
        # On few images epochs are often equally good, and soon faultless, long before their probabilities are any
        # good: then the loss decides.
        tie = value == best.value
        if not (tie and best.loss is not None and figures["validation_loss"] < best.loss):
            return False
    if value is not None:
        best.epoch, best.value, best.loss = figures["epoch"], value, figures["validation_loss"]
    values = learner.weights.master if learner.average is None else learner.average
    best.weights = [weight.detach().clone() for weight in values]
    return value is not None


def _one_label(plan: Plan, split: str, labels: np.ndarray, answers: np.ndarray) -> dict[str, float]:
    """Loss and accuracy of a split, and of validation the metric that chooses."""
    of_truth = np.maximum(answers[np.arange(len(labels)), labels], np.finfo(np.float32).tiny)
    figures = {
        "loss": float(-np.log(of_truth).mean()),
        "accuracy": float((answers.argmax(axis=1) == labels).mean()),
    }
    if split == "validation":
        evaluation = evaluate_predictions(labels, answers, plan.data.class_names, split=split)
        figures[plan.recipe.metric] = getattr(evaluation, plan.recipe.metric)
    return figures


def _several_labels(plan: Plan, split: str, targets: np.ndarray, answers: np.ndarray) -> dict[str, float]:
    """The same of multi-label data, and the mean average precision where any image has a label."""
    names = ["loss", "accuracy", "mean_average_precision"]
    if split == "validation":
        names.append(plan.recipe.metric)
    values = {name: measure(name, targets, answers) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _write_model(plan: Plan, folder: RunFolder, learner: Learner, best: Best) -> None:
    """Write the chosen weights, unless they have not changed since the last time."""
    if best.weights is not None:
        tensors = learner.weights.tensors(best.weights)
        names, thresholds = plan.data.class_names, thresholds_before(plan.data)
        write_checkpoint(
            folder.path,
            Checkpoint(plan.model.config, plan.preprocessing, names, tensors, thresholds=thresholds),
        )
        best.weights = None


def _finish(plan: Plan, folder: RunFolder, progress: Progress, best: Best) -> None:
    """Evaluate the kept weights, and write evaluation.json, predictions.csv and the end of run.json."""
    model = read_checkpoint(folder.path).model()
    plan.model.load_state_dict(model.state_dict())
    plan.model.to(plan.compute.device, plan.compute.dtype).eval()
    splits = [split for split in ("validation", "test") if plan.data.split(split)] or ["train"]
    answered = {split: _answers(plan, split) for split in splits}
    thresholds = None
    if plan.data.multi_label:
        thresholds = thresholds_before(plan.data)
        if "validation" in answered:
            thresholds = choose_thresholds(*answered["validation"])
        names = plan.data.class_names
        write_config(folder.path, plan.model.config, plan.preprocessing, names, thresholds=thresholds)
    compute = plan.compute
    write_results(
        folder,
        plan.data,
        {split: answers for split, (_, answers) in answered.items()},
        thresholds,
        device=str(compute.device),
        backend="torch",
        precision=compute.precision,
    )
    folder.update_run(
        state="finished",
        seconds=round(progress.total_seconds, 1),
        best={"epoch": best.epoch, "metric": plan.recipe.metric if best.epoch else None, "value": best.value},
    )


def _answers(plan: Plan, split: str) -> tuple[np.ndarray, np.ndarray]:
    """What `LabelledImages.targets` says of a split, and the model's probabilities `(images, classes)` as it is."""
    samples = plan.data.split(split)
    batches = evaluation_batches(plan.data, samples, plan.preprocessing, max(64, plan.recipe.batch_size))
    answers = probabilities(plan.model, batches, plan.preprocessing, plan.compute, plan.data.multi_label)
    return plan.data.targets(samples), answers


def thresholds_before(data: LabelledImages) -> tuple[float, ...] | None:
    """Those of a multi-label classifier before validation has chosen any; None of any other."""
    return (UNCHOSEN,) * len(data.class_names) if data.multi_label else None


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


def continue_from(folder: RunFolder) -> None:
    """Check that a run can be resumed.

    Raises:
        UsageError: it is no run, or already finished.
    """
    state = folder.read_run()["state"]
    if state == "finished":
        raise UsageError(f"{folder.path} is finished: `vitral evaluate {folder.path}` shows its figures")
