"""What an evaluation comes to, in a few lines for people."""

from collections.abc import Iterable, Iterator
from typing import Any

from vitral.language import Language
from vitral.reporting.texts import wording_of
from vitral.workflow.texts import TEXTS


def result_lines(figures: dict[str, Any], language: Language = "en") -> Iterator[str]:
    """The content of evaluation.json in words: accuracy with its interval and what chance gives, then the rest."""
    words, texts = wording_of(language), TEXTS[language]
    low, high = figures["accuracy_interval"]
    split = texts[f"split_{figures['split']}"]
    result = texts["result"].format(
        accuracy=words.percent(figures["accuracy"]),
        images=_counted("images", figures["images"], language),
        low=words.percent(low),
        high=words.percent(high),
    )
    yield f"{split}: {result}; {texts['majority'].format(majority=words.percent(figures['majority_accuracy']))}"
    if "kind" in figures:
        shares = [run["accuracy"] for run in figures["runs"]]
        yield texts["mean_of_runs"].format(
            runs=_counted(figures["kind"], len(shares), language),
            mean=words.percent(figures["accuracy_mean"]),
            spread=words.number(100 * figures["accuracy_spread"], 1),
            low=words.percent(min(shares)),
            high=words.percent(max(shares)),
        )
    measures = {
        "balanced": words.percent(figures["balanced_accuracy"]),
        "macro_f1": words.number(figures["macro_f1"], 3),
        "calibration": words.percent(figures["calibration_error"]),
    }
    yield texts["balanced"].format(**measures)
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
