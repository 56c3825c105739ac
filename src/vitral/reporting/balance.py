"""How many images of each class there are, how evenly, and which files could not be used."""

from typing import Any

from vitral.reporting.content import images_by_fold, images_by_split
from vitral.reporting.curves import SPLITS
from vitral.reporting.texts import Wording, shown_path

FILES = 50
FOLDS = 10
# So many times as many images in the commonest class as in the rarest are even, or uneven enough for advice.
EVEN, UNEVEN = 1.2, 3.0


def images_by_class(data: dict[str, Any], words: Wording, *, with_names: bool) -> dict[str, Any] | None:
    """How many images of each class each split or fold has, and what was left out."""
    if not data:
        return None
    folds = data.get("folds", ())
    if 0 < len(folds) <= FOLDS:
        columns = {f"{words['fold']} {number}": counts for number, counts in enumerate(folds, start=1)}
        sums = images_by_fold(data)
    else:
        columns = {words[split]: data["images"][split] for split in SPLITS if split in data["images"]}
        sums = [images_by_split(data)[split] for split in SPLITS if split in data["images"]]
    labels = list(dict.fromkeys(name for counts in columns.values() for name in counts))
    rows = []
    for label in labels:
        counts = [by_class.get(label, 0) for by_class in columns.values()]
        rows.append((label, [*counts, sum(counts)]))
    totals = [*sums, sum(sums)]
    left = []
    notes = [_evenness(data, rows, words)]
    if data.get("bad_files") == []:
        notes.append(words["no_bad_files"])
    for kind in ("bad_files", "left_out"):
        files = data.get(kind) or []
        if files:
            named = (
                [(shown_path(file["path"]), file["reason"]) for file in files[:FILES]] if with_names else []
            )
            title = words.say(kind, count=words.number(len(files)))
            left.append(
                {"title": title, "files": named, "more": len(files) - len(named) if with_names else 0}
            )
    lead = words["images_lead_folds" if folds else "images_lead"]
    if "images_by_split" in data:
        lead += " " + words["images_lead_multi_label"]
    return {
        "columns": list(columns),
        "rows": rows,
        "totals": totals,
        "left": left,
        "lead": lead,
        "notes": [note for note in notes if note],
    }


def _evenness(data: dict[str, Any], rows: list[tuple[str, list[int]]], words: Wording) -> str | None:
    """How many times as many images the commonest class has as the rarest, of those that teach."""
    taught = data["images"].get("train")
    counts = {label: taught.get(label, 0) if taught else numbers[-1] for label, numbers in rows}
    if len(counts) < 2:
        return None
    most, least = max(counts, key=lambda label: counts[label]), min(counts, key=lambda label: counts[label])
    if counts[least] == 0:
        return words.say("class_untaught", least=least)
    ratio = counts[most] / counts[least]
    if ratio < EVEN:
        return words["classes_even"]
    said = words.say(
        "classes_uneven",
        most=most,
        least=least,
        ratio=words.number(ratio, 1 if ratio < 10 else 0),
        many=words.number(counts[most]),
        few=words.number(counts[least]),
    )
    return f"{said} {words['classes_uneven_why']}" if ratio >= UNEVEN else said
