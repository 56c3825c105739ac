"""What went into a run: data, model, time, machine, recipe and versions."""

import json
import shlex
from typing import Any

from vitral.language import Language, said_in
from vitral.reporting.content import RunContent, images_by_split
from vitral.reporting.texts import Wording, shown_path


def facts_of(run: RunContent, words: Wording, language: Language) -> list[dict[str, Any]]:
    """What was trained on what, how long, on which machine."""
    found: list[dict[str, Any]] = []

    def say(name: str, value: str, *lines: str | None, code: bool = False) -> None:
        found.append({"name": name, "value": value, "lines": [line for line in lines if line], "code": code})

    facts = run.facts
    if data := facts.get("data"):
        images = sum(images_by_split(data).values())
        classes = {name for by_class in data["images"].values() for name in by_class}
        count = words.say(
            "data_count", images=words.counted("image_count", images), classes=words.number(len(classes))
        )
        say("data", shown_path(data["spec"]), count, _sizes(data.get("sizes"), words))
    if model := facts.get("model"):
        size = words.say("model_size", parameters=words.large(model["parameters"]))
        cost = model.get("multiply_adds")
        say(
            "model",
            model.get("name") or "Vision Transformer",
            _architecture(run.config, words),
            size,
            words.say("model_cost", multiply_adds=words.large(cost)) if cost else None,
            _input(run.config, words),
        )
        weights = model.get("weights")
        say("start", shown_path(weights) if weights else words["random_weights"])
    if facts.get("seconds") is not None and "method" in run.recipe:
        duration = words.duration(facts["seconds"])
        say(
            "training",
            words.say("probe_length", method=run.recipe["method"], duration=duration),
            _settled(run, words),
        )
    elif facts.get("seconds") is not None:
        length = words.say(
            "training_length",
            done=trained_so_far(run, words),
            duration=words.duration(facts["seconds"]),
        )
        say("training", length, None if run.kind else _chosen(run, words))
    if facts.get("started"):
        say("started", words.moment(facts["started"]))
    if machine := facts.get("machine"):
        cores = machine.get("cores") and words.counted("cores", machine["cores"])
        memory = machine.get("memory_bytes")
        memory = memory and words.say("memory", memory=words.number(memory / 2**30, 1) + " GiB")
        say(
            "machine",
            machine["processor"],
            " · ".join(part for part in (cores, memory) if part),
            machine["system"],
        )
        if machine.get("device"):
            say("device", machine["device"], said_in(language, machine.get("device_reason", "")))
        if machine.get("precision"):
            say("precision", machine["precision"], said_in(language, machine.get("precision_reason", "")))
    if command := facts.get("command"):
        program = command[0].replace("\\", "/").rsplit("/", 1)[-1]
        shown = [_argument(one) for one in command[1:]]
        shortened = words["shortened"] if shown != command[1:] else None
        say("command", shlex.join([program, *shown]), shortened, code=True)
    return found


def recipe_lines(recipe: dict[str, Any]) -> dict[str, str]:
    """The lines of a recipe as people are shown them: what is not set as a dash, absolute paths shortened."""
    return {key: shown_path(plain(value)) or "–" for key, value in recipe.items()}


def _argument(text: str) -> str:
    """An argument of the command line with its path, if it is an absolute one, shortened."""
    option, equals, value = text.partition("=")
    if equals and option.startswith("-"):
        return f"{option}={shown_path(value)}"
    return shown_path(text)


def _architecture(config: dict[str, Any], words: Wording) -> str | None:
    architecture = config.get("architecture", {})
    if not {"layers", "dim", "heads", "patch_size"} <= set(architecture):
        return None
    patch = architecture["patch_size"]
    height, width = patch if isinstance(patch, list) else (patch, patch)
    return words.say(
        "architecture",
        layers=words.number(architecture["layers"]),
        dim=words.number(architecture["dim"]),
        heads=words.number(architecture["heads"]),
        patch=f"{width} × {height}",
    )


def _sizes(sizes: dict[str, list[int]] | None, words: Wording) -> str | None:
    if not sizes:
        return None
    shown = {
        name: f"{words.number(width)} × {words.number(height)}" for name, (height, width) in sizes.items()
    }
    return words.say("data_size" if len(set(shown.values())) == 1 else "data_sizes", **shown)


def _input(config: dict[str, Any], words: Wording) -> str | None:
    size = config.get("architecture", {}).get("image_size")
    if size is None:
        return None
    height, width = size if isinstance(size, list) else (size, size)
    return words.say("input", width=width, height=height)


def trained_so_far(run: RunContent, words: Wording) -> str:
    """How much was trained: so many epochs, or so many folds or seeds."""
    if run.kind is None:
        return words.counted("epoch_count", len(run.metrics))
    return words.counted(f"{run.kind}_count", sum(part.evaluation.exists() for part in run.folder.parts()))


def _chosen(run: RunContent, words: Wording) -> str:
    if run.best_epoch is None:
        return words["training_last"]
    metric = run.facts["best"]["metric"]
    name = words.words.get(metric, metric)
    return words.say("training_best", epoch=words.number(run.best_epoch), metric=name)


def _settled(run: RunContent, words: Wording) -> str | None:
    """What a probe chose by the answers to images that it had left out."""
    for name, form in (("strength", words.significant), ("neighbours", words.number)):
        if run.recipe.get(name) is not None:
            return words.say(f"probe_{name}", value=form(run.recipe[name]))
    return None


def plain(value: Any) -> str:
    """A recipe's value as TOML would show it, text without its quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def versions_of(facts: dict[str, Any], words: Wording) -> list[tuple[str, str]]:
    """The versions of what computed, and the hashes of what it computed on."""
    versions = list(facts.get("versions", {}).items())
    hashes = [
        (words.say("hash", name=name), value) for name, value in facts.get("hashes", {}).items() if value
    ]
    return [*versions, *hashes]
