"""The paper's claim at home scale: a small network is pretrained on one data set and goes on on another, smaller one,
beside the same network from random weights. Prints test accuracies and draws them over the epochs.

Runs that stand finished in the folder are not trained again.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from timing import console, table

import vitral
from vitral.runs import RunFolder

# What taught the small network most in the same time: Muon and the average of the weights.
PRETRAINING = {"optimizer": "muon", "learning_rate": 5e-3, "ema_decay": 0.999, "epochs": 100}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="DATA to pretrain on")
    parser.add_argument("target", type=Path, help="DATA with a test split that both are measured on")
    parser.add_argument("--model", default="vit_mini_patch8_64")
    parser.add_argument("--epochs", type=int, default=PRETRAINING["epochs"], help="of pretraining")
    parser.add_argument("--scratch-epochs", type=int, default=0, help="from scratch; default: the recipe's")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("build/benchmarks/pretraining"))
    options = parser.parse_args()
    pretrained = options.folder / "pretrained"
    seeds = tuple(range(options.seeds))
    train(pretrained, options.source, model=options.model, **PRETRAINING | {"epochs": options.epochs})
    train(options.folder / "transferred", options.target, weights=pretrained, seeds=seeds)
    scratch = {"model": options.model, "epochs": options.scratch_epochs}
    train(options.folder / "from-scratch", options.target, seeds=seeds, **scratch)
    found = {
        name: [measured(options.folder / name / f"seed-{seed}") for seed in seeds]
        for name in ("transferred", "from-scratch")
    }
    rows = []
    for name, runs in found.items():
        accuracies = [run["accuracy"] for run in runs]
        each = ", ".join(f"{one:.3f}" for one in accuracies)
        images = runs[0]["images"]
        rows.append(
            [name, f"{statistics.mean(accuracies):.3f}", each, str(images), str(len(runs[0]["curve"]))]
        )
    title = f"{options.model} on {options.target}, pretrained on {options.source}"
    console().print(table(title, ["", "mean", "test accuracy of each seed", "images", "epochs"], rows))
    picture = options.folder / "curves.png"
    draw(found, picture)
    console(stderr=True).print(f"the curves: {picture}")


def train(folder: Path, data: Path, **how: Any) -> None:
    """A run of `vitral.train`, unless it stands there finished."""
    runs = sorted(folder.glob("seed-*")) or [folder]
    wanted = len(how.get("seeds", (0,)))
    finished = [run for run in runs if (run / "evaluation.json").exists()]
    if len(finished) == wanted and all(RunFolder(run).read_run()["state"] == "finished" for run in finished):
        return
    vitral.train(data, output=folder, overwrite=True, **how)


def measured(folder: Path) -> dict[str, Any]:
    """A run's test accuracy, at its end and after each epoch."""
    run = RunFolder(folder)
    result = json.loads(run.evaluation.read_text(encoding="utf-8"))
    if result["split"] != "test":
        raise SystemExit("error: the target has no test split to compare on")
    curve = [line["test_accuracy"] for line in run.read_metrics()]
    return {"accuracy": result["accuracy"], "images": result["images"], "curve": curve}


def draw(found: dict[str, list[dict[str, Any]]], picture: Path) -> None:
    """Test accuracy over epochs, a thin line a seed and a thick one of their mean."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for (name, runs), colour in zip(found.items(), ("#0b5cad", "#d1581c"), strict=True):
        curves = [[100 * one for one in run["curve"]] for run in runs]
        epochs = range(1, len(curves[0]) + 1)
        for curve in curves:
            axes.plot(epochs, curve, color=colour, linewidth=0.6, alpha=0.4)
        mean = [statistics.mean(values) for values in zip(*curves, strict=True)]
        axes.plot(
            epochs, mean, color=colour, linewidth=2, label=f"{name.replace('-', ' ')}, {mean[-1]:.1f} %"
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("epochs on the target (logarithmic)")
    axes.set_ylabel("test accuracy (%)")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(picture, dpi=130)


if __name__ == "__main__":
    main()
