"""`vitral predict`: what images show."""

import sys
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from vitral.cli.output import number, print_result, progress, results
from vitral.cli.weights_options import NOTHING_SAID, WeightsOptions, size_from


def predict(
    run: str,
    image: str,
    /,
    *images: str,
    top: int = 5,
    unsure_below: float | None = None,
    output: str | None = None,
    backend: Literal["auto", "torch", "openvino", "onnx"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto",
    image_size: str | None = None,
    json: bool = False,
    said: Annotated[WeightsOptions, Parameter(name="*")] = NOTHING_SAID,
) -> int:
    """Say what images show.

    A file that cannot be read is said so in its place; the others are still answered, and the exit status is 1.

    Args:
        run: RUN, or any WEIGHTS with a classifier.
        image: A file, a folder (with all folders below it, sorted), wildcards, or - for one image's bytes.
        images: More of these.
        top: How many of the most probable classes to name.
        unsure_below: Mark answers whose probability is below this.
        output: FILE.csv or FILE.json to write the answers to.
        backend: What runs the network; auto: the fastest that is installed and safe here.
        device: auto, cpu, cuda (cuda:1) or mps.
        precision: Of the computation; auto: bf16 where the device multiplies it natively.
        image_size: Pixels, or HEIGHTxWIDTH, that the network sees; default: the weights' own.
        json: Print a JSON list, one object an image in the order given.
        said: About weights of other origin.
    """
    from vitral.inference import Classifier
    from vitral.language import choose_language, said_in
    from vitral.workflow.prediction import answers, check_output, write_answers
    from vitral.workflow.wanted import expand

    if output is not None:
        check_output(output)
    words = [image, *images]
    wanted = expand(words, sys.stdin.buffer.read() if "-" in words else None)
    console = progress()
    with console.status(f"loading {run}"):  # the first time, also preparing it for this machine
        classifier = Classifier.load(
            run,
            backend=backend,
            device=device,
            precision=precision,
            image_size=size_from(image_size),
            **said.given(),
        )
    if console.is_terminal:
        by = f"{classifier.backend}, {classifier.precision}, {classifier.device}"
        console.print(f"{by} ({said_in(choose_language(), classifier.reason)})", style="dim")
    found = answers(classifier, wanted, top=top, unsure_below=unsure_below)
    rows: list[dict[str, Any]] = []
    if json or output is not None:
        from rich.progress import track

        rows += track(
            found, "", len(wanted), console=console, transient=True, disable=not console.is_terminal
        )
    else:
        for row in found:
            rows.append(row)
            results().print(_line(row))
    if output is not None:
        write_answers(output, rows)
    bad = sum("error" in row for row in rows)
    written = f"{len(rows) - bad:,} of {len(rows):,} images answered in {output}"
    print_result(rows, json, lambda console: console.print(written) if output is not None else None)
    return 1 if bad else 0


def _line(row: dict[str, Any]) -> str:
    """One answer in one line."""
    if "error" in row:
        return f"{row['path']}: error: {row['error']}"
    said = ", ".join(f"{one['label']} {number(round(one['probability'], 4))}" for one in row["top"])
    if "labels" in row:
        said = f"{' + '.join(row['labels']) or '–'} ({said})"
    return f"{row['path']}: {said}" + (" (unsure)" if row.get("unsure") else "")
