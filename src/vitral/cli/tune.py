"""`vitral tune`: what runs a network fastest on this machine, and what that costs."""

from typing import Annotated, Literal

from cyclopts import Parameter

from vitral.cli.output import print_result, progress, table
from vitral.cli.values import counts_from, seconds_from, words_from
from vitral.cli.weights_options import NOTHING_SAID, WeightsOptions, size_from


def tune(
    run: str,
    data: str | None = None,
    /,
    *,
    output: str | None = None,
    overwrite: bool = False,
    max_drop: float = 0.5,
    split: Literal["train", "validation", "test"] | None = None,
    images: int = 500,
    backends: str | None = None,
    precisions: str | None = None,
    merging: str | None = None,
    image_sizes: str | None = None,
    batch_size: int | None = None,
    time_limit: str | None = None,
    device: str = "auto",
    columns: str | None = None,
    data_root: str | None = None,
    group_by: str | None = None,
    language: str | None = None,
    json: bool = False,
    said: Annotated[WeightsOptions, Parameter(name="*")] = NOTHING_SAID,
) -> int:
    """Try what runs a network fastest on this machine, and what that costs.

    Every backend in each of its precisions, then the fastest of these with patches merged and with smaller images. Each
    answers the same images, and the speed of the best is measured in turns. Printed is the Pareto front: each row is
    faster than those that are more exact.

    Args:
        run: RUN, or any WEIGHTS with a classifier.
        data: DATA to measure on; default: the run's own. DATA without splits is taken whole.
        output: The folder for tune.json and tune.png; default: RUN/tune, of other WEIGHTS tune-NAME.
        overwrite: Replace the tuning that lies in the folder.
        max_drop: Points of accuracy that the recommendation may lose against fp32 in torch.
        split: Which images; default: validation, and test where there is none.
        images: How many are answered at most; each class keeps its share.
        backends: Try these alone, of torch,openvino,onnx.
        precisions: Try these alone, of fp32,bf16,fp16,int8.
        merging: Try so many patches merged in every layer, such as 2,4,8; 0 alone: no merging. Default: what saves
            about 10, 20 and 35 % of the multiply-adds.
        image_sizes: Try these, such as 96,80 or 96x128; the network's own alone: no others. Default: one or two smaller
            ones.
        batch_size: Images at once when the speed is measured; default: 16, on a GPU 32.
        time_limit: Try nothing new after most of this time: 90s, 30m, 2h, 1h30m.
        device: auto, cpu, cuda (cuda:1) or mps.
        columns: A csv's other headings: path=id_code,label=diagnosis.
        data_root: Where the files of torchvision:NAME are.
        group_by: "folder" or a regular expression on the path: intervals then count groups, not images.
        language: en or pt, of what people read; default: the system's.
        json: Print tune.json.
        said: About weights of other origin, and merging of the network that all others start from.
    """
    from vitral.language import choose_language, said_in
    from vitral.reporting.tuning_texts import tuning_lines, tuning_table
    from vitral.workflow import tune as work

    spoken = choose_language(language)
    sizes = [size_from(word) for word in words_from(image_sizes) or ()]
    found = work(
        run,
        data,
        output=output,
        overwrite=overwrite,
        max_drop=max_drop,
        split=split,
        images=images,
        backends=words_from(backends),
        precisions=words_from(precisions),
        merging=counts_from("--merging", merging),
        image_sizes=[size for size in sizes if size is not None] if image_sizes is not None else None,
        batch_size=batch_size,
        time_limit=seconds_from(time_limit),
        device=device,
        columns=columns,
        data_root=data_root,
        group_by=group_by,
        language=language,
        **said.given(),
    )
    for note in found["notes"]:
        progress().print(said_in(spoken, note))

    def text(console) -> None:
        console.print(table(*tuning_table(found, spoken)))
        for line in tuning_lines(found, spoken):
            console.print(line)

    print_result(found, json, text)
    return 0
