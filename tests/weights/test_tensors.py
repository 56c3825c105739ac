"""Files of weights: every format gives the same tensors, nothing in a file is run or believed, damage is one line."""

import argparse
import io
import json
import os
import pickle
import random
import struct
import sys
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn

from vitral.errors import WeightsError
from vitral.weights import load_model
from vitral.weights.tensors import read_index, read_tensors

State = dict[str, Tensor]


def state(dtype: torch.dtype = torch.float32) -> State:
    generator = torch.Generator().manual_seed(0)
    shapes = {"a.weight": (30, 40), "a.bias": (40,), "scale": (), "b/kernel": (2, 3, 4, 5)}
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def as_npz(tensors: State, save: Callable = np.savez) -> bytes:
    stream, arrays = io.BytesIO(), {}
    for name, tensor in tensors.items():
        brain = tensor.dtype == torch.bfloat16  # JAX's reaches numpy's files as two bytes of no type
        arrays[name] = tensor.view(torch.int16).numpy().view("V2") if brain else tensor.numpy()
    save(stream, **arrays)
    return stream.getvalue()


def as_pth(content: object, zipped: bool = True, **options: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=zipped, **options)
    return stream.getvalue()


FORMATS: dict[str, Callable[[State], bytes]] = {
    "npz": as_npz,
    "compressed npz": lambda tensors: as_npz(tensors, np.savez_compressed),
    "safetensors": safetensors.torch.save,
    "pth": as_pth,
    "pth before 1.6": lambda tensors: as_pth(tensors, zipped=False),
}


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[..., str]:
    """`refusal(content, name="weights.pth")`: the line in which `read_tensors` refuses a file of these bytes."""

    def read(content: bytes, name: str = "weights.pth") -> str:
        file = tmp_path / name
        file.write_bytes(content)
        return refused(file)

    return read


def refused(file: Path, read: Callable = read_tensors) -> str:
    with pytest.raises(WeightsError) as caught:
        read(file)
    text = str(caught.value)
    assert file.name in text
    assert text.isprintable()  # so it is one line
    assert "Traceback" not in text
    assert len(text) < 500
    return text.replace(str(file), "FILE")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("ending", [".npz", ".bin", ".safetensors"])
def test_every_format_gives_the_same_tensors_whatever_the_file_is_called(
    tmp_path: Path, form: str, dtype: torch.dtype, ending: str
) -> None:
    expected = state(dtype)
    (tmp_path / f"weights{ending}").write_bytes(FORMATS[form](expected))
    found, _ = read_tensors(tmp_path / f"weights{ending}")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == dtype
        assert torch.equal(found[name], tensor)


def test_arrays_of_other_machines_and_orders_are_read(tmp_path: Path) -> None:
    numbers = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    arrays = {"big": numbers.astype(">f4"), "columns": np.asfortranarray(numbers), "one": np.float16(7)}
    np.savez(tmp_path / "w.npz", **arrays, text=np.array("no tensor"))
    found, _ = read_tensors(tmp_path / "w.npz")
    assert found.keys() == arrays.keys()
    assert found["big"].tolist() == found["columns"].tolist() == numbers.tolist()
    assert found["one"].dtype == torch.float16
    assert found["one"].shape == ()


def test_a_pth_packed_again_is_read(tmp_path: Path) -> None:
    """Compressed, its tensors cannot be mapped."""
    expected = state()
    with (
        zipfile.ZipFile(io.BytesIO(as_pth(expected))) as before,
        zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as after,
    ):
        for member in before.namelist():
            after.writestr(member, before.read(member))
    found, _ = read_tensors(tmp_path / "w.pth")
    assert torch.equal(found["a.weight"], expected["a.weight"])


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda weights: weights,
        lambda weights: weights | {"epoch": 3, "names": ["cat"], "nothing": None},
        lambda weights: {
            "model": weights,
            "optimizer": {"state": {0: torch.ones(3)}},
            "loss": torch.ones(()),
        },
        lambda weights: {"state_dict": {"model": weights}},
        lambda weights: {"student": {}, "teacher": weights, "args": argparse.Namespace(lr=1e-3, out="x")},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_are_found_among_what_training_scripts_keep(
    tmp_path: Path, wrapped: Callable, zipped: bool
) -> None:
    (tmp_path / "w.pth").write_bytes(as_pth(wrapped(state()), zipped))
    found, _ = read_tensors(tmp_path / "w.pth")
    assert found.keys() == state().keys()


