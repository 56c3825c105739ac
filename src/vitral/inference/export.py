"""A classifier as a file to deploy: written, run with its own runtime, compared with torch, and only then there."""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vitral.errors import UsageError, VitralError, one_line
from vitral.files import write_text, written_together
from vitral.images import Preprocessing
from vitral.inference import formats
from vitral.inference.deployed import Deployed
from vitral.inference.description import Description
from vitral.inference.forward import Probabilities, sized
from vitral.inference.graphs import OPSET
from vitral.inference.loading import Request, checkpoint_of
from vitral.inference.script import ENDINGS, FIRST_LINE, script_for

FORMATS = tuple(ENDINGS)
PRECISIONS = {
    "onnx": ("fp32", "fp16"), "openvino": ("fp32", "bf16", "int8"), "torch": ("fp32", "bf16", "fp16")
}  # fmt: skip
TOLERANCES = {"fp32": 1e-4, "bf16": 5e-2, "fp16": 2e-2, "int8": 1}
"""By how much a probability may differ from that of the fp32 network in torch, so that the file is kept."""
TOLERANCE_INSIDE = 2e-2
"""The same where the graph resizes pictures itself: it rounds some of their values to the neighbour."""

# Packages that a format needs, and the extra that brings them.
NEEDS = {"onnx": (("onnx", "onnxruntime", "onnxscript"), "onnx"), "openvino": (("openvino",), "fast")}
BATCH = 32
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Calibration:
    """What int8 is fitted to and checked on; no image is in both.

    Args:
        pixels: `(images, height, width, channels)`, as the network takes them, that the ranges are found on.
        checked, labels: of other images the same, and the number of each one's class.
        split: where the check is from, such as "validation".
    """

    pixels: np.ndarray
    checked: np.ndarray
    labels: np.ndarray
    split: str


Calibrate = Callable[[Preprocessing, tuple[str, ...]], Calibration]
"""Gives the calibration for a preprocessing and class names."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        files: the network first, then what belongs to it, and last the script that runs it.
        format: onnx, openvino or torch.
        description: of the network; its `measured` holds the largest "difference" of a probability from the fp32
            network in torch, on so many "images"; of int8 also "accuracy_before" and "accuracy_after", on so many
            "checked_images" of the split "checked_on".
        opset: of ONNX.
    """

    files: tuple[Path, ...]
    format: str
    description: Description
    opset: int | None


@dataclass(frozen=True)
class _Wanted:
    """What is to be written."""

    file: Path
    format: str
    precision: str
    inside: bool
    compile: bool

    @property
    def script(self) -> Path:
        return self.file.with_suffix(".py")


def export(
    run: str | Path,
    output: str | Path,
    format: str | None = None,
    *,
    precision: str = "fp32",
    image_size: int | tuple[int, int] | None = None,
    preprocessing_inside: bool = False,
    compile: bool = False,
    overwrite: bool = False,
    calibrate: Calibrate | None = None,
    max_drop: float = 0.5,
    progress: Callable[[int, int, str], None] | None = None,
    **said: Any,
) -> Exported:
    """Write a classifier as a file to deploy, and beside it the few lines of Python that run it.

    The file takes `pixels`, what `Preprocessing.fit_image` gives, `(batch, height, width, channels)` for any batch, and
    gives `probabilities`, float32 `(batch, classes)`. It is run with its own runtime, on batches of two sizes, and
    compared with the fp32 network in torch before it appears.

    Args:
        run: WEIGHTS with a classifier.
        output: the file, ending in .onnx, .xml (OpenVINO, with a .bin beside it) or .pt2 (torch).
        format: onnx, openvino or torch; None: as the ending says.
        precision: what it computes in: fp32; bf16 of openvino and torch; fp16 of onnx and torch; int8 of openvino.
        image_size: (height, width) or one number that it shall take; None: the network's own.
        preprocessing_inside: of onnx, let the graph take one 8-bit picture, `image` (height, width, channels), and
            resize it itself; `probabilities` is then `(1, classes)`.
        compile: of torch, compile it for this kind of machine (AOTInductor), which takes a C++ compiler.
        overwrite: replace files that are there.
        calibrate: of int8, gives the images that it takes.
        max_drop: of int8, how many points of accuracy, of 100, it may lose.
        progress: of int8, is told (done, total, what is done).
        said: about weights of other origin, as in `vitral.weights.Overrides`.

    Raises:
        UsageError: what does not go together, files that are there, a package or a compiler that is missing.
        WeightsError: damaged weights.
        VitralError: a runtime cannot take the network, or answers otherwise than torch; nothing is written.
    """
    wanted = _wanted(Path(output), format, precision, preprocessing_inside, compile)
    _refuse_existing(wanted, overwrite)
    checkpoint = checkpoint_of(Request(str(run), image_size=image_size, said=said))
    model, seen = sized(checkpoint, image_size)
    if wanted.inside and seen.bands:
        raise UsageError(f"{run} takes bands, and --preprocessing-inside is for 8-bit pictures: leave it out")
    thresholds, architecture = checkpoint.thresholds, model.config.to_dict()
    description = Description(
        checkpoint.class_names, seen, precision, thresholds, architecture, wanted.inside
    )
    network = Deployed(model, seen, Probabilities(thresholds is not None)).eval()
    calibration = None
    if precision == "int8":
        calibration = _calibration(description, calibrate)
    questions = [
        (given, _answers(network, pixels)) for given, pixels in _questions(seen, wanted.inside, calibration)
    ]
    if precision in DTYPES and wanted.format != "openvino":  # whose graph is in fp32 for any precision
        model.to(DTYPES[precision])
    with written_together(wanted.file) as folder:
        (folder / "trial").mkdir()
        trial = folder / "trial" / wanted.file.name
        if calibration is None:
            write, measured = _writer(wanted, network, description, folder), {}
            write(description, trial)
        else:
            write, measured = _write_int8(network, description, trial, calibration, max_drop, progress)
        difference = _difference(wanted, trial, questions)
        _refuse_other_answers(wanted, difference, model.config.merge)
        images = sum(len(answers) for _, answers in questions)
        description = replace(description, measured={"difference": difference, "images": images} | measured)
        write(description, folder / wanted.file.name)
        beside = sorted(file.name for file in folder.iterdir() if file.is_file())
        beside.remove(wanted.file.name)
        write_text(folder / wanted.script.name, script_for(wanted.format, description, compile))
    files = [wanted.file.with_name(name) for name in (wanted.file.name, *beside, wanted.script.name)]
    return Exported(tuple(files), wanted.format, description, OPSET if wanted.format == "onnx" else None)


