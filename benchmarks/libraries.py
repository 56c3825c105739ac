"""The network of `inference.py` opened by every library, each the way its own pages show.

No library is imported before one of its contestants is opened, so that a process holds what its contestant needs and
no more. They read files that `prepare.py` wrote: the same weights in each library's own format.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from contenders import CROP_SHARE, Contestant, LeftOut, Network, Task

BATCH = 16  # images a batch in the peers' loops from disk


def open_network(contestant: Contestant, task: Task) -> Network:
    """The contestant, ready; LeftOut where it cannot take part here."""
    return _OPEN[contestant.library](task, **contestant.options)


def load_vitral(task: Task, *, graphs: bool = True, exported: bool = False, **options: Any) -> Any:
    """The classifier, as `Classifier.load` gives it."""
    from vitral.errors import UsageError
    from vitral.inference import Classifier

    if not graphs:  # a switch for measuring, not for users: no batch is recorded
        from vitral.inference.backends import torch as backend

        backend.MOST_GRAPHS = 0
    weights = task.folder / ("calibrated.xml" if exported else "run")
    try:
        return Classifier.load(weights, device=task.device, **options)
    except UsageError as error:
        raise LeftOut(str(error)) from error


def _vitral(task: Task, **options: Any) -> Network:
    classifier = load_vitral(task, **options)

    def label(files: Sequence[str]) -> list[str]:
        return [prediction.label for prediction in classifier.predict(list(files))]

    computes_in = f"{classifier.precision} ({classifier.backend})"
    return Network(computes_in, _itself, classifier.probabilities, _itself, label, probabilities=True)


def _timm(task: Task, **options: Any) -> Network:
    from timm.data import create_transform, resolve_model_data_config

    model = timm_model(task)
    transform = create_transform(**resolve_model_data_config(model))
    return _in_torch(task, model, _Opened(transform), **options)


def timm_model(task: Task) -> Any:
    """timm's own, with the task's weights."""
    import timm

    weights = task.folder / "timm" / "model.safetensors"
    classes = task.architecture["num_classes"]
    return timm.create_model(task.model, checkpoint_path=str(weights), num_classes=classes).eval()


def _transformers(task: Task, *, precision: str) -> Network:
    import torch
    from transformers import pipeline

    named = pipeline(
        "image-classification",
        str(task.folder / "huggingface"),
        device=task.device,
        dtype=torch.bfloat16 if precision == "bf16" else torch.float32,
    )

    def label(files: Sequence[str]) -> list[str]:
        return [found[0]["label"] for found in named(list(files), batch_size=BATCH, top_k=1)]

    def logits(images: Any) -> Any:
        return named.model(pixel_values=images).logits

    return _in_torch(task, named.model, label=label, forward=logits, precision=precision)


def _torchvision(task: Task, **options: Any) -> Network:
    import torch
    from torchvision.models import VisionTransformer

    size = task.architecture
    model = VisionTransformer(
        size["image_size"],
        size["patch_size"],
        size["layers"],
        size["heads"],
        size["dim"],
        size["mlp_dim"],
        num_classes=size["num_classes"],
    )
    model.load_state_dict(torch.load(task.folder / "torchvision" / "model.pth", weights_only=True))
    return _in_torch(task, model.eval(), _Decoded(_torchvision_transform(task)), **options)


def vit_pytorch_model(task: Task) -> Any:
    """vit-pytorch's Vision Transformer of the same dimensions, random weights."""
    from vit_pytorch import ViT

    size = task.architecture
    return ViT(
        image_size=size["image_size"],
        patch_size=size["patch_size"],
        num_classes=size["num_classes"],
        dim=size["dim"],
        depth=size["layers"],
        heads=size["heads"],
        mlp_dim=size["mlp_dim"],
        dim_head=size["dim"] // size["heads"],
    )


def _vit_pytorch(task: Task, **options: Any) -> Network:
    import torch

    model = vit_pytorch_model(task)
    model.load_state_dict(torch.load(task.folder / "vit-pytorch" / "model.pth", weights_only=True))
    return _in_torch(task, model.eval(), _Decoded(_torchvision_transform(task)), **options)


def _torchvision_transform(task: Task) -> Any:
    """The transform that torchvision has beside its Vision Transformers, with this network's numbers."""
    from torchvision.models import ViT_B_16_Weights
    from torchvision.transforms import InterpolationMode

    size = task.architecture["image_size"]
    return ViT_B_16_Weights.DEFAULT.transforms(
        crop_size=size,
        resize_size=int(size / CROP_SHARE),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation=InterpolationMode.BICUBIC,
    )


