"""What an evaluation comes to, in a few lines for people."""

from collections.abc import Iterable, Iterator
from typing import Any

from vitral.language import Language
from vitral.reporting.texts import wording_of
from vitral.workflow.texts import TEXTS


def result_lines(figures: dict[str, Any], language: Language = "en") -> Iterator[str]:
    """The content of evaluation.json in words: accuracy with its interval and what chance gives, then the rest."""
    words, texts = wording_of(language), TEXTS[language]
    split = texts[f"split_{figures['split']}"]
    images = _counted("images", figures["images"], language)
    several = "mean_average_precision" in figures
    first, *others = (_of_several_labels if several else _of_one_label)(figures, images, language)
    yield f"{split}: {first}"
    if "kind" in figures:
        shares = [run["accuracy"] for run in figures["runs"]]
        yield texts["mean_of_runs_multi_label" if several else "mean_of_runs"].format(
            runs=_counted(figures["kind"], len(shares), language),
            mean=words.percent(figures["accuracy_mean"]),
            spread=words.number(100 * figures["accuracy_spread"], 1),
            low=words.percent(min(shares)),
            high=words.percent(max(shares)),
        )
    yield from others
    if "second_look" in figures:
        yield _counted("second_look", figures["second_look"], language)


def difference_lines(differences: Iterable[dict[str, Any]], language: Language = "en") -> Iterator[str]:
    """What `compare` found, a line a run."""
    words, texts = wording_of(language), TEXTS[language]
    for one in differences:
        names = {"run": one["run"], "against": one["against"]}
        if one["interval"] is None:
            yield texts["not_paired"].format(**names)
            continue
        difference, low, high = (words.signed(100 * value) for value in (one["difference"], *one["interval"]))
        images = _counted("images", one["images"], language)
        yield texts["paired"].format(**names, difference=difference, low=low, high=high, images=images)


def _counted(key: str, count: int, language: Language) -> str:
    one, more = TEXTS[language][key].split("|")
    return (one if count == 1 else more).format(count=wording_of(language).number(count))


def _of_one_label(figures: dict[str, Any], images: str, language: Language) -> Iterator[str]:
    words, texts = wording_of(language), TEXTS[language]
    low, high = figures["accuracy_interval"]
    result = texts["result"].format(
        accuracy=words.percent(figures["accuracy"]),
        images=images,
        low=words.percent(low),
        high=words.percent(high),
    )
    yield f"{result}; {texts['majority'].format(majority=words.percent(figures['majority_accuracy']))}"
    yield texts["balanced"].format(
        balanced=words.percent(figures["balanced_accuracy"]),
        macro_f1=words.number(figures["macro_f1"], 3),
        calibration=words.percent(figures["calibration_error"]),
    )


def _of_several_labels(figures: dict[str, Any], images: str, language: Language) -> Iterator[str]:
    words, texts = wording_of(language), TEXTS[language]
    if figures["mean_average_precision"] is not None:
        low, high = figures["mean_average_precision_interval"]
        yield texts["average_precision"].format(
            value=words.percent(figures["mean_average_precision"]),
            images=images,
            low=words.percent(low),
            high=words.percent(high),
            chance=words.percent(figures["chance_average_precision"]),
        )
    low, high = figures["accuracy_interval"]
    yield texts["exact_match"].format(
        value=words.percent(figures["accuracy"]),
        images=images,
        low=words.percent(low),
        high=words.percent(high),
        label=figures["majority_label"].replace("|", " + ") or "–",
        majority=words.percent(figures["majority_accuracy"]),
    )
    f1 = {
        name: "–" if figures[name] is None else words.number(figures[name], 3)
        for name in ("macro_f1", "micro_f1")
    }
    yield texts["labels_right"].format(value=words.percent(figures["label_accuracy"]), **f1)


def shots_table(figures: dict[str, Any], language: Language = "en") -> tuple[list[str], list[list[str]]]:
    """Headings and rows of what evaluation.json says of few shots: accuracy on the test images, over the draws."""
    words, texts = wording_of(language), TEXTS[language]
    headings = [texts[name] for name in ("shots", "draws", "mean", "deviation", "lowest", "highest")]
    rows = []
    for one in figures["shots"]:
        shots = texts["all"] if one["shots"] == "all" else words.number(one["shots"])
        deviation = one["standard_deviation"]
        rows.append(
            [
                shots,
                words.number(one["draws"]),
                words.percent(one["mean"]),
                "–" if deviation is None else words.percent(deviation),
                words.percent(one["minimum"]),
                words.percent(one["maximum"]),
            ]
        )
    return headings, rows