def _wanted(file: Path, format: str | None, precision: str, inside: bool, compile: bool) -> _Wanted:
    """What is asked for, where it goes together."""
    endings = {ending: name for name, ending in ENDINGS.items()}
    format = format or endings.get(file.suffix)
    if format is None:
        raise UsageError(f"{file} does not say its format: end it in {', '.join(endings)}")
    if format not in FORMATS:
        raise UsageError(f"there is no format {format!r}: choose one of {', '.join(FORMATS)}")
    if file.suffix != ENDINGS[format]:
        raise UsageError(f"{file} is no name for a file of {format}: end it in {ENDINGS[format]}")
    if precision not in PRECISIONS[format]:
        choices = ", ".join(PRECISIONS[format])
        elsewhere = "; int8 is for --format openvino" if precision == "int8" else ""
        raise UsageError(
            f"--format {format} has no {precision} on processors: choose one of {choices}{elsewhere}"
        )
    if inside and format != "onnx":
        raise UsageError(f"--preprocessing-inside is for --format onnx: leave it out for {format}")
    if compile and format != "torch":
        raise UsageError(f"--compile is for --format torch: leave it out for {format}")
    packages, extra = NEEDS.get(format, ((), ""))
    for package in (*packages, "nncf") if precision == "int8" else packages:
        if importlib.util.find_spec(package) is None:
            raise UsageError(f"--format {format} needs {package}: pip install 'vitral[{extra}]'")
    return _Wanted(file, format, precision, inside, compile)


def _refuse_existing(wanted: _Wanted, overwrite: bool) -> None:
    """UsageError for what is there already; a script of somebody else's is never replaced."""
    files = [wanted.file, wanted.script]
    if wanted.format != "torch":
        onnx = wanted.format == "onnx"
        files.append(formats.weights_of_onnx(wanted.file) if onnx else wanted.file.with_suffix(".bin"))
    for file in files:
        if file.is_dir():
            raise UsageError(f"{file} is a folder: choose another name")
        if file.exists() and not overwrite:
            raise UsageError(f"{file} is there already: choose another name, or say --overwrite")
    if wanted.script.exists() and not wanted.script.read_bytes().startswith(FIRST_LINE.encode()):
        raise UsageError(f"{wanted.script} is not from vitral and would be replaced: choose another name")


