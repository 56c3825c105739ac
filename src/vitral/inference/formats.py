"""The formats that leave the house: how a network is written in each, and how its own runtime runs the file."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import numpy as np
import torch

from vitral.errors import UsageError, one_line
from vitral.inference import graphs
from vitral.inference.deployed import Deployed
from vitral.inference.description import KEY, Description

if TYPE_CHECKING:
    from openvino import Model
    from torch.export import ExportedProgram

Write = Callable[[Description, Path], None]
"""Writes a network with a description to a file. The second time, what the first left may be gone afterwards."""
Run = Callable[[np.ndarray], np.ndarray]
"""From what a file takes to its probabilities, `(batch, classes)`."""

# Bytes of weights from which on ONNX keeps them in a file of their own: protobuf ends at 2 GiB.
LARGEST_ONNX = (1 << 31) - (1 << 26)


def onnx_writer(network: Deployed, description: Description) -> Write:
    """As ONNX, in the precision of the network's weights; above 2 GB these lie in a file beside it."""
    import onnx

    from vitral.inference.onnx_preprocessing import with_preprocessing

    model = graphs.to_onnx(network, description)
    if description.preprocessing_inside:
        model = with_preprocessing(model, description.preprocessing)
    large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) >= LARGEST_ONNX
    weights: Path | None = None

    def write(description: Description, file: Path) -> None:
        nonlocal weights
        graphs.describe_onnx(model, description)
        beside = weights_of_onnx(file)
        if large and weights is None:  # which takes them out of the model in memory
            onnx.save_model(model, file, save_as_external_data=True, location=beside.name)
        else:
            onnx.save_model(model, file)
            if weights is not None:
                os.replace(weights, beside)
        weights = beside if large else None
        onnx.checker.check_model(str(file), full_check=True)

    return write


def weights_of_onnx(file: Path) -> Path:
    """Where the weights lie that are too large to lie in a file of ONNX itself."""
    return file.with_name(f"{file.name}.data")


def openvino_writer(
    network: Deployed, description: Description, change: "Callable[[Model], Model] | None" = None
) -> Write:
    """As OpenVINO's two files; for bf16 the weights are kept in 16 bits too. `change` makes of the graph another."""
    import openvino

    from vitral.inference.backends.openvino import describe

    model = graphs.to_openvino(network, description)
    model = model if change is None else change(model)

    def write(description: Description, file: Path) -> None:
        describe(model, description)
        openvino.save_model(model, file, compress_to_fp16=description.precision == "bf16")

    return write


def torch_writer(network: Deployed, description: Description) -> Write:
    """As a program of torch.export, in the precision of the network's weights."""
    program = graphs.to_torch(network, description)

    def write(description: Description, file: Path) -> None:
        torch.export.save(program, file, extra_files={KEY: description.to_json()})

    return write


def compiled_writer(network: Deployed, description: Description, folder: Path) -> Write:
    """The same, compiled for this kind of machine by AOTInductor; `folder` is where it lies meanwhile.

    The description is kept where torch.export keeps it, as `extra/vitral` in the archive.

    Raises:
        UsageError: there is no C++ compiler.
    """
    package = folder / "compiled" / "network.pt2"
    package.parent.mkdir()
    _compile(graphs.to_torch(network, description), package)

    def write(description: Description, file: Path) -> None:
        shutil.copyfile(package, file)
        with ZipFile(file, "a") as archive:
            root = archive.namelist()[0].partition("/")[0]
            archive.writestr(f"{root}/extra/{KEY}", description.to_json())

    return write


def run_onnx(file: Path, inside: bool) -> Run:
    """By ONNX Runtime; `inside`: it takes one picture."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session: Any = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    name = "image" if inside else "pixels"
    return lambda given: session.run(None, {name: given})[0]


def run_openvino(file: Path) -> Run:
    """By OpenVINO, in the precision that the file's description names."""
    from vitral.inference.backends.openvino import load_file

    return load_file(file)


def run_torch(file: Path, compiled: bool) -> Run:
    """By torch."""
    load: Any = torch._inductor.aoti_load_package if compiled else torch.export.load
    loaded = load(str(file))
    network = loaded if compiled else loaded.module()

    def run(given: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(given)).numpy()

    return run


def _compile(program: "ExportedProgram", package: Path) -> None:
    from torch._inductor import aoti_compile_and_package
    from torch._inductor.exc import CppCompileError, InvalidCxxCompiler

    try:
        with graphs.quiet():
            aoti_compile_and_package(program, package_path=str(package))
    except (InvalidCxxCompiler, CppCompileError, FileNotFoundError) as error:
        raise UsageError(
            f"--compile needs a C++ compiler that works ({one_line(error)}): install g++ or clang, or leave it out"
        ) from error