class Malice:
    """A pickle that makes a file where it is run."""

    def __init__(self, witness: Path, how: str) -> None:
        self.witness, self.how = witness, how

    def __reduce__(self) -> tuple:
        return {
            "os.system": (os.system, (f"echo > '{self.witness}'",)),
            "Path.touch": (Path.touch, (self.witness,)),
            "exec": (exec, (f"open({str(self.witness)!r}, 'w')",)),
        }[self.how]


@pytest.mark.parametrize("how", ["os.system", "Path.touch", "exec"])
@pytest.mark.parametrize(
    "wrapped",
    [
        lambda evil: evil,
        lambda evil: {"head.weight": evil},
        lambda evil: {"model": {"state_dict": state() | {"x": [evil]}}},
        lambda evil: state() | {"args": argparse.Namespace(hook=evil)},
    ],
)
@pytest.mark.parametrize("name", ["weights.pth", "model.safetensors", "weights.npz"])
def test_nothing_in_a_pickle_is_run(
    tmp_path: Path, refusal: Callable, monkeypatch: pytest.MonkeyPatch, how: str, wrapped: Callable, name: str
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    witness = tmp_path / "witness"
    content = wrapped(Malice(witness, how))
    for zipped in (True, False):
        assert "wants to run" in refusal(as_pth(content, zipped), name)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        refusal(pickle.dumps(content, protocol), name)
    assert not witness.exists()


def test_nothing_in_an_array_of_objects_is_run(tmp_path: Path, refusal: Callable) -> None:
    stream, witness = io.BytesIO(), tmp_path / "witness"
    np.savez(stream, a=np.ones(3), b=np.array([Malice(witness, "Path.touch")], dtype=object))
    assert "pickled objects in 'b.npy', which vitral never runs" in refusal(stream.getvalue())
    assert not witness.exists()


def test_a_whole_module_is_answered_with_the_remedy(refusal: Callable) -> None:
    small = torchvision.models.VisionTransformer(8, 4, 1, 1, 8, 8)
    for zipped in (True, False):
        text = refusal(as_pth(small, zipped))
        assert "torchvision.models.vision_transformer.VisionTransformer" in text
        assert "save model.state_dict()" in text


@pytest.mark.parametrize("form", FORMATS)
def test_a_truncated_file_is_refused_wherever_it_ends(refusal: Callable, form: str) -> None:
    content = FORMATS[form](state())
    ending = ".safetensors" if form == "safetensors" else ".pth"
    ends = {0, 1, 2, 4, 7, 8, 9, 10, 50, 130, 200, len(content) - 1}
    for end in sorted(ends | set(range(0, len(content), len(content) // 20))):
        refusal(content[:end], f"weights{ending}")


@pytest.mark.parametrize("form", FORMATS)
def test_damage_is_refused_in_one_line_or_does_no_harm(tmp_path: Path, form: str) -> None:
    whole, draw, answers = FORMATS[form](state()), random.Random(0), set()
    for _ in range(120):
        content = bytearray(whole)
        for _ in range(draw.choice([1, 2, 10])):
            place = draw.randrange(min(2000, len(whole)))
            content[draw.choice([place, -1 - place])] = draw.randrange(256)
        (tmp_path / "weights").write_bytes(content)
        try:
            read_tensors(tmp_path / "weights")
            answers.add("read")
        except WeightsError:
            answers.add("refused")
            refused(tmp_path / "weights")
    assert "refused" in answers


def tar(content: bytes) -> bytes:
    import tarfile

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights"), io.BytesIO(content))
    return stream.getvalue()


def zipped(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def jpeg() -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "jpeg")
    return stream.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 346284714\n"
ONNX = b"\x08\x0a\x12\x07pytorch\x1a\x052.9.0:" + bytes(200)
OTHER_FILES = {
    "empty": (b"", "FILE is empty"),
    "noise": (random.Random(1).randbytes(5000), "no known kind"),
    "a photograph": (jpeg(), "a JPEG image"),
    "a web page": (b"<!DOCTYPE html><html><title>404</title></html>", "a web page"),
    "an error in JSON": (b'{"error": "Repository not found"}\n', r"text beginning with '\{\"error\""),
    "a Git LFS pointer": (POINTER, "a Git LFS pointer.*git lfs pull"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
    "ONNX": (ONNX, "an ONNX model"),
    "a tar archive": (tar(bytes(100)), "a tar archive"),
    "a zip of a .pth": (
        zipped(model=as_pth(state())),
        "zip archive without tensors, with 'model' first of 1",
    ),
    "a zip of text": (zipped(a=b"a", b=b"b"), "without tensors, with 'a' first of 2"),
    "a zip of nothing": (zipped(), "without tensors, an empty one"),
    "one array": (b"\x93NUMPY\x01\x00" + bytes(100), "a single numpy array"),
    "a tensor": (as_pth(torch.ones(3)), "holds a Tensor and no named tensors"),
    "a list": (as_pth([torch.ones(3)]), "holds a list and no named tensors"),
    "no weights": (as_pth({"epoch": 3, "a\nb": 1}), r"holds a dictionary of 'epoch', 'a\\nb' and no named"),
    "sparse": (as_pth({"a": torch.eye(3).to_sparse()}), "holds a sparse, quantised or without numbers"),
    "meta": (as_pth({"a": torch.ones(3, device="meta")}), "holds a sparse, quantised or without numbers"),
    "torch.save of protocol 4": (
        as_pth(state(), pickle_protocol=4),
        "no pickle that PyTorch reads as weights",
    ),
    "no tensors": (safetensors.torch.save({}), "holds no tensors"),
}


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_other_files_are_answered_with_what_they_are(refusal: Callable, kind: str) -> None:
    import re

    content, words = OTHER_FILES[kind]
    assert re.search(words, refusal(content))


def test_a_torchscript_program_is_not_run(tmp_path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):  # PyTorch is leaving this format
        torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "program.pt"))
    assert "a TorchScript program" in refused(tmp_path / "program.pt")


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path)
    assert "cannot be read" in refused(tmp_path / "nowhere.pth")


def test_a_dictionary_that_holds_itself_is_refused(refusal: Callable) -> None:
    content: dict = {}
    content["model"] = content["state_dict"] = content
    assert "no named tensors" in refusal(as_pth(content))


HONEST = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
HEADERS = {
    "an offset beyond the end": {"a": HONEST | {"data_offsets": [0, 1 << 40]}},
    "an offset before the beginning": {"a": HONEST | {"data_offsets": [-8, 8]}},
    "a shape of more numbers than bytes": {"a": HONEST | {"shape": [1 << 30, 1 << 30]}},
    "a negative shape": {"a": HONEST | {"shape": [-2]}},
    "an unknown type": {"a": HONEST | {"dtype": "X9"}},
    "two tensors in one place": {"a": HONEST, "b": HONEST},
    "bytes of no tensor": {"a": HONEST | {"shape": [1], "data_offsets": [0, 4]}},
    "no object": {"a": 3},
    "a name of two lines": {"a\nb": HONEST},
    "a name that steers terminals": {"a\x1b[2J": HONEST},
}


@pytest.mark.parametrize("lie", HEADERS)
def test_lies_in_a_safetensors_header_are_refused(refusal: Callable, lie: str) -> None:
    text = json.dumps(HEADERS[lie]).encode()
    refusal(struct.pack("<Q", len(text)) + text + bytes(8), "model.safetensors")


def test_other_lies_about_a_safetensors_header_are_refused(refusal: Callable) -> None:
    one = json.dumps(HONEST).encode()
    other = one.replace(b"[0, 8]", b"[8, 16]")
    for text in (b'{"a":' + one + b', "a":' + other + b"}", b'{"a":' + b"[" * 100_000):
        refusal(struct.pack("<Q", len(text)) + text + bytes(16), "model.safetensors")
    honest = b'{"a":' + one + b"}"
    for length in (5, 1 << 30, 1 << 62):
        refusal(struct.pack("<Q", length) + honest + bytes(8), "model.safetensors")


def array_header(count: int) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"shape": (count,), "fortran_order": False, "descr": "<f4"})
    return stream.getvalue()


