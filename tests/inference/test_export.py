"""Files to deploy: the same answers as the network in torch, by runtimes that know nothing of vitral."""

import copy
import os
import runpy
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image

from vitral.errors import UsageError, VitralError, WeightsError
from vitral.images import Preprocessing
from vitral.inference import Classifier, export, formats, graphs
from vitral.inference.deployed import Deployed
from vitral.inference.description import Description
from vitral.inference.forward import Probabilities
from vitral.inference.onnx_preprocessing import with_preprocessing
from vitral.inference.script import script_for
from vitral.model import VisionTransformer, ViTConfig
from vitral.weights import Checkpoint, write_checkpoint

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("onnxscript", reason="needs the extra onnx")
openvino = pytest.importorskip("openvino", reason="needs the extra fast")

CLASSES = ("açaí", "pão de queijo", "brigadeiro", "coxinha", "tapioca")
# What changes the way through the network.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "plain": {},
    "several labels": {},
    "five bands": {"channels": 5},
    "rotary positions, registers, gated": {"position_embedding": "rope", "registers": 2, "gated_mlp": True},
    "distilled": {"distillation_token": True, "pool": "distilled"},
    "attention pooling": {"pool": "attention", "class_token": False, "activation": "gelu_tanh"},
    "several layers' features": {"feature_layers": 2, "pool": "token_average", "layer_scale": 0.1},
    "EVA": {"qkv_bias": "no_key", "norm_in_mlp": True, "norm_in_attention": True, "activation": "silu"},
    "average": {"pool": "average", "norm_after_pool": True, "position_embedding": "sincos_2d"},
    "hybrid": {"resnet_layers": (1, 1, 1), "image_size": (32, 32), "patch_size": 1},
    "neighbours": {"neighbours": 3, "examples": 10},
    "merged": {"merge": 1},
}

Lively = Callable[..., VisionTransformer]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def seen_by(config: ViTConfig, **changes: Any) -> Preprocessing:
    count = config.channels
    mean, std = (0.4, 0.5, 0.6, 0.5, 0.5)[:count], (0.2, 0.3, 0.25, 0.2, 0.2)[:count]
    return Preprocessing(config.image_size, mean=mean, std=std, channels=count, **changes)


def deployed(config: ViTConfig, lively: Lively, multi_label: bool = False) -> tuple[Deployed, Description]:
    model, seen = lively(config), seen_by(config)
    if config.neighbours:
        for buffer in model.head.buffers():  # the examples, which are no parameters
            if buffer.is_floating_point():
                buffer.copy_(torch.nn.functional.normalize(torch.randn(buffer.shape), dim=-1))
            else:
                buffer.copy_(torch.arange(buffer.numel()).reshape(buffer.shape) % config.num_classes)
    thresholds = (0.5,) * 5 if multi_label else None
    description = Description(CLASSES, seen, "fp32", thresholds, config.to_dict())
    return Deployed(model, seen, Probabilities(multi_label)).eval(), description


def pixels_for(seen: Preprocessing, count: int) -> np.ndarray:
    random, shape = np.random.default_rng(count), (count, *seen.size, seen.channels)
    return random.random(shape, np.float32) if seen.bands else random.integers(0, 256, shape, dtype=np.uint8)


