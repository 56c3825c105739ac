"""`vitral inspect`: looks inside a network."""

from typing import Annotated, Literal

from cyclopts import Parameter

from vitral.cli.data_options import ReadingOptions
from vitral.cli.output import print_result, progress
from vitral.cli.weights_options import NOTHING_SAID, WeightsOptions, size_from

AS_IT_IS = ReadingOptions()


def inspect(
    weights: str,
    /,
    *images: str,
    output: str,
    data: str | None = None,
    overwrite: bool = False,
    pool: Literal["token", "average", "token_average", "distilled"] | None = None,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    image_size: str | None = None,
    language: str | None = None,
    json: bool = False,
    reading: Annotated[ReadingOptions, Parameter(name="*")] = AS_IT_IS,
    said: Annotated[WeightsOptions, Parameter(name="*")] = NOTHING_SAID,
) -> int:
    """Look inside a network: filters, positions, attention distance, norms, features.

    Of the weights alone: the principal components of the patch embedding's filters, and how similar the position
    embeddings are. Of images: how far each head looks, how long tokens are, and the features' principal components as
    colours. Of DATA: how well a linear probe of each layer answers. An image that cannot be read is named and left out,
    and the exit status is 1.

    Args:
        weights: Any WEIGHTS, with a classifier or without.
        images: Files, folders (with all folders below them, sorted) or wildcards.
        output: The folder for the pictures and inspection.json, which has the numbers behind them.
        data: DATA, as for "vitral probe": its training images teach a probe of each layer, its test images measure it.
            Where no image is named, 16 of its images are looked at.
        overwrite: Replace the inspection that lies in the folder.
        pool: What the probes see of a layer: the class token, the average of the patches, both, or the average of class
            and distillation token; default: what the network's own head sees.
        device: auto, cpu, cuda (cuda:1) or mps.
        precision: Of the computation; auto: fp32, and for the probe bf16 where the device multiplies it faster.
        image_size: Pixels, or HEIGHTxWIDTH, that the network sees; default: the weights' own, for the probe at most
            224.
        language: en or pt, of what people read; default: the system's.
        json: Print inspection.json.
        reading: How DATA is read and divided.
        said: About weights of other origin.
    """
    from vitral.errors import UsageError
    from vitral.language import choose_language
    from vitral.reporting.looks_texts import looks_wording, said_of
    from vitral.workflow import inspect as work
    from vitral.workflow.inspecting import LOOKS

    if data is None and (reading != AS_IT_IS or pool is not None):
        raise UsageError("how DATA is read, divided and pooled was said without DATA: name it with --data")
    spoken = choose_language(language)
    words = looks_wording(spoken)
    found = work(
        weights,
        images,
        output=output,
        data=data,
        overwrite=overwrite,
        pool=pool or "",
        device=device,
        precision=precision,
        image_size=size_from(image_size),
        language=language,
        **reading.given(),
        **said.given(),
    )
    for one in found["bad"]:
        progress().print(words.say("bad_image", path=one["path"], reason=one["error"]))

    def text(console) -> None:
        width = max(len(found["files"].get(look, look)) for look in LOOKS)
        for look in LOOKS:
            console.print(f"{found['files'].get(look, look):{width}}  {said_of(look, found, spoken)}")

    print_result(found, json, text)
    return 1 if found["bad"] else 0
