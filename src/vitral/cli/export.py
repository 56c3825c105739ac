"""`vitral export`: a file to deploy, and the few lines that run it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from vitral.cli.output import number, print_result
from vitral.cli.weights_options import NOTHING_SAID, WeightsOptions, size_from


def export(
    run: str,
    out: str,
    /,
    *,
    format: Literal["onnx", "openvino", "torch"] | None = None,
    precision: Literal["fp32", "bf16", "fp16", "int8"] = "fp32",
    calibrate: str | None = None,
    max_drop: float = 0.5,
    columns: str | None = None,
    data_root: str | None = None,
    image_size: str | None = None,
    preprocessing_inside: bool = False,
    compile: bool = False,
    overwrite: bool = False,
    json: bool = False,
    said: Annotated[WeightsOptions, Parameter(name="*")] = NOTHING_SAID,
) -> int:
    """Write a classifier as a file to deploy, with the few lines that run it.

    The file is run with its own runtime and compared with the network in torch before it appears. Beside OUT lies
    a script of its name, which needs the runtime, numpy and Pillow, and no vitral.

    Args:
        run: RUN, or any WEIGHTS with a classifier.
        out: The file: .onnx, .xml (OpenVINO, with a .bin beside it) or .pt2 (torch).
        format: onnx, openvino or torch; default: as OUT's ending says.
        precision: What it computes in: fp32; bf16 of openvino and torch; fp16 of onnx and torch; int8 of openvino.
        calibrate: DATA that int8 is fitted to, such as what the run was trained on: the ranges on training images, the
            check on validation images, nothing on test images.
        max_drop: Points of accuracy, of 100, that int8 may lose on the check; layers step back until it does not.
        columns: A csv's other headings: path=id_code,label=diagnosis; of DATA.
        data_root: Where the files of torchvision:NAME are; of DATA.
        image_size: Pixels, or HEIGHTxWIDTH, that it shall take; default: the weights' own.
        preprocessing_inside: Of onnx, let it take one picture of any size and resize it itself.
        compile: Of torch, compile it for this kind of machine, with a C++ compiler.
        overwrite: Replace files that are there.
        json: Print what was written as JSON.
        said: About weights of other origin.
    """
    from vitral.workflow.exporting import export as work
    from vitral.workflow.progress import Display

    with Display("en") as display:
        done = work(
            run,
            out,
            format,
            precision=precision,
            calibrate=calibrate,
            max_drop=max_drop,
            columns=columns,
            data_root=data_root,
            image_size=size_from(image_size),
            preprocessing_inside=preprocessing_inside,
            compile=compile,
            overwrite=overwrite,
            counting=display.counting,
            progress=display.working,
            **said.given(),
        )
    measured, script = done.description.measured, done.files[-1]
    sizes = {str(file): file.stat().st_size for file in done.files}
    document = {
        "files": [{"path": path, "bytes": size} for path, size in sizes.items()],
        "format": done.format,
        "precision": done.description.precision,
        "opset": done.opset,
        **measured,
        "usage": f"python {script} IMAGE",
    }

    def text(console) -> None:
        for path, size in sizes.items():
            console.print(f"{path}: {_bytes(size)}")
        opset = f", opset {done.opset}" if done.opset else ""
        console.print(f"{done.format} in {done.description.precision}{opset}")
        images, difference = measured["images"], number(measured["difference"])
        console.print(
            f"on {images} images a probability differs from torch's in fp32 by at most {difference}"
        )
        if "accuracy_after" in measured:
            console.print(_int8(measured))
        console.print(f"run it with: {document['usage']}")

    print_result(document, json, text)
    return 0


def _int8(measured: Mapping[str, Any]) -> str:
    before, after = (100 * measured[f"accuracy_{when}"] for when in ("before", "after"))
    stepped_back, split = len(measured["stepped_back"]), measured["checked_on"]
    return (
        f"int8 costs {before - after:.1f} points of accuracy, {before:.1f} % to {after:.1f} %, on "
        f"{measured['checked_images']:,} {split} images"
        + (", for want of validation images" if split == "train" else "")
        + (f"; {stepped_back} layer groups stepped back" if stepped_back else "")
    )


def _bytes(count: float) -> str:
    """A file's size for people."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