def by_the_paper(network: Deployed, seen: Preprocessing, pixels: np.ndarray) -> np.ndarray:
    """The model called as ever, with normalisation and the last step by numpy in double precision."""
    images = torch.from_numpy(seen.normalise(pixels))
    with torch.no_grad():
        logits = network.model(images).double().numpy()
    if network.answers == Probabilities(multi_label=True):
        return 1 / (1 + np.exp(-logits))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.usefixtures("extras")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_kind_of_network_answers_the_same_in_every_runtime(
    name: str, small: Callable[..., ViTConfig], lively: Lively, tmp_path: Path
) -> None:
    network, description = deployed(small(**ARCHITECTURES[name]), lively, name == "several labels")
    seen = description.preprocessing
    runs = {}
    for format, ending in (("onnx", ".onnx"), ("openvino", ".xml"), ("torch", ".pt2")):
        file = tmp_path / f"network{ending}"
        getattr(formats, f"{format}_writer")(network, description)(description, file)
        runs[format] = {
            "onnx": lambda file: formats.run_onnx(file, inside=False),
            "openvino": formats.run_openvino,
            "torch": lambda file: formats.run_torch(file, compiled=False),
        }[format](file)
    for count in (1, 2, 5):
        pixels = pixels_for(seen, count)
        expected = by_the_paper(network, seen, pixels)
        assert expected.std(axis=1).min() > 1e-3  # or else any answer would do
        for format, run in runs.items():
            found = run(pixels)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, atol=2e-5, err_msg=f"{format}, {count} images")


@pytest.mark.parametrize("name", ["plain", "five bands", "hybrid"])
def test_half_precision_is_torchs(
    name: str, small: Callable[..., ViTConfig], lively: Lively, tmp_path: Path
) -> None:
    network, description = deployed(small(**ARCHITECTURES[name]), lively)
    pixels = pixels_for(description.preprocessing, 3)
    expected = by_the_paper(network, description.preprocessing, pixels)
    half = copy.deepcopy(network)
    half.model.half()
    formats.onnx_writer(half, description)(description, tmp_path / "half.onnx")
    formats.torch_writer(half, description)(description, tmp_path / "half.pt2")
    for found in (
        formats.run_onnx(tmp_path / "half.onnx", inside=False)(pixels),
        formats.run_torch(tmp_path / "half.pt2", compiled=False)(pixels),
    ):
        assert 1e-7 < np.abs(found - expected).max() < 2e-2
    weights = onnx.load(tmp_path / "half.onnx").graph.initializer
    halves = sum(len(one.raw_data) for one in weights if one.data_type == onnx.TensorProto.FLOAT16)
    assert halves > 0.9 * sum(len(one.raw_data) for one in weights)


@pytest.fixture
def run(small: Callable[..., ViTConfig], lively: Lively, tmp_path: Path) -> Path:
    config = small(layers=1)
    seen = seen_by(config, crop_share=0.875)
    write_checkpoint(tmp_path / "run", Checkpoint(config, seen, CLASSES, lively(config).state_dict()))
    return tmp_path / "run"


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize((width, height))
    return Image.fromarray(np.clip(coarse + random.normal(0, 9, (height, width, 3)), 0, 255).astype(np.uint8))


@pytest.mark.usefixtures("extras")
@pytest.mark.parametrize(
    ("name", "precision", "files"),
    [
        ("food.onnx", "fp32", ["food.onnx", "food.py"]),
        ("food.onnx", "fp16", ["food.onnx", "food.py"]),
        ("food.xml", "fp32", ["food.xml", "food.bin", "food.py"]),
        ("food.xml", "bf16", ["food.xml", "food.bin", "food.py"]),
        ("food.pt2", "fp32", ["food.pt2", "food.py"]),
        ("food.pt2", "bf16", ["food.pt2", "food.py"]),
    ],
)
def test_files_hold_all_that_belongs_to_them_and_nothing_of_this_machine(
    run: Path, tmp_path: Path, name: str, precision: str, files: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "out"
    done = export.export(run, place / name, precision=precision)
    assert capfd.readouterr() == ("", "")
    assert [file.name for file in done.files] == files
    assert sorted(file.name for file in place.iterdir()) == sorted(files)
    assert done.description.precision == precision
    assert done.description.measured["images"] == 5
    assert done.description.measured["difference"] < 2e-2
    told = Description.from_json(kept_in(place / name), name)
    assert told == done.description
    assert told.class_names == CLASSES
    assert told.preprocessing.crop_share == 0.875
    source = str(Path(export.__file__).parents[2])
    contents = [file.read_bytes() for file in done.files]
    if name.endswith(".pt2"):
        with ZipFile(place / name) as archive:
            contents += [archive.read(one) for one in archive.namelist()]
    assert not any(source.encode() in content for content in contents)


def kept_in(file: Path) -> str:
    """The metadata of a file, read by its own library."""
    if file.suffix == ".onnx":
        (entry,) = onnx.load(file).metadata_props
        return entry.value
    if file.suffix == ".xml":
        return openvino.Core().read_model(file).get_rt_info(["vitral"]).value
    told = {"vitral": ""}
    torch.export.load(file, extra_files=told)
    return told["vitral"]


@pytest.mark.parametrize("name", ["food.onnx", "food.xml"])
def test_a_classifier_is_loaded_from_the_file(run: Path, tmp_path: Path, name: str, extras: Path) -> None:
    export.export(run, tmp_path / name, image_size=(32, 16))
    images = [picture(40, 30), picture(17, 90, 1)]
    whole = Classifier.load(run, backend="torch", device="cpu", precision="fp32", image_size=(32, 16))
    for found, expected in zip(
        Classifier.load(tmp_path / name).predict(images), whole.predict(images), strict=True
    ):
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)
        assert found.label == expected.label


