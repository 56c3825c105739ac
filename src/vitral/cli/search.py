"""`vitral search`: the nearest images in a folder of embeddings."""

import sys
from typing import Literal

from vitral.cli.output import print_result


def search(
    folder: str,
    image: str,
    /,
    *,
    top: int = 10,
    weights: str | None = None,
    backend: Literal["auto", "torch", "openvino", "onnx"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] | None = None,
    language: str | None = None,
    json: bool = False,
) -> int:
    """Find the images nearest to one in a folder of embeddings.

    Every line is the cosine of the angle between two vectors, 1 at most, and a path as `vitral embed` was given it.

    Args:
        folder: What `vitral embed` wrote.
        image: A file, or - for its bytes.
        top: How many images to find.
        weights: Where the weights are that the folder was made with; default: where they were.
        backend: What runs the network; auto: the fastest that is installed and safe here.
        device: auto, cpu, cuda (cuda:1) or mps.
        precision: Of the computation; default: what the folder was made with.
        language: en or pt, of what people read; default: the system's.
        json: Print a JSON object.
    """
    from vitral.workflow import search as work

    query = sys.stdin.buffer.read() if image == "-" else image
    found = work(
        folder,
        query,
        top=top,
        weights=weights,
        backend=backend,
        device=device,
        precision=precision,
        language=language,
    )

    def text(console) -> None:
        for one in found["nearest"]:
            console.print(f"{one['similarity']:.4f}  {one['path']}", soft_wrap=True)

    print_result({"path": image, **found}, json, text)
    return 0
