"""`explain`: what a network looked at in each image, as pictures, arrays and JSON in a folder."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from vitral.errors import VitralError
from vitral.files import write_json, written_whole
from vitral.inference import Explainer, Explanation, Look, save_picture
from vitral.inspection import Faithfulness, compared
from vitral.language import Language
from vitral.reporting import write_faithfulness, write_heads
from vitral.reporting.texts import wording_of
from vitral.runs.machine import usable_cores
from vitral.workflow.texts import TEXTS
from vitral.workflow.wanted import Wanted

# So many of the patches are in the row of an image; all of them are in its file.
HEAVIEST = 5


def explain(
    explainer: Explainer,
    wanted: Sequence[Wanted],
    output: str | Path,
    look: Look | None = None,
    *,
    measured: list[Faithfulness] | None = None,
    language: Language = "en",
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Explain images into a folder, one after the other as the rows are taken.

    Of photo.jpg come photo.png, the heatmap over the photograph in its own size; photo.npy, the relevance
    `(rows, columns)` of the patches as it was computed; photo.json, what was asked and answered and all patches by
    weight; and of "attention" photo-heads.png, every head of the layer. Files of these names are replaced.

    Args:
        explainer: the network.
        wanted: from `vitral.workflow.wanted.expand`.
        output: the folder.
        look: what is asked.
        measured: where the faithfulness of each explanation is put; None: it is not measured.
        language: of the pictures.
        seed: of the random orders that faithfulness is compared with.

    Returns:
        A row an image: path, method, label, probability, target, special_share, patches (the heaviest), files, with
        `measured` also faithfulness (None where the class has no probability to lose); or path and error.

    Raises:
        UsageError: as `Explainer.explain`.
    """
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    sources = [one.source for one in wanted if one.source is not None]
    answers = explainer.explain_each(sources, look, workers=usable_cores())
    names = _names(wanted)
    for number, (one, name) in enumerate(zip(wanted, names, strict=True)):
        answer = next(answers) if one.source is not None else one.error
        if not isinstance(answer, Explanation):
            yield {"path": one.path, "error": str(answer)}
            continue
        row: dict[str, Any] = {
            "path": one.path,
            "method": answer.method,
            "label": answer.label,
            "probability": answer.probability,
            "target": answer.target,
            "special_share": answer.special_share,
        }
        if measured is not None:
            row["faithfulness"] = None
            with suppress(VitralError):  # a class without any probability here loses none
                measured.append(explainer.measure(answer, seed=seed + number))
                row["faithfulness"] = measured[-1].areas()
        patches = answer.patches()
        files = _write(answer, folder, name, language)
        files["json"] = str(folder / f"{name}.json")
        height, width = answer.picture.shape[:2]
        write_json(files["json"], row | {"height": height, "width": width, "patches": patches})
        yield row | {"patches": patches[:HEAVIEST], "files": files}


def write_measured(
    output: str | Path, measured: Sequence[Faithfulness], language: Language
) -> dict[str, Any]:
    """Write faithfulness.json and its curves, faithfulness.png; returns what is in the former."""
    folder = Path(output)
    found = compared(measured)
    write_json(folder / "faithfulness.json", found)
    write_faithfulness(folder / "faithfulness.png", measured, language)
    return found


def summary_lines(document: dict[str, Any], output: str | Path, language: Language) -> list[str]:
    """What `explain` has done, for people: where it lies, and how faithful it is."""
    texts, words = TEXTS[language], wording_of(language)
    images = sum("error" not in row for row in document["images"])
    lines = [
        texts["explained"].format(
            images=words.counted("image_count", images),
            method=document["method"],
            folder=output,
            compute=f"{document['device']}, {document['precision']}",
        )
    ]
    for kind in ("deletion", "insertion"):
        found = document.get("faithfulness", {}).get(kind)
        if found is None:
            continue
        values = {name: words.percent(found[name]) for name in ("area", "random")}
        key = "measured_one"
        if found["interval"] is not None:
            key = "measured"
            low, high = (words.signed(100 * one) for one in found["interval"])
            values |= {"difference": words.signed(100 * found["difference"]), "low": low, "high": high}
        lines.append(texts[key].format(kind=texts[kind], **values))
    return lines


def _write(answer: Explanation, folder: Path, name: str, language: Language) -> dict[str, str]:
    """Write the picture, the array and the heads of one explanation; returns where each is."""
    files = {"overlay": folder / f"{name}.png", "relevance": folder / f"{name}.npy"}
    save_picture(answer.overlay(), files["overlay"])
    with written_whole(files["relevance"]) as file:
        np.save(file, answer.relevance.astype(np.float32))
    if answer.heads is not None:
        files["heads"] = folder / f"{name}-heads.png"
        write_heads(files["heads"], answer, language)
    return {kind: str(path) for kind, path in files.items()}


def _names(wanted: Sequence[Wanted]) -> list[str]:
    """What each image's files are called: its own name, with a number where several have the same."""
    names, taken = [], set()
    for one in wanted:
        stem = "image" if one.path == "-" else PurePath(one.path).stem
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names
