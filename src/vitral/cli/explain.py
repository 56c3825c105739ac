"""`vitral explain`: what a network looked at in images."""

import sys
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from vitral.cli.output import number, print_result, progress
from vitral.cli.values import point_from
from vitral.cli.weights_options import NOTHING_SAID, WeightsOptions, size_from


def explain(
    run: str,
    image: str,
    /,
    *images: str,
    output: str,
    method: Literal["gradient", "rollout", "attention"] | None = None,
    target: str | None = None,
    layer: int | None = None,
    head: int | None = None,
    point: str | None = None,
    fusion: Literal["mean", "max", "min"] = "mean",
    discard: float = 0.0,
    measure: bool = False,
    seed: int = 0,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    image_size: str | None = None,
    language: str | None = None,
    json: bool = False,
    said: Annotated[WeightsOptions, Parameter(name="*")] = NOTHING_SAID,
) -> int:
    """Show what a network looked at in images.

    Of photo.jpg come photo.png, the heatmap over the photograph; photo.npy, the relevance of each patch; photo.json,
    the patches by weight; of attention photo-heads.png, every head. A file that cannot be read is said so in its place;
    the others are still explained, and the exit status is 1.

    Args:
        run: RUN, or any WEIGHTS, with a classifier or without.
        image: A file, a folder (with all folders below it, sorted), wildcards, or - for one image's bytes.
        images: More of these.
        output: The folder for the pictures; files of the same names are replaced.
        method: gradient: what spoke for one class (Chefer et al. 2021). rollout: attention followed through all layers,
            as in the paper's figure 6. attention: of one layer. Default: gradient, and without a classifier rollout.
        target: The class that gradient explains; default: the most probable one.
        layer: Whose attention, from 0, or from the end with -1; default: the last.
        head: Which head of that layer alone, from 0; default: all of them.
        point: X,Y, a pixel of the image: rollout or attention of the patch there, not of what the head sees.
        fusion: What becomes of the heads in rollout and attention: mean, max or min.
        discard: The share of each layer's attention, the smallest weights, that rollout leaves out, such as 0.9.
        measure: Remove and add patches in the order of their relevance, and say how much of the answer goes with them,
            beside random order.
        seed: Of the random orders.
        device: auto, cpu, cuda (cuda:1) or mps.
        precision: Of the computation; auto: bf16 where it is faster.
        image_size: Pixels, or HEIGHTxWIDTH, that the network sees; default: the weights' own.
        language: en or pt, of what people read; default: the system's.
        json: Print what was found as JSON.
        said: About weights of other origin.
    """
    from rich.progress import track

    from vitral.inference import Explainer, Look
    from vitral.inspection import Faithfulness
    from vitral.language import choose_language
    from vitral.workflow.explaining import explain as work
    from vitral.workflow.explaining import summary_lines, write_measured
    from vitral.workflow.wanted import expand

    spoken = choose_language(language)
    look = Look(method, target, layer, head, point_from(point), fusion, discard)
    words = [image, *images]
    wanted = expand(words, sys.stdin.buffer.read() if "-" in words else None)
    explainer = Explainer.load(
        run, device=device, precision=precision, image_size=size_from(image_size), **said.given()
    )
    measured: list[Faithfulness] | None = [] if measure else None
    course = work(explainer, wanted, output, look, measured=measured, language=spoken, seed=seed)
    console = progress()
    rows = list(
        track(course, "", len(wanted), console=console, transient=True, disable=not console.is_terminal)
    )
    document: dict[str, Any] = {
        "method": explainer.method_of(look),
        "device": str(explainer.compute.device),
        "precision": explainer.precision,
        "images": rows,
    }
    if measured:
        document["faithfulness"] = write_measured(output, measured, spoken)

    def text(console) -> None:
        for row in rows:
            console.print(_line(row))
        for line in summary_lines(document, output, spoken):
            console.print(line)

    print_result(document, json, text)
    return 1 if any("error" in row for row in rows) else 0


def _line(row: dict[str, Any]) -> str:
    """One image in one line: its answer, and where the picture is."""
    if "error" in row:
        return f"{row['path']}: error: {row['error']}"
    said = ""
    if row["label"] is not None:
        said = f" {row['target'] or row['label']} {number(round(row['probability'], 4))}"
    return f"{row['path']}:{said} → {row['files']['overlay']}"