def _questions(
    seen: Preprocessing, inside: bool, calibration: Calibration | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What the file is given, and `(batch, height, width, channels)` that the network in torch is given for the same.

    Noise, smooth as photographs are: batches of one and of four; or where the file resizes pictures itself, pictures
    of several sizes, smaller and larger than wanted, high and wide, one of them a single row. With a calibration, the
    batches are of what it is checked on.
    """
    if calibration is not None:
        yield from (
            (pixels, pixels) for pixels in (calibration.checked[:1], calibration.checked[1:17]) if len(pixels)
        )
        return
    random = np.random.default_rng(0)
    height, width = seen.size
    if inside:
        sizes = (
            (height, width),
            (2 * height + 1, 3 * width),
            (3 * height, width + 7),
            (height // 2 + 1, width),
            (1, 9),
        )
        for size in sizes:
            picture = _noise(random, size, seen.channels)
            yield picture, seen.fit_image(picture)[None]
        return
    for count in (1, 4):
        pixels = np.stack([_noise(random, seen.size, seen.channels) for _ in range(count)])
        if seen.bands:
            pixels = pixels.astype(np.float32) / np.float32(255)
        yield pixels, pixels


def _noise(random: np.random.Generator, size: tuple[int, int], channels: int) -> np.ndarray:
    """A picture of coarse and of fine noise: uint8 `(height, width, channels)`."""
    coarse = random.integers(0, 256, (6, 6, channels), dtype=np.uint8)
    height, width = size
    planes = [Image.fromarray(coarse[..., one]).resize((width, height)) for one in range(channels)]
    fine = random.normal(0, 12, (*size, channels))
    return np.clip(np.stack([np.asarray(plane) for plane in planes], axis=-1) + fine, 0, 255).astype(np.uint8)


@torch.no_grad()
def _answers(network: Deployed, pixels: np.ndarray) -> np.ndarray:
    return network(torch.from_numpy(pixels)).numpy()


def _writer(wanted: _Wanted, network: Deployed, description: Description, folder: Path) -> formats.Write:
    """The network in its format, ready to be written; VitralError where the format cannot take it."""
    try:
        if wanted.compile:
            return formats.compiled_writer(network, description, folder)
        make = {
            "onnx": formats.onnx_writer, "openvino": formats.openvino_writer, "torch": formats.torch_writer
        }[wanted.format]  # fmt: skip
        return make(network, description)
    except (RuntimeError, NotImplementedError) as error:
        raise VitralError(
            f"{wanted.format} cannot take this network ({one_line(error)}): choose another --format"
        ) from error


def _calibration(description: Description, calibrate: Calibrate | None) -> Calibration:
    if calibrate is None:
        raise UsageError(
            "int8 is fitted to images: name them with --calibrate DATA, such as what the run was trained on"
        )
    if description.thresholds is not None:
        raise UsageError(
            "what int8 costs is checked for networks with one label an image: take --precision bf16"
        )
    return calibrate(description.preprocessing, description.class_names)


def _write_int8(
    network: Deployed,
    description: Description,
    file: Path,
    calibration: Calibration,
    max_drop: float,
    progress: Callable[[int, int, str], None] | None,
) -> tuple[formats.Write, dict[str, Any]]:
    """OpenVINO's graph in int8, written once to be run, and what that run found.

    The accuracy that counts is the one of the file, in the precision that its other parts have on this machine.

    Raises:
        VitralError: it loses more than `max_drop`.
    """
    from vitral.inference.quantize import Quantised, quantise

    found: list[Quantised] = []

    def change(model: Any) -> Any:
        labelled = calibration.checked, calibration.labels
        found.append(quantise(model, [calibration.pixels], labelled, max_drop=max_drop, progress=progress))
        return found[0].model

    write = formats.openvino_writer(network, description, change)
    write(description, file)
    run, pixels = formats.run_openvino(file), calibration.checked
    answers = [run(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
    before = found[0].accuracy_before or 0.0
    after = float((np.concatenate(answers).argmax(axis=1) == calibration.labels).mean())
    if 100 * (before - after) > max_drop:
        raise VitralError(
            f"the file in int8 loses {100 * (before - after):.1f} points on {len(pixels)} images, more than "
            f"{max_drop:g}, and nothing was written: allow more with --max-drop, or take bf16"
        )
    return write, {
        "accuracy_before": before,
        "accuracy_after": after,
        "checked_images": len(pixels),
        "checked_on": calibration.split,
        "calibration_images": len(calibration.pixels),
        "stepped_back": list(found[0].kept),
    }


def _difference(wanted: _Wanted, file: Path, questions: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """The largest difference between what a file answers and what is expected."""
    if wanted.format == "onnx":
        run = formats.run_onnx(file, wanted.inside)
    elif wanted.format == "openvino":
        run = formats.run_openvino(file)
    else:
        run = formats.run_torch(file, wanted.compile)
    return float(max(np.abs(run(given) - expected).max() for given, expected in questions))


def _refuse_other_answers(wanted: _Wanted, difference: float, merge: int) -> None:
    """VitralError beyond what rounding explains.

    Where patches are merged, the rounding of 16 bits decides which ones are most alike, and there is no such bound.
    That of int8 is its loss of accuracy.
    """
    limit = max(TOLERANCES[wanted.precision], TOLERANCE_INSIDE if wanted.inside else 0)
    if merge and wanted.precision != "fp32":
        limit = 1
    if difference <= limit:  # which NaN is not
        return
    remedy = "choose another --format" if wanted.precision == "fp32" else "take --precision fp32"
    raise VitralError(
        f"{wanted.format} in {wanted.precision} answers otherwise than torch in fp32, by {difference:.2g} of "
        f"probability where {limit:g} is allowed, and nothing was written: {remedy}"
    )
