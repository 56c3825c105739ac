"""What the contestants of `inference.py` read: the same random weights in each library's format, and photographs."""

import itertools
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from contenders import CROP_SHARE, Contestant, LeftOut, Task
from libraries import load_vitral, read_by_hand, timm_model, vit_pytorch_model

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "data" / "photos"
DRAWN = 40  # photographs, where there are none
MOST = 300  # photographs that are read
PIXELS = "pixels.npy"  # of a batch of photographs, uint8 (batch, height, width, 3)


def write_weights(folder: Path, model: str) -> dict[str, int]:
    """A network with random weights as a checkpoint of vitral's and of three peers; gives its architecture."""
    import torch

    import vitral
    from vitral.images import Preprocessing
    from vitral.weights import Checkpoint, convert, write_checkpoint

    torch.manual_seed(0)
    network = vitral.create_model(model)
    torch.nn.init.normal_(network.head.weight, std=0.02)  # a fresh head answers nothing but zeros
    config = network.config
    names = tuple(f"class {index}" for index in range(config.num_classes))
    seen = Preprocessing(config.image_size, crop_share=CROP_SHARE)
    write_checkpoint(folder / "run", Checkpoint(config, seen, names, network.state_dict()))
    for form in ("timm", "huggingface", "torchvision"):
        convert(folder / "run", folder / form, form)
    sizes = {"image_size": config.image_size[0], "patch_size": config.patch_size[0]}
    fields = ("layers", "heads", "dim", "mlp_dim", "num_classes")
    return sizes | {name: getattr(config, name) for name in fields}


def find_photos(photos: Path | None, folder: Path) -> tuple[str, ...]:
    """The images of a folder, at most `MOST`; drawn ones where none is named and there are no photographs."""
    from vitral.images import walk_images

    if photos is None:
        photos = PHOTOS if PHOTOS.is_dir() else _drawn(folder / "photos")
    files = sorted(map(str, walk_images(photos)))[:MOST]
    if not files:
        raise SystemExit(f"error: {photos} holds no images: name another folder with --photos")
    return tuple(files)


def write_pixels(folder: Path, files: Sequence[str], batch: int, size: int) -> None:
    """A batch of photographs as vitral's preprocessing cuts them, for everybody."""
    from vitral.images import Preprocessing

    seen = Preprocessing((size, size), crop_share=CROP_SHARE)
    pixels = [seen.fit_image(seen.read(file)) for file in itertools.islice(itertools.cycle(files), batch)]
    np.save(folder / PIXELS, np.stack(pixels))


def prepare(contestant: Contestant, task: Task) -> None:
    """Whatever its library keeps on disk to start faster the next time; LeftOut where it cannot take part."""
    if contestant.library == "vitral":
        if contestant.options.get("exported"):
            _export_calibrated(task)
        load_vitral(task, **contestant.options)
    elif contestant.library in _PREPARE:
        _PREPARE[contestant.library](task, contestant.options["precision"])


def _export_calibrated(task: Task) -> None:
    """`vitral export`, calibrated on photographs."""
    from vitral.cli.app import COMMANDS

    if "export" not in COMMANDS:
        raise LeftOut("this vitral has no `vitral export`")
    data = task.folder / "calibration"
    for index, file in enumerate(task.photos):
        place = data / f"class {index % 2}"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    words = ["export", task.folder / "run", task.folder / "calibrated.xml", "--format", "openvino"]
    # Random weights have no accuracy to lose.
    words += ["--precision", "int8", "--calibrate", data, "--max-drop", 100]
    done = subprocess.run(
        [sys.executable, "-m", "vitral", *map(str, words)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or "vitral export failed").splitlines()[-1])


def _onnxruntime(task: Task, precision: str) -> None:
    """timm's model by PyTorch's exporter, for batches of any size."""
    import torch

    assert precision == "fp32"
    file = task.folder / "onnxruntime" / "model.onnx"
    file.parent.mkdir()
    size = task.architecture["image_size"]
    batch = torch.export.Dim("batch")
    torch.onnx.export(
        timm_model(task),
        (torch.zeros(2, 3, size, size),),
        file,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: batch},),
        dynamo=True,
        external_data=False,
    )


def _openvino(task: Task, precision: str) -> None:
    """timm's model by OpenVINO's converter; in int8 by NNCF, calibrated on photographs."""
    import openvino
    import torch

    size = task.architecture["image_size"]
    file = task.folder / "openvino" / "model.xml"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        example = torch.zeros(2, 3, size, size)
        model = openvino.convert_model(timm_model(task), example_input=example, input=[-1, 3, size, size])
        openvino.save_model(model, file, compress_to_fp16=False)
    if precision == "int8":
        import nncf

        photos = [read_by_hand(photo, size)[None] for photo in task.photos]
        quantised: Any = nncf.quantize(
            openvino.Core().read_model(file),
            nncf.Dataset(photos),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(photos),
        )
        openvino.save_model(quantised, file.with_name("int8.xml"), compress_to_fp16=False)


def _vit_pytorch(task: Task, precision: str) -> None:
    """Its own random weights, as it cannot say the others'."""
    import torch

    assert precision == "fp32"
    torch.manual_seed(0)
    file = task.folder / "vit-pytorch" / "model.pth"
    file.parent.mkdir()
    torch.save(vit_pytorch_model(task).state_dict(), file)


_PREPARE = {"onnxruntime": _onnxruntime, "openvino": _openvino, "vit-pytorch": _vit_pytorch}


def _drawn(folder: Path) -> Path:
    """Photographs of the usual size that nobody took: smooth colours with some grain."""
    from PIL import Image

    folder.mkdir()
    for index in range(DRAWN):
        numbers = np.random.default_rng(index)
        colours = Image.fromarray(numbers.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        smooth = np.asarray(colours.resize((500, 375), Image.Resampling.BICUBIC), dtype=np.float32)
        grain = numbers.normal(0, 8, smooth.shape)
        Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(folder / f"{index:02}.jpg")
    return folder
