"""What a reader must know before the figures of a run are believed."""

import re
from collections.abc import Iterable
from typing import Any

from vitral.language import Language, said_in
from vitral.reporting.content import RunContent
from vitral.reporting.facts import trained_so_far
from vitral.reporting.texts import Wording, of_measure

WIDE_INTERVAL = 0.2


def verdicts_of(
    run: RunContent, words: Wording, language: Language, *, with_names: bool
) -> list[dict[str, Any]]:
    """What a reader must know before the figures are believed, the gravest first.

    Args:
        with_names: whether the notes may name files.
    """
    found: list[dict[str, Any]] = []

    def say(title: str, text: str = "", kind: str = "warn", lines: Iterable[str] = ()) -> None:
        found.append({"title": title, "text": text, "kind": kind, "lines": list(lines)})

    state = run.facts["state"]
    if state in ("running", "interrupted", "failed"):
        done = trained_so_far(run, words)
        say(words[state], words.say("state_why", done=done))
    evaluation, headline = run.evaluation, run.headline
    if evaluation is None or headline is None:
        say(words["no_evaluation"], words["no_evaluation_why"])
    else:
        (low, high), chance = headline.interval, headline.chance
        if headline.is_weak:
            reason = "weak_below" if high < chance.value else "weak_includes"
            why = words.say(
                of_measure(reason, headline.measure),
                majority=words.percent(chance.value),
                low=words.percent(low),
                high=words.percent(high),
            )
            say(words.say(of_measure("weak", headline.measure), label=words.label(chance.label)), why)
        if high - low > WIDE_INTERVAL:
            images, width = (
                words.counted("image_count", evaluation["images"]),
                words.number(100 * (high - low)),
            )
            say(
                words.say("few", split=words[evaluation["split"]]),
                words.say("few_why", images=images, width=width),
            )
        if evaluation["split"] == "validation":
            say(words["optimistic"], words["optimistic_why"])
        if evaluation.get("unknown_classes"):
            unknown = evaluation["unknown_classes"]
            say(
                words.say(
                    "unknown_labels" if run.multi_label else "unknown_classes",
                    images=words.number(sum(unknown.values())),
                ),
                words["unknown_classes_why"],
                lines=[f"{name}: {words.number(count)}" for name, count in unknown.items()],
            )
        if evaluation.get("missing_classes"):
            say(words["missing_classes"], ", ".join(evaluation["missing_classes"]), kind="")
    if notes := run.facts.get("notes"):
        said = [said_in(language, note) for note in notes]
        say(words["notes"], kind="", lines=said if with_names else _without_names(said, run))
    return found


def _without_names(notes: list[str], run: RunContent) -> list[str]:
    """Notes in which the paths of images have become dots."""
    data = run.facts.get("data", {})
    unusable = [one["path"] for kind in ("bad_files", "left_out") for one in data.get(kind) or ()]
    # The longest first: a path may be the end of another.
    for path in sorted({*run.known_images, *unusable} - {""}, key=len, reverse=True):
        if any(path in note for note in notes):
            whole = re.compile(rf"(?<!\w){re.escape(path)}(?!\w)")
            notes = [whole.sub("…", note) for note in notes]
    return notes
