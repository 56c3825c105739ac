"""Does the benchmark kill, resume, and count what is there?"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_kill_in_the_middle_leaves_one_row_a_file(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(5):
        pixels = np.random.default_rng(number).integers(0, 256, (300, 400, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.jpg")
    words = [
        tmp_path / "photos",
        "--files",
        9000,
        "--model",
        "vit_mini_patch8_16",
        "--output",
        tmp_path / "a.json",
    ]
    command = [sys.executable, "benchmarks/embedding.py", *words, "--folder", tmp_path / "work"]
    done = subprocess.run(
        [str(word) for word in command],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert "9,000 rows, 0 duplicates, 0 missing" in done.stdout
    measured = json.loads((tmp_path / "a.json").read_text())
    assert measured["killed"]["status"] == -9
    assert 4500 <= measured["killed"]["rows_after"] < 9000
    assert measured["resumed"]["rows_before"] == measured["killed"]["rows_after"]
    assert all(sample["resident"] > 0 for sample in measured["resumed"]["samples"])