@pytest.mark.parametrize("count", [1 << 28, 1 << 50])
def test_an_array_that_claims_more_than_it_has_takes_no_memory(refusal: Callable, count: int) -> None:
    content = zipped(**{"a.npy": array_header(count) + bytes(16)})
    tracemalloc.start()
    try:
        text = refusal(content, "weights.npz")
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()
    assert f"a.npy says to have {4 * count:,} bytes and has 16" in text


@pytest.mark.parametrize("inside", ["a.npy", "archive/data.pkl"])
def test_an_archive_that_unpacks_to_far_more_is_refused(refusal: Callable, inside: str) -> None:
    content = bytearray(zipped(**{inside: array_header(4) + bytes(16)}))
    place = content.index(b"PK\x01\x02") + 24  # the unpacked size, in the directory at the end
    content[place : place + 4] = struct.pack("<I", 3 << 30)
    text = refusal(content, "weights.npz")
    assert f"{len(content):,} bytes and says to hold {3 << 30:,} once unpacked" in text


def test_two_entries_of_one_name_are_refused(refusal: Callable) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, warnings.catch_warnings(action="ignore"):
        for _ in range(2):
            archive.writestr("a.npy", array_header(4) + bytes(16))
    assert "two entries of one name" in refusal(stream.getvalue())