def _in_torch(
    task: Task,
    model: Any,
    read: Callable[[str], Any] | None = None,
    *,
    precision: str,
    compile: bool = False,
    forward: Callable[[Any], Any] | None = None,
    label: Callable[[Sequence[str]], list[str]] | None = None,
) -> Network:
    """A peer in torch: normalised images lie on the device, or come from a DataLoader whose processes stay."""
    import torch
    from torch.utils.data import DataLoader

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model.to(task.device, dtype)
    run = torch.compile(model) if compile else forward or model
    workers = min(task.threads, 8)
    on_gpu = task.device == "cuda"
    loader = (
        None
        if read is None
        else DataLoader(
            _Photos(task.files, read), BATCH, num_workers=workers, persistent_workers=True, pin_memory=on_gpu
        )
    )

    def feed(pixels: np.ndarray) -> Any:
        return torch.from_numpy(normalised(pixels)).to(task.device, dtype)

    @torch.inference_mode()
    def answer(images: Any) -> Any:
        return run(images)

    def numbers(answers: Any) -> np.ndarray:
        return answers.float().cpu().numpy()

    def loaded(files: Sequence[str]) -> list[str]:
        assert loader is not None
        assert tuple(files) == task.files
        batches = (answer(images.to(task.device, dtype, non_blocking=True)) for images in loader)
        return [label for answers in batches for label in _labels(numbers(answers))]

    return Network(precision, feed, answer, numbers, label or loaded)


def _onnxruntime(task: Task, *, precision: str) -> Network:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.threads
    session = onnxruntime.InferenceSession(
        task.folder / "onnxruntime" / "model.onnx", options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return _by_hand(task, precision, lambda images: session.run(None, {name: images})[0])


def _openvino(task: Task, *, precision: str) -> Network:
    import openvino

    file = task.folder / "openvino" / ("int8.xml" if precision == "int8" else "model.xml")
    how = {"INFERENCE_NUM_THREADS": task.threads}
    compiled = openvino.Core().compile_model(
        file, "CPU", how | ({"INFERENCE_PRECISION_HINT": "f32"} if precision == "fp32" else {})
    )
    if precision == "default":
        precision = f"{compiled.get_property('INFERENCE_PRECISION_HINT').to_string()} (default)"
    return _by_hand(task, precision, lambda images: np.asarray(compiled(images)[0]))


def _by_hand(task: Task, precision: str, answer: Callable[[np.ndarray], np.ndarray]) -> Network:
    """A runtime with Pillow and numpy, and as many threads as cores that read ahead."""
    size = task.architecture["image_size"]

    def label(files: Sequence[str]) -> list[str]:
        from concurrent.futures import ThreadPoolExecutor

        labels: list[str] = []
        with ThreadPoolExecutor(task.threads) as threads:
            images = threads.map(lambda file: read_by_hand(file, size), files)
            while batch := list(islice(images, BATCH)):
                labels += _labels(answer(np.stack(batch)))
        return labels

    return Network(precision, normalised, answer, np.asarray, label)


def read_by_hand(file: str, size: int) -> np.ndarray:
    """A photograph as float32 (3, size, size)."""
    from PIL import Image

    with Image.open(file) as opened:
        image = opened.convert("RGB")
    scale = int(size / CROP_SHARE) / min(image.size)
    image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)
    left, top = ((side - size) // 2 for side in image.size)
    return normalised(np.asarray(image.crop((left, top, left + size, top + size)))[None])[0]


def normalised(pixels: np.ndarray) -> np.ndarray:
    """uint8 (batch, height, width, 3) to float32 (batch, 3, height, width), -1 to 1."""
    return np.ascontiguousarray((pixels.astype(np.float32) / 127.5 - 1).transpose(0, 3, 1, 2))


def _labels(answers: np.ndarray) -> list[str]:
    return [f"class {index}" for index in answers.argmax(axis=-1)]


def _itself(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class _Photos:
    """What a DataLoader reads; its processes are given it as it is."""

    files: Sequence[str]
    read: Callable[[str], Any]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        return self.read(self.files[index])


@dataclass(frozen=True)
class _Opened:
    """By Pillow, and a transform of its images."""

    transform: Any

    def __call__(self, file: str) -> Any:
        from PIL import Image

        with Image.open(file) as image:
            return self.transform(image.convert("RGB"))


@dataclass(frozen=True)
class _Decoded:
    """By torchvision, and a transform of its tensors."""

    transform: Any

    def __call__(self, file: str) -> Any:
        from torchvision.io import ImageReadMode, decode_image

        return self.transform(decode_image(file, mode=ImageReadMode.RGB))


_OPEN: dict[str, Callable[..., Network]] = {
    "vitral": _vitral,
    "timm": _timm,
    "transformers": _transformers,
    "torchvision": _torchvision,
    "vit-pytorch": _vit_pytorch,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
