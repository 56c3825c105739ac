"""config.json and model.safetensors: out and in unchanged, and what damage is answered."""

import errno
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vitral.errors import UsageError, WeightsError
from vitral.images import Preprocessing
from vitral.model import VisionTransformer, ViTConfig
from vitral.weights import Checkpoint, find_checkpoint, load_model, read_checkpoint, write_checkpoint

CLASSES = ("ação", 'a "b"', "图")
PREPROCESSING = Preprocessing(size=(8, 12), fit="pad", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))


@pytest.fixture
def model() -> VisionTransformer:
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=(8, 12), patch_size=(4, 4), layers=2, dim=16, mlp_dim=32, heads=2, num_classes=3
    )
    model = VisionTransformer(config)
    torch.nn.init.normal_(model.head.weight)
    return model.eval()


@pytest.fixture
def folder(tmp_path: Path, model: VisionTransformer) -> Path:
    write_checkpoint(tmp_path / "run", Checkpoint(model.config, PREPROCESSING, CLASSES, model.state_dict()))
    return tmp_path / "run"


def test_what_is_written_is_read(folder: Path, model: VisionTransformer) -> None:
    checkpoint = read_checkpoint(folder)
    assert (checkpoint.config, checkpoint.preprocessing, checkpoint.class_names) == (
        model.config,
        PREPROCESSING,
        CLASSES,
    )
    images = torch.randn(2, 3, 8, 12)
    again = checkpoint.model()
    assert not again.training
    assert torch.equal(again(images), model(images))


def test_the_two_files_are_the_whole_model(folder: Path, model: VisionTransformer, tmp_path: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    folder.rename(tmp_path / "moved")
    assert torch.equal(load_model(tmp_path / "moved").head.weight, model.head.weight)
    assert find_checkpoint(tmp_path / "moved" / "model.safetensors") == tmp_path / "moved"


def test_thresholds_are_kept_by_name_and_damage_is_said(folder: Path, model: VisionTransformer) -> None:
    assert read_checkpoint(folder).thresholds is None
    written = Checkpoint(
        model.config, PREPROCESSING, CLASSES, model.state_dict(), thresholds=(0.25, 0.5, 0.9)
    )
    write_checkpoint(folder, written)
    assert read_checkpoint(folder).thresholds == (0.25, 0.5, 0.9)
    content = json.loads((folder / "config.json").read_text())
    assert content["thresholds"] == {"ação": 0.25, 'a "b"': 0.5, "图": 0.9}
    content["thresholds"] = dict(reversed(content["thresholds"].items()))
    (folder / "config.json").write_text(json.dumps(content))
    assert read_checkpoint(folder).thresholds == (0.25, 0.5, 0.9)
    for damage, message in (
        ({"ação": 0.25}, "not one threshold a class"),
        ([0.25, 0.5, 0.9], "not one threshold a class"),
        ({"ação": 0.25, 'a "b"': 2, "图": 0.9}, "not between 0 and 1"),
        ({"ação": 0.25, 'a "b"': "0.5", "图": 0.9}, "not between 0 and 1"),
    ):
        (folder / "config.json").write_text(json.dumps(content | {"thresholds": damage}))
        with pytest.raises(WeightsError, match=message):
            read_checkpoint(folder)


def test_tensors_keep_names_and_precision(folder: Path, model: VisionTransformer) -> None:
    tensors = load_file(folder / "model.safetensors")  # the library's own reader
    assert tensors.keys() == model.state_dict().keys()
    halves = {name: tensor.bfloat16() for name, tensor in model.state_dict().items()}
    write_checkpoint(folder, Checkpoint(model.config, PREPROCESSING, CLASSES, halves))
    assert all(tensor.dtype == torch.bfloat16 for tensor in load_file(folder / "model.safetensors").values())


def test_views_and_shared_tensors_can_be_written(folder: Path, model: VisionTransformer) -> None:
    tensors = {
        name: tensor.T.contiguous().T if tensor.ndim == 2 else tensor
        for name, tensor in model.state_dict().items()
    }
    write_checkpoint(folder, Checkpoint(model.config, PREPROCESSING, CLASSES, tensors))
    assert torch.equal(load_model(folder).head.weight, model.head.weight)


def test_a_full_disk_is_said_as_by_any_other_file_and_leaves_what_there_was(
    folder: Path, model: VisionTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def save(tensors: dict, path: Path, metadata: dict) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", save)
    with pytest.raises(OSError, match="No space left") as caught:
        write_checkpoint(folder, Checkpoint(model.config, PREPROCESSING, CLASSES, model.state_dict()))
    assert caught.value.errno == errno.ENOSPC
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_reading_leaves_the_callers_random_numbers_alone(folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_model(folder)
    assert torch.equal(torch.rand(3), expected)


def test_another_number_of_classes_starts_at_zero(folder: Path, model: VisionTransformer) -> None:
    other = load_model(folder, num_classes=7)
    assert other.head.weight.shape == (7, 16)
    assert not other.head.weight.any()
    assert torch.equal(other.norm.weight, model.norm.weight)
    assert torch.equal(load_model(folder, num_classes=3).head.weight, model.head.weight)


def test_another_image_size(folder: Path) -> None:
    assert load_model(folder, image_size=(16, 24))(torch.randn(1, 3, 16, 24)).shape == (1, 3)


def test_what_is_no_checkpoint_is_said(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UsageError, match=r"no weights at .*nowhere"):
        read_checkpoint(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"empty holds no model\.safetensors"):
        read_checkpoint(tmp_path / "empty")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"model\.safetensors"):
        read_checkpoint(folder)
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(WeightsError, match=r"file\.txt is empty"):
        read_checkpoint(tmp_path / "file.txt")


def without(key: str) -> Callable[[dict], dict]:
    return lambda content: {name: value for name, value in content.items() if name != key}


def with_(**changes: object) -> Callable[[dict], dict]:
    return lambda content: content | changes


def architecture(**changes: object) -> Callable[[dict], dict]:
    return lambda content: content | {"architecture": content["architecture"] | changes}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_(format="other"), "not vitral's"),
        (without("format"), "not vitral's"),
        (lambda content: [content], "no JSON object"),
        (with_(version=2), "version 2.*upgrade"),
        (without("version"), "version"),
        (without("architecture"), "architecture"),
        (without("preprocessing"), "preprocessing"),
        (without("class_names"), "class_names"),
        (with_(class_names=["a", "b"]), "2 classes for 3 outputs"),
        (with_(class_names=3), "damaged"),
        (with_(architecture=None), "damaged"),
        (with_(architecture=[1]), "damaged"),
        (with_(preprocessing=[]), "damaged"),
        (with_(preprocessing={"size": [8, 12]}), "damaged"),
        (architecture(layers=-1), "layers"),
        (architecture(layers="2"), "layers"),
        (architecture(image_size=None), "image_size"),
        (architecture(dim=17), "dim"),
        (architecture(dropout="much"), "damaged"),
        (architecture(new_field=1), "new_field"),
    ],
)
def test_a_wrong_config_is_named_in_one_line(folder: Path, change: Callable, words: str) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(change(json.loads(file.read_text("utf-8")))))
    with pytest.raises(WeightsError, match=words) as caught:
        read_checkpoint(folder)
    assert "config.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"null", b"[]", b"3"])
