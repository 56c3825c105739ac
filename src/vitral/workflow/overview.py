"""What a training is about to do, known before its first step: as plain data, and as text for people."""

from collections.abc import Iterator, Sequence
from typing import Any

from vitral.data import SPLITS, LabelledImages, count_folds, fold
from vitral.device import Compute, describe
from vitral.inference.backends import Choice
from vitral.language import Language, said_in
from vitral.model.summary import summarise
from vitral.reporting.content import images_by_fold, images_by_split
from vitral.reporting.texts import wording_of
from vitral.runs import machine
from vitral.training import Plan
from vitral.workflow.options import Options
from vitral.workflow.texts import TEXTS

CLASSES_SHOWN, FILES_SHOWN, FOLDS_SHOWN = 20, 100, 10


def describe_plan(plan: Plan, options: Options) -> dict[str, Any]:
    """The overview as plain values for JSON."""
    config, compute = plan.model.config, plan.compute
    size = summarise(config)
    return {
        "data": describe_data(plan.data) | {"range": list(plan.preprocessing.range)},
        "model": {
            "name": options.model,
            "weights": options.weights,
            "parameters": size.parameters,
            "multiply_adds": size.multiply_adds,
            "image_size": list(config.image_size),
            "channels": config.channels,
        },
        "recipe": plan.recipe.to_dict(),
        "machine": describe_machine(compute),
        "compile": plan.compiled,
        "compile_reason": plan.compile_reason,
        "workers": plan.workers,
        "epochs": plan.epochs,
        "steps": plan.steps,
        "steps_per_epoch": plan.steps_per_epoch,
        "seconds_per_step": plan.seconds_per_step,
        "seconds": plan.seconds,
        "disk_bytes": plan.disk_bytes,
        "notes": list(plan.notices),
    }


def describe_data(data: LabelledImages) -> dict[str, Any]:
    """What DATA holds, as run.json keeps it; with folds every image is a test image, and "folds" counts each."""
    tested = [fold(data, number) for number in range(1, count_folds(data) + 1)]
    folds = [one.counts()["test"] for one in tested]
    every = {name: sum(counts[name] for counts in folds) for name in data.class_names}
    images = {"test": every} if folds else data.counts()
    return {
        "spec": data.spec,
        "name": data.name,
        "images": images,
        **({"folds": folds} if folds else {}),
        **(_sums(data, tested) if data.multi_label else {}),
        "sizes": {name: list(size) for name, size in vars(data.sizes).items()},
        "channels": data.channels,
        "dtype": data.dtype,
        "bad_files": [vars(file) for file in data.bad_files],
        "left_out": [vars(image) for image in data.left_out],
    }


def describe_machine(compute: Compute, choice: Choice | None = None) -> dict[str, Any]:
    """The machine, and what of it computes by which backend in which precision and why, as run.json keeps it."""
    backend = {} if choice is None else {"backend": choice.backend, "backend_reason": choice.reason}
    return machine() | {
        "device": describe(compute.device),
        "device_reason": compute.device_reason,
        **backend,
        "precision": compute.precision,
        "precision_reason": compute.precision_reason,
    }


def overview_lines(overview: dict[str, Any], language: Language = "en") -> Iterator[str]:
    """The overview as people read it, line by line."""
    words, texts = wording_of(language), TEXTS[language]

    data, model, machine = overview["data"], overview["model"], overview["machine"]
    images = data["images"]
    by_split = images_by_split(data)
    total = sum(by_split.values())
    classes = list(dict.fromkeys(name for by_class in images.values() for name in by_class))
    sizes = {name: f"{height} × {width}" for name, (height, width) in data["sizes"].items()}
    alike = len(set(sizes.values())) == 1
    yield f"{data['spec']}: " + texts["data"].format(
        images=_counted("images", total, language),
        classes=words.number(len(classes)),
        sizes=sizes["median"] if alike else texts["sizes"].format(**sizes),
        colours=_colours(data, language, _counted("channels", data["channels"], language)),
    )
    folds = data.get("folds", ())
    if 0 < len(folds) <= FOLDS_SHOWN:
        columns = {f"{texts['fold']} {number}": counts for number, counts in enumerate(folds, start=1)}
        sums = images_by_fold(data)
    else:
        columns = {texts[f"split_{split}"]: images[split] for split in SPLITS if split in images}
        sums = [by_split[split] for split in SPLITS if split in images]
    yield from _table(columns, sums, classes, language)
    if data["bad_files"]:
        yield texts["bad_files"].format(count=_counted("files", len(data["bad_files"]), language)) + ":"
        for file in data["bad_files"][:FILES_SHOWN]:
            yield f"  {file['path']}: {file['reason']}"
        if len(data["bad_files"]) > FILES_SHOWN:
            yield "  " + texts["more_files"].format(count=len(data["bad_files"]) - FILES_SHOWN)
    if data["left_out"]:
        yield texts["left_out"].format(count=_counted("images", len(data["left_out"]), language))

    size = texts["parameters"].format(
        parameters=words.large(model["parameters"]), multiply_adds=words.large(model["multiply_adds"])
    )
    start = (
        texts["from_weights"].format(weights=model["weights"])
        if model["weights"]
        else texts["random_weights"]
    )
    pixels = texts["input"].format(size=" × ".join(map(str, model["image_size"])))
    facts = [
        ("model", ", ".join(part for part in (model["name"], start, size, pixels) if part)),
        ("recipe", ", ".join(f"{name} {value}" for name, value in told(overview["recipe"]).items())),
        ("machine", _machine(overview, machine, language)),
        ("cost", _cost(overview, language)),
        *(("notes", said_in(language, note)) for note in overview["notes"]),
    ]
    width = max(len(texts[name]) for name, _ in facts)
    for name, text in facts:
        yield f"{texts[name]:{width}}  {text}"


