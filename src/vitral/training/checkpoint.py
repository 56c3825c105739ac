"""What resuming needs: weights, average, optimizer and the place in the training, in one file."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import torch

from vitral.errors import WeightsError
from vitral.files import written_whole
from vitral.training.loop import Learner, Progress

FILE = "last.pt"


@dataclass
class Best:
    """The best epoch so far by the validation metric; `epoch` counts from 1, None before the first."""

    epoch: int | None = None
    value: float | None = None


def save_state(folder: Path, learner: Learner, progress: Progress, best: Best) -> None:
    """Write the state of a training between two steps, whole or not at all."""
    progress.read()
    state = {
        "weights": [weight.detach() for weight in learner.weights.master],
        "average": learner.average,
        "optimizer": learner.optimizer.state_dict(),
        "scaler": learner.scaler.state_dict(),
        "step": learner.step,
        "progress": {name: value for name, value in vars(progress).items() if name != "unread"},
        "best": vars(best),
    }
    with written_whole(folder / FILE) as file:
        torch.save(state, file)


@torch.no_grad()
def load_state(folder: Path, learner: Learner) -> tuple[Progress, Best]:
    """Bring a learner of the same recipe back to a saved state.

    Raises:
        WeightsError: there is no whole state, or it is another training's.
    """
    device = learner.normalise.compute.device
    try:
        state = torch.load(folder / FILE, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"there is no state to go on from in {folder}: the run stopped before its first one; start anew") from None
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsError(f"the state in {folder} cannot be read: start the run anew with --overwrite") from error
    shapes = [weight.shape for weight in state["weights"]]
    if shapes != [weight.shape for weight in learner.weights.master]:
        raise WeightsError(f"the state in {folder} belongs to another architecture: restore the run's files")
    torch._foreach_copy_(learner.weights.master, state["weights"])
    learner.weights.show()
    if learner.average is not None:
        torch._foreach_copy_(learner.average, state["average"])
    learner.optimizer.load_state_dict(state["optimizer"])
    learner.scaler.load_state_dict(state["scaler"])
    learner.step = state["step"]
    return Progress(**state["progress"]), Best(**state["best"])
