"""`vitral probe`: a classifier on the features of a network that stays as it is."""

import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from vitral.cli.data_options import AS_IT_IS, DataOptions
from vitral.cli.output import print_result, table
from vitral.cli.values import seeds_from
from vitral.cli.weights_options import NOTHING_SAID, WeightsOptions


def probe(
    data: str,
    /,
    *,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    output: str | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    method: Literal["least-squares", "logistic", "knn"] = "least-squares",
    layer: int = -1,
    feature_layers: int | None = None,
    pool: Literal["token", "average", "token_average", "distilled", "attention"] | None = None,
    shots: str | None = None,
    draws: int = 5,
    image_size: int | None = None,
    fit: Literal["crop", "pad", "stretch"] = "crop",
    flip: Literal["none", "horizontal"] = "horizontal",
    seed: int = 0,
    backend: Literal["auto", "torch", "openvino", "onnx"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto",
    seeds: str | None = None,
    language: str | None = None,
    json: bool = False,
    reading: Annotated[DataOptions, Parameter(name="*")] = AS_IT_IS,
    said: Annotated[WeightsOptions, Parameter(name="*")] = NOTHING_SAID,
) -> int:
    """Fit a classifier to the features of a network that stays as it is.

    The features are computed once and kept: another probe of the same images takes seconds. The run folder is like
    that of a training: it predicts, evaluates and explains.

    Args:
        data: DATA: a folder of class folders, a .csv with path,label, digits, food-vision-mini, torchvision:NAME.
        from_: WEIGHTS whose features are taken: the folder of an earlier run, a file or folder of other origin,
            hf:OWNER/NAME, timm:NAME, torchvision:NAME. Default: a pretrained ViT-S.
        output: The run folder; default: the next free runs/NAME-1, -2, and so on.
        overwrite: Replace the run that stands at --output.
        dry_run: Show what would be done and what it would cost, and stop.
        method: least-squares: onto -1 and 1 for each class, in closed form (the paper's few-shot evaluation); logistic:
            logistic regression, its strength chosen by cross-validation; knn: the nearest neighbours vote.
        layer: The network ends with this layer: from 0, or from the end with -1.
        feature_layers: The features of the last so many layers are put side by side; default: 1 or 6, whichever answers
            left-out training images better.
        pool: What becomes of a layer's tokens: token (the class token), average (of the patches), token_average (both),
            distilled, attention. Default: the network's own with 1 layer, all there is with 6.
        shots: Learn from so many training images a class too, and tell how good that is on the test images: 1,5,10,all.
        draws: Random draws of each number of shots.
        image_size: Side in pixels; default: the checkpoint's own, at most 224.
        fit: How an image fits this size.
        flip: horizontal: training images count once more, mirrored; none: half the time.
        seed: Seed of draws and folds.
        backend: What computes the features; auto: the fastest that is installed and safe here.
        device: auto, cpu, cuda (cuda:1) or mps.
        precision: Of the features; auto: bf16 where the device multiplies it faster. int8 is the fastest on processors,
            and never taken without being asked for.
        seeds: Probe once from each of these seeds, such as 0,1,2, in RUN/seed-0, RUN/seed-1, and so on.
        language: en or pt, of what people read; default: the system's.
        json: Print the run's folder and its evaluation (with --dry-run the overview) as JSON.
        reading: How DATA is read and divided.
        said: About weights of other origin.
    """
    from vitral.language import choose_language
    from vitral.workflow import probe as work

    run = work(
        data,
        weights=from_,
        output=output,
        overwrite=overwrite,
        dry_run=dry_run,
        method=method,
        layer=layer,
        feature_layers=feature_layers or 0,
        pool=pool or "",
        shots=shots,
        draws=draws,
        image_size=image_size or 0,
        fit=fit,
        flip=flip,
        seed=seed,
        backend=backend,
        device=device,
        precision=precision,
        seeds=seeds_from(seeds),
        language=language,
        command=["vitral", *sys.argv[1:]],
        **reading.given(),
        **said.given(),
    )
    if dry_run:
        if json:  # people have read it on standard error already
            print_result(run.overview, True, lambda _: None)
        return 0
    spoken = choose_language(language)

    def text(console) -> None:
        from vitral.workflow.results import result_lines, shots_table

        for line in result_lines(run.metrics, spoken):
            console.print(line)
        if "shots" in run.metrics:
            console.print(table(*shots_table(run.metrics, spoken)))
        console.print(f"{run.path}/report.html")

    print_result({"run": str(run.path), "evaluation": run.metrics}, json, text)
    return 0