def _colours(data: dict[str, Any], language: Language, channels: str) -> str:
    """What the images hold: grey, RGB, or so many channels and, where they are one training's, their range."""
    texts = TEXTS[language]
    if data["dtype"] is None:
        return texts["grey" if data["channels"] == 1 else "rgb"]
    held = texts["bands"].format(channels=channels, dtype=data["dtype"])
    if "range" not in data:
        return held
    low, high = (f"{value:.6g}".replace(".", wording_of(language).decimal) for value in data["range"])
    return f"{held}, {texts['range'].format(low=low, high=high)}"


def told(recipe: dict[str, Any]) -> dict[str, Any]:
    """The recipe's fields that do something: without those at 0, "", "none" or open, and what belongs to these."""
    idle = {name for name, value in recipe.items() if value in (0, "", "none", None, []) and name != "layer"}
    if "shots" in idle:
        idle.add("draws")
    if "randaugment" in idle:
        idle.add("randaugment_magnitude")
    if {"mixup", "cutmix"} <= idle:
        idle.add("mix_probability")
    for name, usual in (("layer_decay", 1), ("head_start", "zero")):
        if recipe.get(name) == usual:
            idle.add(name)
    if "steps" not in idle:
        idle.add("epochs")
    return {name: value for name, value in recipe.items() if name not in idle}


def _machine(overview: dict[str, Any], machine: dict[str, Any], language: Language) -> str:
    texts = TEXTS[language]
    named = [name for name in ("device", "backend", "precision") if name in machine]  # a probe has a backend
    parts = [f"{machine[name]} ({said_in(language, machine[f'{name}_reason'])})" for name in named]
    if "compile" in overview:  # of a training
        compiled = texts["compiled" if overview["compile"] else "not_compiled"]
        parts.append(f"{compiled} ({said_in(language, overview['compile_reason'])})")
    if overview.get("workers"):
        parts.append(_counted("workers", overview["workers"], language))
    return ", ".join(parts)


def _cost(overview: dict[str, Any], language: Language) -> str:
    """Time and disk: of a training's steps, or of the features that are still to be computed."""
    words, texts = wording_of(language), TEXTS[language]
    total, disk = words.duration(overview["seconds"]), words.number(overview["disk_bytes"] / 1e6)
    several = overview.get("repeated", {})
    repeated = "".join(f", {_counted(kind, count, language)}" for kind, count in several.items())
    if "steps" in overview:
        return texts["time"].format(
            seconds=f"{words.significant(overview['seconds_per_step'])} s",
            steps=words.number(overview["steps_per_epoch"]),
            epochs=words.number(overview["epochs"]),
            repeated=repeated,
            total=total,
            disk=disk,
        )
    if not overview["features_left"]:
        images = words.number(overview["features"])
        return texts["features_kept"].format(images=images, repeated=repeated, disk=disk)
    return texts["features_time"].format(
        repeated=repeated,
        left=words.number(overview["features_left"]),
        images=words.number(overview["features"]),
        rate=words.significant(1 / overview["seconds_per_image"]),
        total=total,
        disk=disk,
    )


def _counted(key: str, count: int, language: Language) -> str:
    one, more = TEXTS[language][key].split("|")
    return (one if count == 1 else more).format(count=wording_of(language).number(count))


def _sums(data: LabelledImages, folds: Sequence[LabelledImages]) -> dict[str, Any]:
    """How many images there are, as those of several classes count in each of them."""
    if folds:
        by_fold = [len(one.split("test")) for one in folds]
        return {"images_by_split": {"test": sum(by_fold)}, "images_by_fold": by_fold}
    return {"images_by_split": {split: len(data.split(split)) for split in SPLITS if data.split(split)}}


def _table(
    columns: dict[str, dict[str, int]], sums: Sequence[int], classes: list[str], language: Language
) -> Iterator[str]:
    """Images by class and split or fold, the first classes and all images."""
    words, texts = wording_of(language), TEXTS[language]
    counts = list(columns.values())
    rows = [[texts["class"], *columns]]
    for name in classes[:CLASSES_SHOWN]:
        rows.append([name, *(words.number(by_class.get(name, 0)) for by_class in counts)])
    if len(classes) > CLASSES_SHOWN:
        rest = words.number(len(classes) - CLASSES_SHOWN)
        rows.append([texts["more_classes"].format(count=rest), *("" for _ in counts)])
    rows.append([texts["all"], *map(words.number, sums)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [
            f"{first:{widths[0]}}",
            *(f"{cell:>{w}}" for cell, w in zip(others, widths[1:], strict=True)),
        ]
        yield "  " + "   ".join(cells).rstrip()
