"""From WEIGHTS to what runs them: what is prepared again, what is refused, and exported files."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitral.errors import UsageError, WeightsError
from vitral.images import Preprocessing
from vitral.inference import Classifier, Embedder, graphs
from vitral.inference.deployed import Deployed
from vitral.inference.description import Description
from vitral.weights import Checkpoint, read_checkpoint, write_checkpoint

MakeFolder = Callable[..., Path]
PHOTO = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


@pytest.fixture
def built(extras: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The precision of every graph that is made, one after the other."""
    made: list[str] = []
    to_openvino = graphs.to_openvino

    def counted(network: Deployed, description: Description) -> Any:
        made.append(description.precision)
        return to_openvino(network, description)

    monkeypatch.setitem(graphs.GRAPHS, "openvino", counted)
    return made


def load(folder: Path, **asked: Any) -> Classifier:
    return Classifier.load(folder, **{"backend": "openvino", "precision": "fp32"} | asked)


def by_torch(folder: Path, **asked: Any) -> Classifier:
    return Classifier.load(folder, **{"backend": "torch", "device": "cpu", "precision": "fp32"} | asked)


def assert_right(folder: Path, **asked: Any) -> None:
    """Its answer is torch's, its class names too."""
    found, expected = load(folder, **asked).predict(PHOTO), by_torch(folder, **asked).predict(PHOTO)
    assert found.class_names == expected.class_names
    assert found.label == expected.label
    assert np.abs(found.probabilities - expected.probabilities).max() < 1e-4


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads((folder / "config.json").read_text())
    change(content)
    (folder / "config.json").write_text(json.dumps(content))


def change_a_weight(folder: Path) -> None:
    checkpoint = read_checkpoint(folder)
    checkpoint.tensors["head.bias"][0] += 1
    again = Checkpoint(
        checkpoint.config, checkpoint.preprocessing, checkpoint.class_names, checkpoint.tensors
    )
    write_checkpoint(folder, again)


CHANGES: dict[str, Callable[[Path], Any]] = {
    "a weight": change_a_weight,
    "a class name": lambda folder: edit(folder, lambda all: all["class_names"].__setitem__(0, "Maçã")),
    "the mean": lambda folder: edit(folder, lambda all: all["preprocessing"].update(mean=[0.1, 0.5, 0.9])),
    "the crop": lambda folder: edit(folder, lambda all: all["preprocessing"].update(fit="stretch")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_network_is_prepared_anew(saved: MakeFolder, built: list[str], change: str) -> None:
    folder = saved()
    assert_right(folder)
    CHANGES[change](folder)
    assert_right(folder)
    assert built == ["fp32", "fp32"]
    assert_right(folder)
    assert built == ["fp32", "fp32"]


def test_what_is_asked_differently_is_prepared_anew(saved: MakeFolder, built: list[str]) -> None:
    folder = saved(image_size=(32, 24))
    assert_right(folder)
    for asked in ({"image_size": (16, 24)}, {"mean": (0.1, 0.2, 0.3)}, {"merge": 2}):
        assert_right(folder, **asked)
    assert load(folder, precision="bf16").precision == "bf16"
    assert built == ["fp32"] * 4 + ["bf16"]
    vectors = Embedder.load(folder, backend="openvino", precision="fp32").embed(PHOTO)
    averages = Embedder.load(folder, backend="openvino", precision="fp32", pool="average").embed(PHOTO)
    assert not np.allclose(vectors, averages)
    assert len(built) == 7
    assert_right(folder)
    assert len(built) == 7


def test_a_copied_or_renamed_run_is_not_prepared_anew(saved: MakeFolder, built: list[str]) -> None:
    folder = saved()
    assert_right(folder)
    copy = shutil.copytree(folder, folder.with_name("a copy"))
    assert_right(copy)
    assert_right(folder.rename(folder.with_name("renamed")))
    assert_right(copy / "model.safetensors")
    assert built == ["fp32"]


@pytest.mark.parametrize("name", ["network.bin", "network.xml"])
def test_a_damaged_entry_is_prepared_anew(
    saved: MakeFolder, built: list[str], extras: Path, name: str
) -> None:
    folder = saved()
    assert_right(folder)
    (file,) = extras.glob(f"compiled/*/{name}")
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)
    assert_right(folder)
    assert built == ["fp32", "fp32"]


def in_process(code: str, *words: object) -> "subprocess.Popen[str]":
    head = "import sys\nfrom vitral.inference import Classifier\n"
    command = [sys.executable, "-c", head + code, *map(str, words)]
    return subprocess.Popen(
        command, env={**os.environ}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


PREDICT = """
import numpy as np
photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
print(Classifier.load(sys.argv[1], backend="openvino", precision="fp32").predict(photo).probability)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file's size")
def test_a_full_disk_costs_no_answer(saved: MakeFolder, extras: Path) -> None:
    """Files that cannot grow beyond a kilobyte: OpenVINO's own writing meets the same as on a full disk."""
    folder = saved()
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))\n"
    process = in_process(limited + PREDICT, folder)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert float(out) == pytest.approx(by_torch(folder).predict(PHOTO).probability, abs=1e-4)
    assert not list(extras.glob("compiled/*/"))
    assert not list(extras.glob("compiled/.*"))


