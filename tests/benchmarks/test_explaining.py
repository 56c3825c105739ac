"""Does the benchmark measure every method beside a prediction?"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak memory is read from Linux")
def test_every_method_is_measured(tmp_path):
    words = ["--model", "vit_mini_patch4_32", "--repeats", "3", "--output", str(tmp_path / "found.json")]
    done = subprocess.run(
        [sys.executable, "benchmarks/explaining.py", *words],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    found = json.loads((tmp_path / "found.json").read_text())
    names = ["prediction", "gradient", "rollout", "attention"]
    assert list(found["seconds"]) == list(found["peak_bytes"]) == names
    assert all(len(found["seconds"][name]) == 3 for name in names)
    for name in names:
        assert name in done.stdout
    # Gradients keep what led to them: a peak that did not see them would not be one.
    assert found["peak_bytes"]["gradient"] > found["peak_bytes"]["prediction"] > 2**27
