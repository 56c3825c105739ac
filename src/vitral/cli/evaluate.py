"""`vitral evaluate`: the figures of a model on a split."""

from typing import Annotated, Literal

from cyclopts import Parameter

from vitral.cli.output import print_result, progress, table
from vitral.cli.weights_options import NOTHING_SAID, WeightsOptions, size_from


def evaluate(
    run: str,
    data: str | None = None,
    /,
    *,
    split: Literal["train", "validation", "test"] = "test",
    backend: Literal["auto", "torch", "openvino", "onnx"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto",
    columns: str | None = None,
    data_root: str | None = None,
    group_by: str | None = None,
    language: str | None = None,
    image_size: str | None = None,
    json: bool = False,
    said: Annotated[WeightsOptions, Parameter(name="*")] = NOTHING_SAID,
) -> int:
    """Measure a run on a split of its own data or of other data.

    Classes are matched by name. Test images that the run trained or chose on are left out and counted.

    Args:
        run: RUN, or any WEIGHTS with a classifier.
        data: DATA to measure on; default: the run's own. DATA without splits is measured whole.
        split: Which images.
        backend: What runs the network; auto: the fastest that is installed and safe here.
        device: auto, cpu, cuda (cuda:1) or mps.
        precision: Of the computation; auto: bf16 where the device multiplies it natively.
        columns: A csv's other headings: path=id_code,label=diagnosis.
        data_root: Where the files of torchvision:NAME are.
        group_by: "folder" or a regular expression on the path: intervals then count groups, not images.
        language: en or pt, of what people read; default: the system's.
        image_size: Pixels, or HEIGHTxWIDTH, that the network sees; default: the weights' own.
        json: Print all figures as JSON.
        said: About weights of other origin.
    """
    from vitral.language import choose_language, said_in
    from vitral.workflow import evaluate as work
    from vitral.workflow.progress import Display
    from vitral.workflow.results import result_lines

    spoken = choose_language(language)
    with Display(spoken) as display:
        figures = work(
            run,
            data,
            split=split,
            backend=backend,
            device=device,
            precision=precision,
            columns=columns,
            data_root=data_root,
            group_by=group_by,
            progress=display.counting,
            image_size=size_from(image_size),
            **said.given(),
        )
    for note in figures["notes"]:
        progress().print(said_in(spoken, note))

    def text(console) -> None:
        for line in result_lines(figures, spoken):
            console.print(line)
        headings = ["", "precision", "recall", "f1", "images"]
        if "mean_average_precision" in figures:
            headings[1:1] = ["average_precision", "threshold"]
        rows = [[name, *(one[key] for key in headings[1:])] for name, one in figures["per_class"].items()]
        console.print(table(headings, rows))

    print_result(figures, json, text)
    return 0