def test_many_zeros_are_no_attack(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "w.npz", a=np.zeros(1 << 22, np.float32))
    assert (tmp_path / "w.npz").stat().st_size < 1 << 16
    assert read_tensors(tmp_path / "w.npz")[0]["a"].shape == (1 << 22,)


@pytest.mark.skipif(sys.platform != "linux", reason="the system's own list of mapped files")
@pytest.mark.parametrize("form", ["safetensors", "pth"])
def test_tensors_are_mapped_from_the_file_and_do_not_write_to_it(tmp_path: Path, form: str) -> None:
    file = tmp_path / "weights"
    content = FORMATS[form](state())
    file.write_bytes(content)
    tensors, _ = read_tensors(file)
    places = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(str(file)):
            places.append([int(number, 16) for number in line.split()[0].split("-")])
    for tensor in tensors.values():
        assert any(start <= tensor.data_ptr() < end for start, end in places)
    for tensor in tensors.values():
        tensor.zero_()
    assert file.read_bytes() == content


def test_several_files_are_one_model(tmp_path: Path) -> None:
    expected = state()
    parts = {"model-1.safetensors": ["a.weight", "scale"], "model-2.safetensors": ["a.bias", "b/kernel"]}
    for part, names in parts.items():
        safetensors.torch.save_file({name: expected[name] for name in names}, tmp_path / part)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(
        json.dumps({"weight_map": {name: part for part, names in parts.items() for name in names}})
    )
    found, _ = read_index(index)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert found.keys() == expected.keys()
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model-2\.safetensors cannot be read"):
        read_index(index)


@pytest.mark.parametrize(
    "name", ["../a.safetensors", "/etc/passwd", "..", ".", "", "a/b", "C:\\a", "a\n", "\0", 3, None, ["a"]]
)
def test_an_index_that_leads_elsewhere_is_refused(tmp_path: Path, name: object) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    refused(index, read_index)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"weight_map": 3}', b"\xff", b"[" * 100_000])
def test_a_damaged_index_is_refused(tmp_path: Path, content: bytes) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_bytes(content)
    refused(index, read_index)


def text_model() -> State:
    """BERT's public names."""
    block = "encoder.layer.0"
    names = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
    tensors = {"embeddings.word_embeddings.weight": torch.ones(100, 16)}
    for name in [*names, "intermediate.dense", "output.dense"]:
        tensors |= {f"{block}.{name}.weight": torch.ones(16, 16), f"{block}.{name}.bias": torch.ones(16)}
    return tensors


@pytest.mark.parametrize(
    ("network", "first"),
    [
        (lambda: torchvision.models.resnet18().state_dict(), "conv1.weight"),
        (
            lambda: torchvision.models.SwinTransformer([4, 4], 16, [2, 2], [2, 4], [7, 7]).state_dict(),
            "features.0.0.weight",
        ),
        (lambda: nn.TransformerEncoderLayer(16, 2).state_dict(), "self_attn.in_proj_weight"),
        (text_model, "embeddings.word_embeddings.weight"),
    ],
    ids=["ResNet", "Swin", "Transformer", "BERT"],
)
@pytest.mark.parametrize("form", ["safetensors", "pth", "npz"])
def test_networks_of_other_kinds_are_answered_with_their_tensors(
    tmp_path: Path, network: Callable, first: str, form: str
) -> None:
    tensors = network()
    file = tmp_path / "weights"
    file.write_bytes(FORMATS[form](tensors))
    text = refused(file, load_model)
    assert f"{len(tensors)} tensors (" in text
    assert first in text or form == "safetensors"  # which keeps them in an order of its own
    assert "no Vision Transformer that vitral knows" in text


@pytest.mark.parametrize("change", [torch.ravel, lambda tensor: tensor[None], lambda tensor: tensor.sum()])
@pytest.mark.parametrize(
    "name", ["conv_proj.weight", "encoder.pos_embedding", "encoder.layers.encoder_layer_0.mlp.0.weight"]
)
def test_tensors_of_other_axes_are_refused(tmp_path: Path, change: Callable, name: str) -> None:
    tensors = torchvision.models.VisionTransformer(8, 4, 1, 1, 64, 16, num_classes=3).state_dict()
    tensors[name] = change(tensors[name])
    torch.save(tensors, tmp_path / "weights.pth")
    refused(tmp_path / "weights.pth", load_model)
