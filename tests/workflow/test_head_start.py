"""Fine-tuning that starts where the linear probe ends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vitral.errors import ConfigError
from vitral.inference import Classifier
from vitral.weights import read_checkpoint
from vitral.workflow import Run, probe, train


@pytest.fixture(scope="module")
def others(make_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two colours that the run of `photos` does not know by name."""
    root = tmp_path_factory.mktemp("others")
    made = make_folder(root / "made", classes=("green", "grey"), counts={"train": 10, "test": 6}, seed=3)
    for split in ("train", "test"):
        (made / split / "green").rename(made / split / "lime")
        (made / split / "grey").rename(made / split / "ash")
    return made


def still(**changes: Any) -> dict[str, Any]:
    """One epoch at a learning rate of next to nothing: what is left is what it started from."""
    values = {"epochs": 1, "learning_rate": 1e-12, "batch_size": 8, "precision": "fp32", "progress": False}
    return values | changes


@pytest.mark.parametrize("flip", ["horizontal", "none"])
def test_it_starts_where_the_probe_ends(run: Run, others: Path, tmp_path: Path, flip: str) -> None:
    probed = probe(
        others, weights=run.path, output=tmp_path / "probe", flip=flip, precision="fp32", progress=False
    )
    tuned = train(
        others, weights=run.path, output=tmp_path / "tuned", **still(recipe="finetune-small", flip=flip)
    )
    files = sorted(str(file) for file in (others / "test").rglob("*.png"))
    answers = [
        np.stack([one.probabilities for one in Classifier.load(path, precision="fp32").predict(files)])
        for path in (probed.path, tuned.path)
    ]
    np.testing.assert_allclose(answers[1], answers[0], rtol=0, atol=1e-5)
    kept, start = read_checkpoint(tuned.path).config, read_checkpoint(probed.path).config
    assert (kept.pool, kept.feature_layers) == (start.pool, start.feature_layers)
    assert kept.drop_path == 0.1  # the recipe's, in training
    notes = [note["en"] for note in json.loads((tuned.path / "run.json").read_text())["notes"]]
    assert any("linear probe" in note for note in notes)
    assert not any("at zero" in note for note in notes)


def test_features_are_those_that_probes_keep(
    run: Run, others: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a probe of the same images nothing goes through the frozen network again."""
    monkeypatch.setenv("VITRAL_CACHE", str(tmp_path / "cache"))
    probe(others, weights=run.path, output=tmp_path / "probe", precision="fp32", progress=False)
    from vitral.transfer import features

    def never(*_: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(features.Extraction, "_forward", never)
    train(others, weights=run.path, output=tmp_path / "tuned", **still(recipe="finetune-small"))


def test_a_head_of_known_classes_stays(run: Run, photos: Path, tmp_path: Path) -> None:
    tuned = train(photos, weights=run.path, output=tmp_path / "tuned", **still(recipe="finetune-small"))
    old, new = (read_checkpoint(path).tensors["head.weight"] for path in (run.path, tuned.path))
    torch.testing.assert_close(new, old, rtol=0, atol=1e-6)


def test_finetune_starts_at_zero(run: Run, others: Path, tmp_path: Path) -> None:
    tuned = train(others, weights=run.path, output=tmp_path / "tuned", **still(recipe="finetune"))
    assert read_checkpoint(tuned.path).tensors["head.weight"].abs().max() < 1e-6


def test_several_labels_have_no_probe(run: Run, tmp_path: Path, photos: Path) -> None:
    lines = ["path,label,split"]
    for split in ("train", "test"):
        for label in ("red", "green"):
            lines += [
                f"{file},{label}|dark,{split}" for file in sorted((photos / split / label).glob("*.png"))
            ]
            lines += [f"{file},blue,{split}" for file in sorted((photos / split / "blue").glob("*.png"))]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(dict.fromkeys(lines)) + "\n")
    tuned = train(table, weights=run.path, output=tmp_path / "tuned", **still(recipe="finetune-small"))
    assert tuned.metrics["images"] > 0
    with pytest.raises(ConfigError, match="head_start zero"):
        train(table, weights=run.path, output=tmp_path / "no", **still(head_start="probe"))