def test_weights_too_large_for_one_file_lie_beside_it(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = export.export(run, tmp_path / "whole.onnx")
    monkeypatch.setattr(formats, "LARGEST_ONNX", 1000)
    apart = export.export(run, tmp_path / "apart" / "food.onnx")
    assert [file.name for file in apart.files] == ["food.onnx", "food.onnx.data", "food.py"]
    assert apart.files[1].stat().st_size > 0.5 * whole.files[0].stat().st_size
    pixels = pixels_for(whole.description.preprocessing, 3)
    one, other = (formats.run_onnx(done.files[0], inside=False)(pixels) for done in (whole, apart))
    np.testing.assert_array_equal(one, other)
    assert Description.from_json(kept_in(apart.files[0]), "it") == whole.description


@pytest.mark.parametrize("difference", [0.5, float("nan")])
def test_a_file_that_answers_otherwise_is_not_left_behind(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, difference: float
) -> None:
    honest = formats.run_onnx
    monkeypatch.setattr(formats, "run_onnx", lambda *args: lambda given: honest(*args)(given) + difference)
    place = tmp_path / "out"
    with pytest.raises(VitralError, match=r"answers otherwise than torch in fp32, by .* nothing was written"):
        export.export(run, place / "food.onnx")
    assert list(place.iterdir()) == []


def test_what_is_there_stays_there(run: Path, tmp_path: Path) -> None:
    (tmp_path / "food.py").write_text("print('mine')\n")
    for overwrite, reason in ((False, "is there already"), (True, "is not from vitral")):
        with pytest.raises(UsageError, match=reason):
            export.export(run, tmp_path / "food.pt2", overwrite=overwrite)
    assert (tmp_path / "food.py").read_text() == "print('mine')\n"
    (tmp_path / "food.py").unlink()
    export.export(run, tmp_path / "food.pt2")
    with pytest.raises(
        UsageError, match=r"food.pt2 is there already: choose another name, or say --overwrite"
    ):
        export.export(run, tmp_path / "food.pt2")
    (tmp_path / "big.onnx.data").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"big.onnx.data is there already"):
        export.export(run, tmp_path / "big.onnx")
    before = (tmp_path / "food.pt2").stat().st_ino
    export.export(run, tmp_path / "food.pt2", overwrite=True)
    assert (tmp_path / "food.pt2").stat().st_ino != before


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("food.bin", {}, "does not say its format: end it in .onnx, .xml, .pt2"),
        ("food.onnx", {"format": "torch"}, "end it in .pt2"),
        ("food.onnx", {"format": "tflite"}, "no format 'tflite': choose one of onnx, openvino, torch"),
        ("food.onnx", {"precision": "bf16"}, "has no bf16 on processors: choose one of fp32, fp16"),
        ("food.xml", {"precision": "fp16"}, "choose one of fp32, bf16"),
        ("food.xml", {"preprocessing_inside": True}, "for --format onnx"),
        ("food.xml", {"compile": True}, "for --format torch"),
    ],
)
def test_what_does_not_go_together_is_said(
    run: Path, tmp_path: Path, name: str, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        export.export(run, tmp_path / name, **asked)


def test_bands_are_not_resized_inside(
    small: Callable[..., ViTConfig], lively: Lively, tmp_path: Path
) -> None:
    config = small(layers=1, channels=5)
    checkpoint = Checkpoint(config, seen_by(config, dtype="uint16"), CLASSES, lively(config).state_dict())
    write_checkpoint(tmp_path / "run", checkpoint)
    with pytest.raises(UsageError, match="takes bands"):
        export.export(tmp_path / "run", tmp_path / "food.onnx", preprocessing_inside=True)


@pytest.mark.parametrize("package", ["onnxscript", "openvino", "nncf"])
def test_a_missing_package_is_named_with_its_extra(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    there = export.importlib.util.find_spec
    monkeypatch.setattr(
        export.importlib.util, "find_spec", lambda name: None if name == package else there(name)
    )
    name, extra = ("food.onnx", "onnx") if package == "onnxscript" else ("food.xml", "fast")
    precision = "int8" if package == "nncf" else "fp32"
    with pytest.raises(UsageError, match=rf"needs {package}: pip install 'vitral\[{extra}\]'"):
        export.export(run, tmp_path / name, precision=precision)


SIZES = [(1, 300), (300, 1), (1, 1), (40, 50), (37, 501), (111, 113), (16, 24), (7, 7), (333, 222)]


def resized_inside(seen: Preprocessing) -> Callable[[np.ndarray], np.ndarray]:
    """What the graph of the preprocessing alone makes of a picture."""
    tensor, helper = onnx.TensorProto, onnx.helper
    shape = ["batch", *seen.size, seen.channels]
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", ["pixels"], ["out"])],
            "nothing more",
            [helper.make_tensor_value_info("pixels", tensor.UINT8, shape)],
            [helper.make_tensor_value_info("out", tensor.UINT8, shape)],
        ),
        opset_imports=[helper.make_opsetid("", graphs.OPSET)],
        ir_version=10,
    )
    model = with_preprocessing(model, seen)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return lambda image: session.run(None, {"image": image})[0][0]


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
@pytest.mark.parametrize(("fit", "share"), [("crop", 1.0), ("crop", 0.875), ("pad", 1.0), ("stretch", 1.0)])
def test_pictures_are_resized_inside_as_by_pillow(
    fit: str, share: float, interpolation: str, channels: int
) -> None:
    seen = Preprocessing(
        (96, 150), fit, (0.4, 0.5, 0.6)[:channels], (0.2,) * channels, interpolation, share, channels
    )
    resize = resized_inside(seen)
    for number, size in enumerate(SIZES):
        image = np.asarray(picture(*size, seed=number))[..., :channels]
        expected = seen.fit_image(image).astype(int)
        difference = np.abs(resize(image) - expected)
        if interpolation == "nearest":
            assert difference.max() == 0, size
        else:  # the order of the two passes is Pillow's own affair, see the module
            assert difference.max() <= 3, size
            assert difference.mean() < 0.25, size


