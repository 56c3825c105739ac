"""From the start of a fresh process to the label of a photograph: `vitral predict`, and the peers' shortest scripts."""

import re
import subprocess
import sys
from collections.abc import Mapping
from time import perf_counter

from contenders import CROP_SHARE, Contestant, Task

# Each is given the photograph, the device and what stands in `_arguments`.
SCRIPTS = {
    "timm": """
import sys, timm, torch
from PIL import Image
photo, device, name, weights = sys.argv[1:]
model = timm.create_model(name, checkpoint_path=weights).eval().to(device)
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
with torch.inference_mode():
    logits = model(transform(Image.open(photo).convert("RGB"))[None].to(device))
print("class", int(logits.argmax()))
""",
    "transformers": """
import sys
from transformers import pipeline
photo, device, folder = sys.argv[1:]
print(pipeline("image-classification", folder, device=device)(photo)[0]["label"])
""",
    "torchvision": """
import sys, torch
from torchvision.io import decode_image
from torchvision.models import VisionTransformer, ViT_B_16_Weights
from torchvision.transforms import InterpolationMode
photo, device, weights, resized, *sizes = sys.argv[1:]
*sizes, classes = map(int, sizes)
model = VisionTransformer(*sizes, num_classes=classes)
model.load_state_dict(torch.load(weights, weights_only=True))
transform = ViT_B_16_Weights.DEFAULT.transforms(
    crop_size=sizes[0], resize_size=int(resized), mean=[0.5] * 3, std=[0.5] * 3,
    interpolation=InterpolationMode.BICUBIC)
model.eval().to(device)
with torch.inference_mode():
    logits = model(transform(decode_image(photo, mode="RGB"))[None].to(device))
print("class", int(logits.argmax()))
""",
}
_READ = """
import sys
import numpy as np
from PIL import Image
photo, device, network, size, resized = sys.argv[1:]
size, resized = int(size), int(resized)
image = Image.open(photo).convert("RGB")
scale = resized / min(image.size)
image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)
left, top = ((side - size) // 2 for side in image.size)
pixels = np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.float32)
images = (pixels / 127.5 - 1).transpose(2, 0, 1)[None]
"""
SCRIPTS["onnxruntime"] = (
    _READ
    + """
import onnxruntime
session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
logits, = session.run(None, {"images": images})
print("class", int(logits.argmax()))
"""
)
SCRIPTS["openvino"] = (
    _READ
    + """
import openvino
logits = openvino.Core().compile_model(network, "CPU")(images)[0]
print("class", int(logits.argmax()))
"""
)
ONLY_IMPORTED = [sys.executable, "-c", "import timm; print('timm')"]


def start_of(contestant: Contestant, task: Task) -> list[str] | None:
    """The command that names the first photograph, or None where a contestant has none of its own.

    That are those which the command line does not offer, and variants of a peer: one script stands for a peer.
    """
    options, photo = contestant.options, task.files[0]
    if contestant.library == "vitral":
        if not options.get("graphs", True) or options.get("compile"):
            return None
        weights = task.folder / ("calibrated.xml" if options.get("exported") else "run")
        words = [sys.executable, "-m", "vitral", "predict", str(weights), photo, "--device", task.device]
        asked = {name: value for name, value in options.items() if name != "exported"}
        return words + [word for name, value in asked.items() for word in (f"--{name}", str(value))]
    if contestant.name not in ("timm", "transformers", "torchvision", "onnxruntime-fp32", "openvino-default"):
        return None
    script = SCRIPTS[contestant.library]
    return [sys.executable, "-c", script, photo, task.device, *_arguments(contestant.library, task)]


def seconds_to_label(command: list[str], environment: Mapping[str, str], expected: str) -> float:
    """Until the first line of standard output is there; RuntimeError unless it holds what the pattern expects."""
    began = perf_counter()
    with subprocess.Popen(
        command,
        env={**environment, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = perf_counter() - began
        process.stdout.read()
    if process.returncode or not re.search(expected, line):
        raise RuntimeError(f"status {process.returncode}, and no label in {line.strip()[:80]!r}")
    return seconds


def _arguments(library: str, task: Task) -> list[str]:
    folder, size = task.folder, task.architecture
    resized = int(size["image_size"] / CROP_SHARE)
    if library == "timm":
        return [task.model, str(folder / "timm" / "model.safetensors")]
    if library == "transformers":
        return [str(folder / "huggingface")]
    if library == "torchvision":
        names = ("image_size", "patch_size", "layers", "heads", "dim", "mlp_dim", "num_classes")
        sizes = [str(size[name]) for name in names]
        return [str(folder / "torchvision" / "model.pth"), str(resized), *sizes]
    network = {"onnxruntime": "model.onnx", "openvino": "model.xml"}[library]
    return [str(folder / library / network), str(size["image_size"]), str(resized)]
