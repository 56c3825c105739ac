"""Does the benchmark train both, keep what is finished, and draw?"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
def test_both_are_trained_once_and_drawn(tmp_path):
    numbers = np.random.default_rng(0)
    for data, classes in (("source", ("a", "b")), ("target", ("c", "d"))):
        for split, count in (("train", 8), ("test", 4)):
            for index, name in enumerate(classes):
                (tmp_path / data / split / name).mkdir(parents=True)
                for number in range(count):
                    pixels = (numbers.random((16, 16, 3)) * 120 + 120 * index).astype(np.uint8)
                    Image.fromarray(pixels).save(tmp_path / data / split / name / f"{number}.png")
    words = [tmp_path / "source", tmp_path / "target", "--model", "vit_mini_patch8_16", "--epochs", 2]
    words += ["--seeds", 2, "--scratch-epochs", 3, "--folder", tmp_path / "runs"]
    command = [sys.executable, "benchmarks/pretraining.py", *map(str, words)]
    surroundings = os.environ | {"OMP_NUM_THREADS": "1"}

    def call():
        return subprocess.run(
            command, cwd=REPOSITORY, check=True, capture_output=True, text=True, env=surroundings
        )

    first = call()
    runs = [tmp_path / "runs" / name for name in ("pretrained", "transferred/seed-1", "from-scratch/seed-1")]
    written = [(run / "run.json").stat().st_mtime_ns for run in runs]
    second = call()
    assert first.stdout == second.stdout
    assert "transferred" in first.stdout
    assert [(run / "run.json").stat().st_mtime_ns for run in runs] == written
    with Image.open(tmp_path / "runs" / "curves.png") as picture:
        assert picture.size == (910, 520)
