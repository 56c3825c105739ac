"""What an evaluation comes to, in a few lines for people."""

from collections.abc import Iterator
from typing import Any

from vitral.language import Language
from vitral.reporting.texts import wording_of
from vitral.workflow.texts import TEXTS


def result_lines(figures: dict[str, Any], language: Language = "en") -> Iterator[str]:
    """The content of evaluation.json in words: accuracy with its interval and what chance gives, then the rest."""
    words, texts = wording_of(language), TEXTS[language]
    low, high = figures["accuracy_interval"]
    split = texts[f"split_{figures['split']}"]
    one, more = texts["images"].split("|")
    count = (one if figures["images"] == 1 else more).format(count=words.number(figures["images"]))
    result = texts["result"].format(
        accuracy=words.percent(figures["accuracy"]),
        images=count,
        low=words.percent(low),
        high=words.percent(high),
    )
    yield f"{split}: {result}; {texts['majority'].format(majority=words.percent(figures['majority_accuracy']))}"
    measures = {
        "balanced": words.percent(figures["balanced_accuracy"]),
        "macro_f1": words.number(figures["macro_f1"], 3),
        "calibration": words.percent(figures["calibration_error"]),
    }
    yield texts["balanced"].format(**measures)
