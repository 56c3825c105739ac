"""The main job on real digits, start to end, with its settings chosen for two processor cores."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitral.data import LabelledImages, Sample
from vitral.inference import Prediction, save_picture
from vitral.language import Language
from vitral.runs import RunFolder
from vitral.workflow.evaluation import evaluate
from vitral.workflow.options import open_own_data, read_options
from vitral.workflow.run import Run
from vitral.workflow.texts import TEXTS
from vitral.workflow.training import train

# Patches of 2 x 2 pixels, seen enlarged to 4 x 4: crops and shifts by parts of a pixel then lose nothing.
MODEL = "vit_mini_patch4_16"
RECIPE: dict[str, Any] = {
    "epochs": 40,
    "batch_size": 64,
    "optimizer": "muon",
    "learning_rate": 3e-3,
    "warmup_steps": 40,
    "ema_decay": 0.99,
    "random_crop": 0.6,
    "flip": "none",  # a mirrored digit is no digit
    "mixup": 0.0,
}
SHOWN, EXPLAINED = 8, 4


@dataclass(frozen=True)
class Shown:
    """A test image, and what the model says to it."""

    sample: Sample
    label: str
    prediction: Prediction


@dataclass(frozen=True)
class Demonstration:
    """What the demonstration left and found."""

    run: Run
    evaluation: dict[str, Any]
    shown: tuple[Shown, ...]
    explanations: tuple[Path, ...]


def demonstrate(
    output: str | Path = "vitral-demo",
    *,
    device: str = "auto",
    precision: str = "auto",
    language: Language = "en",
    command: list[str] | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> Demonstration:
    """Train on `digits`, evaluate, predict, explain, report.

    Args:
        output: the run folder; a run that stands there is replaced.
        device, precision: as for `train`.
        language: of what people read.
        command: as for `train`.
        say: told what comes next.
    """
    texts = TEXTS[language]
    say(texts["demo_train"])
    run = train(
        "digits",
        model=MODEL,
        output=output,
        overwrite=True,
        device=device,
        precision=precision,
        language=language,
        command=command,
        **RECIPE,
    )
    say(texts["demo_evaluate"])
    figures = evaluate(run.path, device=device, precision=precision)
    say(texts["demo_predict"])
    folder = RunFolder(run.path)
    data = open_own_data(folder, read_options(folder)[0])
    classifier = run.classifier(device=device, precision=precision)
    samples = _some(data)
    answers = classifier.predict([data.read(sample) for sample in samples])
    shown = tuple(
        Shown(sample, data.class_names[sample.label], answer)
        for sample, answer in zip(samples, answers, strict=True)
    )
    say(texts["demo_explain"])
    explanations = []
    for one in shown[:EXPLAINED]:
        path = run.path / "explanations" / f"{one.sample.path.rpartition('/')[2]}-{one.prediction.label}.png"
        path.parent.mkdir(exist_ok=True)
        save_picture(classifier.explain(data.read(one.sample)).beside(), path)
        explanations.append(path)
    return Demonstration(run, figures, shown, tuple(explanations))


def _some(data: LabelledImages) -> list[Sample]:
    """The first test image of each of the first classes."""
    first: dict[int, Sample] = {}
    for sample in data.split("test"):
        first.setdefault(sample.label, sample)
    return [first[label] for label in sorted(first)][:SHOWN]
