"""`vitral embed`: vectors of any number of images."""

from typing import Annotated, Literal

from cyclopts import Parameter

from vitral.cli.output import print_result, progress
from vitral.cli.weights_options import NOTHING_SAID, WeightsOptions, size_from


def embed(
    weights: str,
    image: str,
    /,
    *images: str,
    output: str,
    pool: Literal["token", "average", "token_average"] | None = None,
    overwrite: bool = False,
    workers: int | None = None,
    backend: Literal["auto", "torch", "openvino", "onnx"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto",
    image_size: str | None = None,
    language: str | None = None,
    json: bool = False,
    said: Annotated[WeightsOptions, Parameter(name="*")] = NOTHING_SAID,
) -> int:
    """Write the feature vectors of any number of images.

    The same command again goes on where it was stopped or killed, and adds images that are new. Files that cannot be
    read are listed in errors.csv, the others are done, and the exit status is 1.

    Args:
        weights: Any WEIGHTS, with a classifier or without.
        image: A file, a folder (with all folders below it, sorted) or wildcards.
        images: More of these.
        output: The folder for the vectors: Parquet parts of path and vector.
        pool: What the vector is: the class token, the average of the patches, or both; default: what the network's
            own head sees.
        overwrite: Start anew, without the vectors that lie in the folder.
        workers: Threads that read images; default: one a core.
        backend: What runs the network; auto: the fastest that is installed and safe here.
        device: auto, cpu, cuda (cuda:1) or mps.
        precision: Of the computation; auto: what the folder's vectors have, at first bf16 where it is faster.
        image_size: Pixels, or HEIGHTxWIDTH, that the network sees; default: the weights' own.
        language: en or pt, of what people read; default: the system's.
        json: Print what was done as JSON.
        said: About weights of other origin.
    """
    from vitral.language import choose_language
    from vitral.reporting.texts import wording_of
    from vitral.workflow import embed as work
    from vitral.workflow.texts import TEXTS

    done = work(
        weights,
        [image, *images],
        output,
        pool=pool,
        overwrite=overwrite,
        workers=workers,
        backend=backend,
        device=device,
        precision=precision,
        image_size=size_from(image_size),
        language=language,
        **said.given(),
    )
    spoken = choose_language(language)
    words, texts = wording_of(spoken), TEXTS[spoken]
    if done["bad"]:
        bad = texts["not_embedded"].format(count=words.number(done["bad"]), folder=done["folder"])
        progress().print(bad)
    said_done = texts["embedded"].format(
        images=words.number(done["images"]),
        new=words.number(done["new"]),
        dim=words.number(done["dim"]),
        folder=done["folder"],
        rate=words.number(done["images_per_second"], 1),
        compute=f"{done['device']}, {done['precision']}",
    )
    print_result(done, json, lambda console: console.print(said_done))
    return 1 if done["bad"] else 0