def test_a_damaged_config_is_named_in_one_line(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(WeightsError, match=r"config\.json") as caught:
        read_checkpoint(folder)
    assert "\n" not in str(caught.value)


class Malice:
    """A pickle that runs code where it is read."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple:
        return Path.touch, (self.witness,)


@pytest.mark.parametrize("damage", ["cut short", "empty", "noise", "changed header", "pickle"])
def test_damaged_tensors_are_named_in_one_line(folder: Path, tmp_path: Path, damage: str) -> None:
    file, witness = folder / "model.safetensors", tmp_path / "witness"
    content = file.read_bytes()
    if damage == "pickle":
        torch.save({"head.weight": Malice(witness)}, file)
    else:
        file.write_bytes(
            {
                "cut short": content[:-100],
                "empty": b"",
                "noise": bytes(range(256)) * 20,
                "changed header": content[:8] + b"x" + content[9:],
            }[damage]
        )
    with pytest.raises(WeightsError, match=r"model\.safetensors") as caught:
        read_checkpoint(folder)
    assert "\n" not in str(caught.value)
    assert not witness.exists()


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        ({"head.weight": torch.zeros(5, 16)}, "head.weight", "5x16 instead of 3x16"),
        ({"norm.bias": None}, "norm.bias", "missing instead of 16"),
        ({"extra": torch.zeros(2)}, "extra", "2 instead of missing"),
        ({"norm.bias": None, "head.bias": torch.zeros(())}, "head.bias", "one number instead of 3"),
    ],
)
def test_the_first_tensor_that_does_not_fit_is_named_with_both_shapes(
    folder: Path, change: dict, name: str, words: str
) -> None:
    tensors = load_file(folder / "model.safetensors") | change
    save_file(
        {key: tensor for key, tensor in tensors.items() if tensor is not None}, folder / "model.safetensors"
    )
    with pytest.raises(WeightsError, match=f"{name} is {words}") as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_the_hash_is_that_of_all_files_with_tensors(folder: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(folder)
    whole = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert checkpoint.hash() == whole
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"class_names": ["a", "b", "c"]}))
    assert read_checkpoint(folder).hash() == whole
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}))
    hashes = []
    for second in (b"second", b"changed"):
        (tmp_path / "1.safetensors").write_bytes(b"first")
        (tmp_path / "2.safetensors").write_bytes(second)
        hashes.append(replace(checkpoint, file=index).hash())
    assert len({*hashes, whole}) == 3
    assert replace(checkpoint, file=None).hash() is None
