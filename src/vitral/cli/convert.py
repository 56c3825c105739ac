"""`vitral convert`: the same network in somebody else's format."""

from typing import Annotated, Literal

from cyclopts import Parameter

from vitral.cli.output import print_result
from vitral.cli.weights_options import NOTHING_SAID, WeightsOptions, size_from


def convert(
    weights: str,
    out: str,
    /,
    *,
    to: Literal["vitral", "timm", "huggingface", "torchvision", "jax"],
    approximate: bool = False,
    overwrite: bool = False,
    image_size: str | None = None,
    json: bool = False,
    said: Annotated[WeightsOptions, Parameter(name="*")] = NOTHING_SAID,
) -> int:
    """Write a network in another format.

    What the format cannot say, such as the tanh form of GELU in torchvision, is refused by name.

    Args:
        weights: Any WEIGHTS: a run or checkpoint folder, a .npz, .safetensors, .pth or .pt file, hf:OWNER/NAME,
            timm:NAME, torchvision:NAME.
        out: A folder to write to, or the file itself where the format is one file: .npz for jax, .pth or .safetensors
            for torchvision and timm.
        to: The format.
        approximate: Write what the format cannot say in the nearest words it has, and print the measured difference.
        overwrite: Replace files that are there.
        image_size: Pixels, or HEIGHTxWIDTH, to bring the positions to; default: the weights' own.
        json: Print what was done as JSON.
        said: About the weights.
    """
    from vitral.weights import convert as work

    done = work(
        weights,
        out,
        to,
        approximate=approximate,
        overwrite=overwrite,
        image_size=size_from(image_size),
        **said.given(),
    )
    document = {
        "files": [str(file) for file in done.files],
        "usage": done.usage or f'vitral.load_model("{out}")',
        "approximations": list(done.approximations),
        "difference": done.difference,
    }

    def text(console) -> None:
        for file in document["files"]:
            console.print(file)
        for what in done.approximations:
            console.print(f"approximated: {what}")
        if done.difference is not None:
            console.print(f"outputs differ by up to {done.difference:.1e} of the largest")
        console.print(f"load it with: {document['usage']}")

    print_result(document, json, text)
    return 0