@pytest.mark.slow
def test_processes_that_start_at_once_all_answer(saved: MakeFolder, built: list[str], extras: Path) -> None:
    folder = saved()
    several = [in_process(PREDICT, folder) for _ in range(2)]
    for process in several:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert float(out) == pytest.approx(by_torch(folder).predict(PHOTO).probability, abs=1e-4)
    assert len(list(extras.glob("compiled/*/"))) == 1
    assert_right(folder)
    assert built == []


def test_no_classifier_no_probabilities(saved: MakeFolder, extras: Path) -> None:
    folder = saved()
    edit(folder, lambda content: content.update(class_names=[]))
    with pytest.raises(UsageError, match="has no classifier: train one"):
        load(folder)
    assert Embedder.load(folder, backend="openvino", precision="fp32").backend == "openvino"


def test_compile_is_torchs(saved: MakeFolder, extras: Path) -> None:
    with pytest.raises(UsageError, match="compile is torch's: leave it out with --backend openvino"):
        load(saved(), compile=True)


@pytest.fixture
def exported(saved: MakeFolder, extras: Path, tmp_path: Path) -> Path:
    """What was prepared, as a file by itself."""
    load(saved())
    (entry,) = extras.glob("compiled/*/")
    return Path(shutil.copytree(entry, tmp_path / "exported")) / "network.xml"


def test_an_exported_file_answers(exported: Path, tmp_path: Path) -> None:
    classifier = Classifier.load(exported)
    assert (classifier.backend, classifier.precision, classifier.device) == ("openvino", "fp32", "cpu")
    found, expected = classifier.predict(PHOTO), by_torch(tmp_path / "weights").predict(PHOTO)
    assert found.class_names == expected.class_names
    assert np.abs(found.probabilities - expected.probabilities).max() < 1e-4


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"backend": "torch"}, "is for openvino: leave out --backend torch"),
        ({"device": "cuda"}, "is for cpu: leave out --device cuda"),
        ({"precision": "bf16"}, "computes in fp32: leave out --precision bf16"),
        ({"image_size": 32}, "was exported with its image size and all else: leave these options out"),
        ({"mean": (0.5, 0.5, 0.5)}, "was exported with its image size and all else: leave these options out"),
        ({"compile": True}, "was exported with its image size and all else: leave these options out"),
    ],
)
def test_an_exported_file_takes_no_options(exported: Path, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        Classifier.load(exported, **asked)
    assert str(error.value) == f"{exported} {said}"


def test_an_exported_classifier_gives_no_vectors_and_no_explanations(exported: Path) -> None:
    classifier = Classifier.load(exported)
    with pytest.raises(UsageError, match="has a classifier: name WEIGHTS"):
        classifier.embed(PHOTO)
    with pytest.raises(UsageError, match="answers and does no more: name the run"):
        classifier.explain(PHOTO)


def test_a_damaged_or_foreign_exported_file_is_said(exported: Path, tmp_path: Path) -> None:
    text = exported.read_text()
    for damaged in (text[: len(text) // 2], "", text.replace("vitral", "theirs")):
        exported.write_text(damaged)
        with pytest.raises(WeightsError, match=r"network\.xml") as error:
            Classifier.load(exported)
        assert "\n" not in str(error.value)
    exported.write_text(text)
    exported.with_suffix(".bin").write_bytes(b"short")
    with pytest.raises(WeightsError, match="export it again"):
        Classifier.load(exported)


def test_a_description_comes_back_as_it_was(saved: MakeFolder) -> None:
    seen = Preprocessing((16, 24), fit="pad", mean=(0.1, 0.2, 0.3), range=(0.0, 1000.0), dtype="uint16")
    about = Description(("café", 'a "b"'), seen, "bf16", (0.25, 0.5), {"layers": 3})
    assert Description.from_json(about.to_json(), "somewhere") == about
    content = json.loads(about.to_json())
    for change in (
        {"format": "theirs"},
        {"version": 2},
        {"thresholds": [0.5]},
        {"class_names": None},
        {"preprocessing": {}},
    ):
        with pytest.raises(WeightsError, match=r"^somewhere "):
            Description.from_json(json.dumps(content | change), "somewhere")
    for text in ("", "[]", "null", "[" * 100_000):
        with pytest.raises(WeightsError, match=r"^somewhere "):
            Description.from_json(text, "somewhere")
