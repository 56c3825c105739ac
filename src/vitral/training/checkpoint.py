"""What resuming needs: weights, average, optimizer and the place in the training, in one file."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import torch

from vitral.errors import WeightsError
from vitral.files import written_whole
from vitral.training.loop import Learner, Progress
from vitral.training.optimizer import copy_all

FILE = "last.pt"


@dataclass
class Best:
    """The best epoch so far by the validation metric.

    Args:
        epoch: from 1; None where nothing chose.
        value: of the metric.
        loss: of validation, in that epoch.
        weights: its weights, or the last epoch's where nothing chooses; None once they are on disk.
    """

    epoch: int | None = None
    value: float | None = None
    loss: float | None = None
    weights: list[torch.Tensor] | None = None


def save_state(folder: Path, learner: Learner, progress: Progress, best: Best) -> None:
    """Write the state of a training between two steps, whole or not at all; the best weights stand elsewhere."""
    state = {
        "recipe": learner.recipe.to_dict(),
        "weights": [weight.detach() for weight in learner.weights.master],
        "frozen": learner.weights.frozen,
        "average": learner.average,
        "optimizers": [optimizer.state_dict() for optimizer in learner.optimizers],
        "scaler": learner.scaler.state_dict(),
        "step": learner.step,
        "progress": {name: value for name, value in vars(progress).items() if name != "unread"},
        "best": {"epoch": best.epoch, "value": best.value, "loss": best.loss},
    }
    with written_whole(folder / FILE) as file:
        torch.save(state, file)


def has_state(folder: Path) -> bool:
    """Whether a training left something to go on from."""
    return (folder / FILE).is_file()


@torch.no_grad()
def load_state(folder: Path, learner: Learner) -> tuple[Progress, Best]:
    """Bring a learner of the same recipe back to a saved state.

    Raises:
        WeightsError: there is no whole state, or it is another training's.
    """
    file = folder / FILE
    try:
        state = torch.load(file, map_location=learner.normalise.compute.device, weights_only=True)
    except FileNotFoundError:
        raise WeightsError(
            f"{file} does not exist: the run stopped before its first state; start it anew"
        ) from None
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsError(f"{file} cannot be read: start the run anew with --overwrite") from error
    try:
        recipe = learner.recipe.to_dict()
        changed = [name for name, value in state["recipe"].items() if recipe.get(name) != value]
        if set(changed) - {"epochs", "steps"}:  # a time limit may cut these
            raise WeightsError(
                f"{file} belongs to a recipe with another {changed[0]}: restore the run's files"
            )
        shapes = [weight.shape for weight in state["weights"]]
        if shapes != [weight.shape for weight in learner.weights.master]:
            raise WeightsError(f"{file} belongs to another architecture: restore the run's files")
        learner.weights.set_frozen(state["frozen"])
        copy_all(learner.weights.master, state["weights"])
        learner.weights.show()
        if learner.average is not None:
            copy_all(learner.average, state["average"])
        for optimizer, saved in zip(learner.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        learner.scaler.load_state_dict(state["scaler"])
        learner.step = state["step"]
        return Progress(**state["progress"]), Best(**state["best"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise WeightsError(f"{file} belongs to another recipe or version: restore the run's files") from error
