"""`vitral inspect`: which looks it takes of which network, its pictures, its numbers, its exit status."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import RidgeClassifierCV

from vitral.images import Preprocessing
from vitral.model import create_model
from vitral.weights import Checkpoint, load_model, read_checkpoint, write_checkpoint

from .calling import Capture, call, call_json

PICTURES = {"filters", "positions", "distance", "norms", "components", "probe"}


def pictures_in(folder: Path) -> set[str]:
    found = {path.stem for path in folder.glob("*.png")}
    for name in found:
        with Image.open(folder / f"{name}.png") as image:
            image.load()
            assert np.asarray(image.convert("L")).std() > 2  # not empty
    return found


def network(folder: Path, name: str = "vit_mini_patch8_16", **changes: Any) -> Path:
    torch.manual_seed(0)
    model = create_model(name, num_classes=0, **changes)
    channels = model.config.channels
    seen = Preprocessing(
        model.config.image_size, channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels
    )
    write_checkpoint(folder, Checkpoint(model.config, seen, (), model.state_dict()))
    return folder


def test_all_looks_with_data_and_images(run: Path, photos: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "looks"
    said, err = call(capsys, "inspect", run, photos / "test" / "red", "--data", photos, "--output", out)
    assert err == ""
    lines = said.splitlines()
    assert [Path(line.split()[0]).stem for line in lines] == [
        "filters", "positions", "distance", "norms", "components", "probe",
    ]  # fmt: skip
    assert "of 12 test images" in lines[-1]
    assert "left out" not in said
    assert pictures_in(out) == PICTURES
    numbers = json.loads((out / "inspection.json").read_text())
    assert numbers["images"] == 4
    assert numbers["precision"] == "fp32"
    assert numbers["left_out"] == {}
    layers, heads = numbers["layers"], numbers["heads"]
    assert np.shape(numbers["distance"]["layers"]) == (layers, heads)
    assert len(numbers["norms"]["patches"]) == layers
    assert numbers["norms"]["patches"][0]["tokens"] == 4 * numbers["grid"][0] * numbers["grid"][1]
    assert [one["layer"] for one in numbers["probe"]["layers"]] == list(range(layers))


def test_json_is_what_the_file_holds_and_data_lends_its_images(
    run: Path, photos: Path, tmp_path: Path, capsys: Capture
) -> None:
    found = call_json(capsys, "inspect", run, "--data", photos, "--output", tmp_path / "looks")
    assert found == json.loads((tmp_path / "looks" / "inspection.json").read_text())
    assert found["images"] == found["distance"]["images"] == 12  # all test images; at most 16


def test_a_layers_probe_answers_as_scikit_learns_ridge_on_that_layer(
    photos: Path, tmp_path: Path, capsys: Capture
) -> None:
    """Its strength may be chosen from the same ones; images as `vitral probe` sees them, not mirrored."""
    weights = network(tmp_path / "weights", pool="token")
    found = call_json(
        capsys, "inspect", weights, "--data", photos, "--output", tmp_path / "looks", "--pool", "average",
        "--precision", "fp32",
    )["probe"]  # fmt: skip
    assert (found["split"], found["images"], found["train_images"], found["pool"]) == (
        "test",
        12,
        24,
        "average",
    )
    assert found["majority_accuracy"] == pytest.approx(1 / 3)
    model, seen = load_model(weights), read_checkpoint(weights).preprocessing

    def features(split: str) -> tuple[list[np.ndarray], list[str]]:
        files = sorted((photos / split).rglob("*.png"))
        images = torch.from_numpy(np.stack([seen(file) for file in files]))
        with torch.no_grad():
            layers = model.forward_intermediates(images, norm=True)
        return [patches.mean(dim=(2, 3)).numpy() for _, patches in layers], [
            file.parent.name for file in files
        ]

    (train, labels), (test, truth) = features("train"), features("test")
    for layer, one in enumerate(found["layers"]):
        spread = ((train[layer] - train[layer].mean(axis=0)) ** 2).sum() / len(train[layer])
        peer = RidgeClassifierCV(spread * 10.0 ** np.arange(-4, 0.1, 0.25)).fit(train[layer], labels)
        assert one["accuracy"] == pytest.approx(peer.score(test[layer], truth)), layer
        low, high = one["accuracy_interval"]
        assert low <= one["accuracy"] <= high
    assert {one["accuracy"] for one in found["layers"]} != {1 / 3}


def test_weights_alone_show_filters_and_positions(tmp_path: Path, capsys: Capture) -> None:
    weights, out = network(tmp_path / "weights", position_embedding="learned"), tmp_path / "looks"
    said, _ = call(capsys, "inspect", weights, "--output", out)
    assert pictures_in(out) == {"filters", "positions"}
    assert said.count("left out: it takes images: name some after the weights, or DATA with --data") == 3
    assert said.count("left out: it takes labelled images: name DATA with --data") == 1
    said, _ = call(capsys, "inspect", weights, "--output", out, "--overwrite", "--language", "pt")
    assert said.count("fora: são precisas imagens") == 4


@pytest.mark.parametrize(
    ("name", "changes", "missing", "why"),
    [
        ("vit_tiny_r_s16_p8_64", {"dim": 32, "heads": 2, "mlp_dim": 32, "layers": 1}, "filters", "hybrid"),
        ("vit_mini_patch8_16", {"position_embedding": "rope"}, "positions", "rotary positions"),
        ("vit_mini_patch8_16", {"position_embedding": "none"}, "positions", "no position embedding"),
        ("vit_mini_patch8_8", {}, "positions", "a single patch"),
    ],
)
def test_a_look_that_a_network_has_not_is_left_out_with_the_reason(
    name: str, changes: dict, missing: str, why: str, photos: Path, tmp_path: Path, capsys: Capture
) -> None:
    weights = network(tmp_path / "weights", name, pool="token", class_token=True, **changes)
    found = call_json(capsys, "inspect", weights, photos / "test", "--output", tmp_path / "looks")
    assert set(found["left_out"]) == {missing, "probe"}
    assert len(found["norms"]["class_token"]) == found["layers"]
    assert why in found["left_out"][missing]["en"]
    assert pictures_in(tmp_path / "looks") == PICTURES - {missing, "probe"}


def test_a_bad_image_is_named_and_left_out(run: Path, photos: Path, tmp_path: Path, capsys: Capture) -> None:
    cut, missing = tmp_path / "cut.png", tmp_path / "none.png"
    cut.write_bytes((photos / "test" / "red" / "00.png").read_bytes()[:200])
    words = ["inspect", run, cut, photos / "test", missing, "--output", tmp_path / "looks"]
    said, err = call(capsys, *words, status=1)
    assert [line.split(": error: ")[0] for line in err.splitlines()] == [str(cut), str(missing)]
    assert "mean of 12 images" in said
    found = call_json(capsys, "inspect", run, cut, "--output", tmp_path / "bad", status=1)
    assert [one["path"] for one in found["bad"]] == [str(cut)]
    assert "none of the images can be read" in found["left_out"]["norms"]["en"]


def test_an_inspection_is_replaced_only_when_asked(
    run: Path, photos: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "looks"
    call(capsys, "inspect", run, photos / "test", "--output", out)
    _, err = call(capsys, "inspect", run, "--output", out, status=2)
    assert "holds an inspection already" in err
    assert pictures_in(out) == PICTURES - {"probe"}
    (out / "mine.png").write_bytes((out / "norms.png").read_bytes())
    call(capsys, "inspect", run, "--output", out, "--overwrite")
    assert "norms" not in pictures_in(out)  # nothing that the new one did not see
    assert "mine" in pictures_in(out)


def test_another_image_size_shows_another_grid(tmp_path: Path, photos: Path, capsys: Capture) -> None:
    weights = network(tmp_path / "weights")
    words = ["inspect", weights, photos / "test", "--output", tmp_path / "looks", "--image-size", "24x40"]
    found = call_json(capsys, *words)
    assert (found["image_size"], found["grid"]) == ([24, 40], [3, 5])
    assert found["positions"]["grid"] == [3, 5]


def test_images_of_one_channel(tmp_path: Path, capsys: Capture) -> None:
    weights = network(tmp_path / "weights", "vit_mini_patch2_8", channels=1)
    found = call_json(capsys, "inspect", weights, "--data", "digits", "--output", tmp_path / "looks")
    assert found["images"] == 16
    assert found["filters"]["components"] == 4
    assert found["probe"]["images"] == 298
    assert pictures_in(tmp_path / "looks") == PICTURES


def test_wrong_command_lines(run: Path, photos: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "looks"
    for words, said in (
        (["--group-by", "folder"], "name it with --data"),
        (["--pool", "token"], "name it with --data"),
        (["--data", photos, "--pool", "distilled"], "--pool distilled is not for layer 0"),
        (["--data", photos, "--image-size", "16x24"], "a probe takes square images"),
        (["--data", photos, "--folds", "3"], "--folds"),
        ([photos / "test", "--precision", "fp16"], "fp16 is not for processors"),
    ):
        _, err = call(capsys, "inspect", run, *words, "--output", out, status=2)
        (line,) = err.splitlines()
        assert said in line
        assert not out.exists()
    _, err = call(capsys, "inspect", run, photos, status=2)
    assert "--output" in err
