"""`vitral train`: from scratch with --model, fine-tuning with --from, going on with --resume."""

import sys
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from vitral.cli.data_options import AS_IT_IS, DataOptions
from vitral.cli.output import print_result
from vitral.cli.recipe_options import RecipeOptions
from vitral.cli.values import seconds_from, seeds_from
from vitral.cli.weights_options import NOTHING_SAID, WeightsOptions
from vitral.language import choose_language

NOTHING_GIVEN = RecipeOptions()


def train(
    data: str | None = None,
    /,
    *,
    model: str | None = None,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    output: str | None = None,
    overwrite: bool = False,
    resume: str | None = None,
    dry_run: bool = False,
    time_limit: str | None = None,
    recipe: str | None = None,
    print_recipe: bool = False,
    seed: int = 0,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    compile: Annotated[bool | None, Parameter(negative="--no-compile")] = None,
    workers: int | None = None,
    seeds: str | None = None,
    language: str | None = None,
    json: bool = False,
    recipe_fields: Annotated[RecipeOptions, Parameter(name="*")] = NOTHING_GIVEN,
    reading: Annotated[DataOptions, Parameter(name="*")] = AS_IT_IS,
    said: Annotated[WeightsOptions, Parameter(name="*")] = NOTHING_SAID,
) -> int:
    """Train a model from scratch, or fine-tune one.

    Before the first step it shows what it will do and what that will cost; afterwards the run folder holds the
    model, its figures and a report.

    Args:
        data: DATA: a folder of class folders, a .csv with path,label (a|b for several labels an image), digits,
            food-vision-mini, torchvision:NAME.
        model: MODEL to train from random weights, such as vit_tiny_patch16_224 ("vitral models" lists them).
        from_: WEIGHTS to fine-tune: the folder of an earlier run, a file or folder of other origin, hf:OWNER/NAME,
            timm:NAME, torchvision:NAME; classes are matched by name. Default, without --model: a pretrained ViT-S.
        output: The run folder; default: the next free runs/NAME-1, -2, and so on.
        overwrite: Replace the run that stands at --output.
        resume: RUN that was interrupted; it goes on as it began. Only --time-limit, --device and --workers go with it.
        dry_run: Show what would be done and what it would cost, and stop before the first step.
        time_limit: End in this time, however far it is: 90s, 30m, 2h, 1h30m. Folds and seeds share it.
        recipe: Recipe by name or from a .toml file; default: small-data with --model; with --from finetune-small, from
            5,000 training images on finetune. Others: paper-finetune, paper-imagenet1k, paper-imagenet21k, tutorial.
        print_recipe: Print the resolved recipe as TOML, and stop; with DATA as the number of its images asks for.
        seed: Seed of weights, order, augmentation and dropout.
        seeds: Train once from each of these seeds, such as 0,1,2, in RUN/seed-0, RUN/seed-1, and so on.
        device: auto, cpu, cuda (cuda:1) or mps.
        precision: Of the computation; auto: bf16 where the device multiplies it natively.
        compile: Whether to use torch.compile; default: where it saves more time than it takes.
        workers: Processes that read images; default: as fits the machine.
        language: en or pt, of what people read; default: the system's.
        json: Print the run's folder and its evaluation (with --dry-run the overview) as JSON.
        recipe_fields: Fields of the recipe.
        reading: How DATA is read and divided.
        said: About weights of other origin.
    """
    given = recipe_fields.given()
    if print_recipe:
        return _print_recipe(recipe, model, given, data, reading, json)
    from vitral.workflow import train as work

    run = work(
        data,
        model=model,
        weights=from_,
        recipe=recipe,
        output=output,
        overwrite=overwrite,
        resume=resume,
        dry_run=dry_run,
        seed=seed,
        device=device,
        precision=precision,
        compile=compile,
        workers=workers,
        time_limit=seconds_from(time_limit),
        seeds=seeds_from(seeds),
        language=language,
        command=["vitral", *sys.argv[1:]],
        **given,
        **reading.given(),
        **said.given(),
    )
    if dry_run:
        if json:  # people have read it on standard error already
            print_result(run.overview, True, lambda _: None)
        return 0
    document = {"run": str(run.path), "evaluation": run.metrics}

    def text(console) -> None:
        from vitral.workflow.results import result_lines

        for line in result_lines(run.metrics, choose_language(language)):
            console.print(line)
        console.print(f"{run.path}/report.html")

    print_result(document, json, text)
    return 0


def _print_recipe(
    recipe: str | None, model: str | None, given: dict, data: str | None, reading: DataOptions, as_json: bool
) -> int:
    from vitral.training.recipe import resolve_recipe, to_toml

    images = None
    if data is not None:
        from vitral.data import fold
        from vitral.workflow.options import Options

        # What counts the images; the values in them do not matter here.
        opening: dict[str, Any] = reading.given() | {"range": None, "display_bands": None}
        opened = Options(data, **opening).open()
        images = len((fold(opened, 1) if reading.folds else opened).split("train"))
    resolved = resolve_recipe(recipe, model is None, given, images)
    if images:
        resolved = resolved.resolved(images)
    values = resolved.to_dict()
    print_result(values, as_json, lambda console: console.print(to_toml(values), end=""))
    return 0
