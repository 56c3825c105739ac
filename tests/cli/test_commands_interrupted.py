"""What is left, and how does it go on, when a training is stopped, has no room to write, or nowhere to?"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vitral.cli.app import main

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals and limits")


def vitral(*words: object) -> list[str]:
    return [sys.executable, "-m", "vitral", *map(str, words)]


ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


@posix
def test_a_stopped_training_goes_on_with_resume(photos: Path, tiny: list[str], tmp_path: Path) -> None:
    many = ["400" if word == "3" else word for word in tiny]
    words = ["train", photos, "--output", tmp_path / "run", *many]
    with subprocess.Popen(vitral(*words), stderr=subprocess.PIPE, text=True, env=ONE_THREAD) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 2/"):
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stderr.read()
    assert process.returncode == 143
    assert f"vitral train --resume {tmp_path / 'run'}` goes on" in rest.splitlines()[-1]
    stopped = len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert 2 <= stopped < 400
    # It goes on from there; a limit on the time spares the test the rest.
    assert main(["train", "--resume", str(tmp_path / "run"), "--time-limit", "1s"]) == 0
    epochs = [
        json.loads(line)["epoch"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert epochs == list(range(1, len(epochs) + 1))
    assert len(epochs) >= stopped
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "finished"


@posix
def test_a_disk_that_takes_no_more_leaves_nothing_half_written(
    photos: Path, tiny: list[str], tmp_path: Path
) -> None:
    # A limit on the size of files makes the system refuse to write the weights, as a full disk would.
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)); "
        "from vitral.cli.app import main; sys.exit(main(sys.argv[1:]))"
    )
    words = [str(word) for word in ("train", photos, "--output", tmp_path / "run", *tiny)]
    answer = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, env=ONE_THREAD
    )
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    assert answer.stderr.splitlines()[-1].startswith("error: ")
    left = {path.name for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert not any(name.startswith(".") for name in left)
    assert "model.safetensors" not in left
    for name in left:
        if name.endswith(".json"):
            json.loads((tmp_path / "run" / name).read_text())
    # With room again the run can be replaced.
    assert main([*words, "--overwrite"]) == 0


def test_a_place_that_cannot_be_written_to_is_named(
    photos: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main(["train", str(photos), "--output", str(tmp_path / "file" / "run"), *tiny]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert str(tmp_path / "file") in last


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(
    photos: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o500)
    try:
        assert main(["train", str(photos), "--output", str(tmp_path / "run"), *tiny]) == 1
    finally:
        tmp_path.chmod(0o700)
    assert "choose another place, or change its permissions" in capsys.readouterr().err.splitlines()[-1]
