"""Does loading take the memory that the page says? How long it takes is for the benchmark itself to say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("timm")
pytest.importorskip("transformers")
REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_weights_are_mapped_and_not_copied(tmp_path):
    output = tmp_path / "loading.json"
    command = [sys.executable, "benchmarks/loading.py", "--repeats", "1", "--output", str(output)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    measured = json.loads(output.read_text())
    for name, (once,) in measured["results"].items():
        assert once["finite"]
        if name.startswith("vitral"):
            assert once["extra"] <= 1.5 * measured["file_bytes"]
    own = measured["results"]["vitral, its own folder"][0]
    assert own["private"] <= 0.1 * measured["file_bytes"]