def test_photographs_are_resized_inside_as_by_pillow(shared: Path) -> None:
    seen = Preprocessing((112, 112))
    resize = resized_inside(seen)
    shares = []
    for file in sorted((shared / "data" / "photos").glob("*.jpg")):
        image = seen.read(file)
        difference = np.abs(resize(image) - seen.fit_image(image).astype(int))
        assert difference.max() <= 1, file
        shares.append((difference > 0).mean())
    assert np.median(shares) < 1e-3


def test_a_picture_of_any_size_goes_in(run: Path, tmp_path: Path, extras: Path) -> None:
    done = export.export(run, tmp_path / "food.onnx", preprocessing_inside=True)
    assert done.description.preprocessing_inside
    whole = Classifier.load(run, backend="torch", device="cpu", precision="fp32")
    ask = formats.run_onnx(done.files[0], inside=True)
    for size in SIZES:
        image = np.asarray(picture(*size))
        np.testing.assert_allclose(ask(image)[0], whole.predict(image).probabilities, atol=5e-3)
    with pytest.raises(WeightsError, match="resizes pictures itself"):
        Classifier.load(done.files[0])


# Runs a script as somebody would who has no vitral and, but for .pt2, no torch.
ALONE = """
import runpy, sys
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {forbidden}:
            raise ImportError(f"{{name}} is not to be needed")
sys.meta_path.insert(0, Forbid())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def alone(script: Path, *files: Path) -> list[tuple[str, float]]:
    """Label and probability of each file, as a script prints them."""
    forbidden = {"vitral"} if "import torch" in script.read_text() else {"vitral", "torch"}
    words = [sys.executable, "-I", "-c", ALONE.format(forbidden=forbidden), script, *files]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(words, capture_output=True, encoding="utf-8", check=False, env=environment)
    assert done.returncode == 0, done.stderr
    answers = []
    for file, line in zip(files, done.stdout.splitlines(), strict=True):
        label, _, probability = line.removeprefix(f"{file}: ").rpartition(" ")
        answers.append((label, float(probability)))
    return answers


@pytest.mark.usefixtures("extras")
@pytest.mark.parametrize(
    ("name", "asked", "tolerance"),
    [
        ("food.onnx", {}, 1e-4),
        ("food.xml", {}, 1e-4),
        pytest.param("food.pt2", {}, 1e-4, marks=pytest.mark.slow),
        ("inside.onnx", {"preprocessing_inside": True}, 5e-3),
        pytest.param("fast.pt2", {"compile": True}, 1e-4, marks=pytest.mark.slow),
    ],
)
def test_the_script_says_what_predict_says(
    run: Path, tmp_path: Path, name: str, asked: dict[str, Any], tolerance: float
) -> None:
    files = [tmp_path / f"{number}.png" for number in range(4)]
    for number, file in enumerate(files):
        picture(20 + 30 * number, 60, number).save(file)
    if "compile" in asked and not any(map(shutil.which, ("g++", "clang++", "cl"))):
        pytest.skip("needs a C++ compiler")
    done = export.export(run, tmp_path / "out" / name, **asked)
    whole = Classifier.load(run, backend="torch", device="cpu", precision="fp32")
    predicted = whole.predict(list(files))
    for (label, probability), expected in zip(alone(done.files[-1], *files), predicted, strict=True):
        assert label == expected.label
        assert probability == pytest.approx(expected.probability, abs=tolerance)


def test_the_script_of_a_multi_label_network_says_all_labels(
    small: Callable[..., ViTConfig], lively: Lively, tmp_path: Path
) -> None:
    config = small(layers=1)
    picture(30, 40).save(tmp_path / "photo.png")
    seen, weights = seen_by(config), lively(config).state_dict()
    write_checkpoint(tmp_path / "run", Checkpoint(config, seen, CLASSES, weights, thresholds=(0.5,) * 5))
    whole = Classifier.load(tmp_path / "run", backend="torch", device="cpu", precision="fp32")
    answer = whole.predict(tmp_path / "photo.png")
    assert 1 <= len(answer.labels) < 5
    script = export.export(tmp_path / "run", tmp_path / "food.onnx").files[-1]
    said = subprocess.run(
        [sys.executable, "-I", script, tmp_path / "photo.png"],
        capture_output=True,
        encoding="utf-8",
        check=True,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
    ).stdout.strip()
    listed = dict(
        part.rsplit(" ", 1) for part in said.removeprefix(f"{tmp_path / 'photo.png'}: ").split(", ")
    )
    assert tuple(listed) == answer.labels
    for label, probability in zip(CLASSES, answer.probabilities, strict=True):
        assert label not in listed or float(listed[label]) == pytest.approx(float(probability), abs=1e-4)


def odd_pictures(folder: Path) -> list[Path]:
    """Pictures as people have them: turned, transparent, grey, of a palette, long, small."""
    exif = Image.Exif()
    files = []
    for turn in range(1, 9):
        exif[0x0112] = turn
        files.append(folder / f"turned-{turn}.jpg")
        picture(41, 67, turn).save(files[-1], exif=exif)
    clear = picture(50, 33).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    turned_clear = {"exif": exif}
    kinds: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "clear.png": (clear, {}),
        "turned clear.png": (clear, turned_clear),
        "grey.png": (picture(30, 30).convert("L"), {}),
        "palette.gif": (picture(30, 31).convert("P"), {"transparency": 3}),
        "inks.jpg": (picture(30, 31).convert("CMYK"), {}),
        "ink.png": (picture(30, 31).convert("1"), {}),
        "row.png": (picture(1, 300), {}),
        "small.png": (picture(2, 3), {}),
        "thin.png": (picture(2, 1_000_000), {}),
    }
    for name, (image, options) in kinds.items():
        files.append(folder / name)
        image.save(files[-1], **options)
    return files


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize(
    ("fit", "interpolation", "share"),
    [
        ("crop", "bicubic", 0.875),
        ("crop", "nearest", 1.0),
        ("pad", "bilinear", 1.0),
        ("stretch", "bicubic", 1.0),
    ],
)
def test_the_script_sees_what_the_network_sees(
    tmp_path: Path, fit: str, interpolation: str, share: float, channels: int
) -> None:
    seen = Preprocessing(
        (34, 51), fit, (0.4, 0.5, 0.6)[:channels], (0.2,) * channels, interpolation, share, channels
    )
    script = tmp_path / "food.py"
    script.write_text(script_for("onnx", Description(CLASSES, seen, "fp32")), encoding="utf-8")
    names = runpy.run_path(str(script))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow, of palettes with transparency
        for file in odd_pictures(tmp_path):
            np.testing.assert_array_equal(names["pixels"](file), seen.fit_image(seen.read(file)), str(file))


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("channels", [1, 5])
def test_the_script_sees_bands_as_the_network_sees_them(tmp_path: Path, fit: str, channels: int) -> None:
    mean, std = (0.1, 0.2, 0.3, 0.4, 0.5)[:channels], (0.3,) * channels
    seen = Preprocessing((34, 51), fit, mean, std, channels=channels, range=(3.5, 4095.0), dtype="uint16")
    bands = np.random.default_rng(0).integers(0, 9000, (60, 45, channels), dtype=np.uint16)
    np.save(tmp_path / "bands.npy", bands if channels > 1 else bands[..., 0])
    (tmp_path / "food.py").write_text(
        script_for("openvino", Description(CLASSES, seen, "fp32")), encoding="utf-8"
    )
    found = runpy.run_path(str(tmp_path / "food.py"))["pixels"](tmp_path / "bands.npy")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, seen.fit_image(seen.read(tmp_path / "bands.npy")))


def test_scripts_are_short_enough_to_read() -> None:
    for fit in ("crop", "pad", "stretch"):
        for format in ("onnx", "openvino", "torch"):
            text = script_for(
                format, Description(CLASSES, Preprocessing((34, 51), fit), "fp32"), format == "torch"
            )
            compile(text, "script", "exec")
            assert text.count("\n") < 75
            assert max(map(len, text.splitlines())) <= 120
