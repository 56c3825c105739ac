"""`tune`: backends, precisions, merging and image sizes tried on this machine, speed against accuracy."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from time import monotonic
from typing import Any

from vitral.data import SPLITS, open_data
from vitral.data.scan import Progress
from vitral.device import choose, describe
from vitral.errors import UsageError
from vitral.files import write_json
from vitral.inference import Classifier
from vitral.inference.backends import PRECISIONS
from vitral.inference.loading import Request, checkpoint_of
from vitral.language import Sentence, choose_language, count_of, in_both
from vitral.model import ViTConfig
from vitral.reporting.tuning import write_tuning
from vitral.reporting.tuning_texts import size_text
from vitral.runs import RunFolder, machine, versions
from vitral.weights import Checkpoint
from vitral.workflow.candidates import Candidate, pairs
from vitral.workflow.measuring import Task, other_images, own_images
from vitral.workflow.options import columns_of, read_options
from vitral.workflow.progress import Display
from vitral.workflow.trials import Bench, drawn
from vitral.workflow.tuning_search import Search, Wanted

NUMBERS, FIGURE = "tune.json", "tune.png"
BATCH, BATCH_ON_GPU = 16, 32
FORMATS = {"torch": "pt2", "openvino": "xml", "onnx": "onnx"}


def tune(
    run: str | PathLike[str],
    data: str | PathLike[str] | None = None,
    *,
    split: str | None = None,
    output: str | PathLike[str] | None = None,
    overwrite: bool = False,
    max_drop: float = 0.5,
    images: int = 500,
    backends: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    merging: Sequence[int] | None = None,
    image_sizes: Sequence[int | tuple[int, int]] | None = None,
    batch_size: int | None = None,
    time_limit: float | None = None,
    device: str = "auto",
    columns: str | Mapping[str, str] | None = None,
    data_root: str | PathLike[str] | None = None,
    group_by: str | None = None,
    language: str | None = None,
    progress: bool = True,
    **said: Any,
) -> dict[str, Any]:
    """Find out how a classifier runs fastest on this machine, and what that costs.

    First every backend is tried in each of its precisions; then the fastest of their front with more merging and with
    smaller images, and with both. At the end the speed of what remains on or near the front is measured in turns.

    Args:
        run: a run folder, or WEIGHTS with a classifier.
        data: DATA; the run's own, with the run's own splits, unless said. DATA without splits is taken whole.
        split: "train", "validation" or "test"; unless said validation, and test where there is none.
        output: the folder for tune.json and tune.png; RUN/tune unless said, of other WEIGHTS tune-NAME.
        overwrite: replace a tuning that lies there.
        max_drop: points of accuracy (of multi-label models, of mean average precision) that the recommendation may lose
            against fp32 in torch.
        images: how many are answered at most; each label keeps its share.
        backends, precisions, merging, image_sizes: what is tried beside the default and fp32 in torch, instead of all
            that there is.
        batch_size: images at once; 16, on a GPU 32, unless said.
        time_limit: seconds for all of it; what it leaves no time for is not tried.
        device, said: as for `Classifier.load`.
        columns, data_root, group_by: of `data`, as for `evaluate`.
        language: "en" or "pt", of the figure; the system's unless said.
        progress: whether to show a bar, on standard error.

    Returns:
        What tune.json holds: "candidates", those of the front first and from the fastest on; the places among them of
        "recommended", "default" and "reference" (fp32 in torch); "left_out" with the reasons; "usage", what to type.

    Raises:
        UsageError: no such run, split, backend, precision or device, data are needed, or a tuning lies in the folder.
        DataError: there is no image of the split, or its images do not go with the model.
    """
    began, weights, spoken = monotonic(), fspath(run), choose_language(language)
    _check(split, max_drop, images, batch_size, backends, precisions)
    folder = Path(output) if output is not None else _place_for(weights)
    if (folder / NUMBERS).exists() and not overwrite:
        raise UsageError(
            f"{folder} holds a tuning already: name another --output, or replace it with --overwrite"
        )
    checkpoint, compute = checkpoint_of(Request(weights, said=said)), choose(device)
    config, on_gpu = checkpoint.config, compute.device.type != "cpu"
    wanted = Wanted(
        pairs(backends, precisions),
        _counts(merging, config),
        _sizes(image_sizes, config),
        time_limit,
        max_drop,
    )
    with Display(spoken, shown=progress) as display:
        splits = (split,) if split is not None else ("validation", "test")
        reading = {"columns": columns_of(columns), "data_root": data_root, "group_by": group_by}
        task = _images(weights, data, splits, checkpoint, reading, display.counting)
        notes = [*task.notes, *_notes(task, images, checkpoint)]
        yardstick = Classifier.load(weights, device=device, **said)
        batch = batch_size or (BATCH_ON_GPU if on_gpu else BATCH)
        bench = Bench(weights, said, device, checkpoint, drawn(task, images), batch, yardstick)
        reference = Candidate("torch", "fp32", config.merge, config.image_size)
        default = replace(reference, backend=yardstick.backend, precision=yardstick.precision)
        search = Search(bench, wanted, reference, default, display, on_gpu)
        try:
            search.run()
        except KeyboardInterrupt as error:
            error.add_note("nothing was written; --time-limit ends with what was measured until then")
            raise
    about = machine()
    found = {
        "name": Path(weights).name or weights,
        "weights": weights,
        "weights_sha256": checkpoint.hash(),
        "data": task.data.spec,
        "split": task.split,
        "images": len(bench.task.samples),
        "measure": search.measure,
        "max_drop": max_drop,
        "batch_size": bench.batch,
        "device": describe(compute.device) if on_gpu else about["processor"],
        **search.document(),
        "notes": list(map(in_both, notes)),
        "machine": about,
        "versions": versions(),
        "files": {"numbers": str(folder / NUMBERS), "figure": str(folder / FIGURE)},
    }
    found["usage"] = usage_of(found, config, device, said, _taught(weights))
    found["seconds"] = round(monotonic() - began, 1)
    write_tuning(folder / FIGURE, found, spoken)
    write_json(folder / NUMBERS, found)
    return found


def _check(
    split: str | None,
    max_drop: float,
    images: int,
    batch_size: int | None,
    backends: Sequence[str] | None,
    precisions: Sequence[str] | None,
) -> None:
    """UsageError where something was asked for that there is not."""
    of_all = {precision for known in PRECISIONS.values() for precision in known if precision != "auto"}
    for asked, known, what in (
        ((split,) if split else (), SPLITS, "split"),
        (backends or (), tuple(PRECISIONS), "backend"),
        (precisions or (), tuple(sorted(of_all)), "precision"),
    ):
        for name in asked:
            if name not in known:
                raise UsageError(f"there is no {what} {name!r}: choose one of {', '.join(known)}")
    if not max_drop >= 0:
        raise UsageError(f"--max-drop is {max_drop:g}: say how many points may be lost, 0 or more")
    for name, value in (("--images", images), ("--batch-size", batch_size)):
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}: give 1 or more")


def _place_for(weights: str) -> Path:
    """RUN/tune, or of other WEIGHTS tune-NAME in the current folder."""
    folder = RunFolder(Path(weights))
    if folder.exists():
        return folder.path / "tune"
    return Path("tune-" + (re.sub(r"[^\w.]+", "-", Path(weights).name).strip("-.") or "weights"))


def _counts(merging: Sequence[int] | None, config: ViTConfig) -> list[int] | None:
    """ConfigError where one is no R."""
    return None if merging is None else [config.replace(merge=count).merge for count in merging]


def _sizes(
    image_sizes: Sequence[int | tuple[int, int]] | None, config: ViTConfig
) -> list[tuple[int, int]] | None:
    """ConfigError where one cannot be cut into the network's patches."""
    if image_sizes is None:
        return None
    return [config.replace(image_size=size).image_size for size in image_sizes]


def _images(
    weights: str,
    data: str | PathLike[str] | None,
    splits: Sequence[str],
    checkpoint: Checkpoint,
    reading: Mapping[str, Any],
    progress: Progress,
) -> Task:
    """The images to be answered, before any are drawn."""
    folder = RunFolder(Path(weights))
    if data is None:
        task = own_images(folder, splits, progress)
    else:
        bands = checkpoint.preprocessing.bands
        task = other_images(
            folder, open_data(fspath(data), bands=bands, progress=progress, **reading), splits
        )
    task.check_kind(checkpoint.thresholds is not None)
    return task


def _notes(task: Task, images: int, checkpoint: Checkpoint) -> list[str]:
    """What a person should know about the images, beside what the task says."""
    notes = []
    if task.split == "test":
        notes.append(
            Sentence(
                "measured on test images: nothing was chosen on them so far, and who chooses by these figures chooses "
                "on them; measure the choice on others",
                "medido nas imagens de teste: nada foi escolhido com elas até agora, e quem escolhe por estes números "
                "escolhe com elas; meça a escolha em outras",
            )
        )
    if task.split == "train":
        notes.append(
            Sentence(
                "measured on training images, which the model knows: others lose more",
                "medido nas imagens de treino, que o modelo conhece: outras perdem mais",
            )
        )
    if len(task.samples) > images:
        notes.append(
            Sentence(
                f"{count_of(images, 'image')} of {len(task.samples):,}, each class with its share: --images takes more",
                f"{count_of(images, 'imagem|imagens', 'pt')} de "
                f"{count_of(len(task.samples), 'imagem|imagens', 'pt')}, cada classe com a sua parte: --images toma "
                "mais",
            )
        )
    known = set(checkpoint.class_names)
    strange = sum(any(name not in known for name in names) for names in task.truth())
    if strange:
        notes.append(
            Sentence(
                f"{count_of(strange, 'image')} with labels that the model does not know: these count as wrong",
                f"{count_of(strange, 'imagem|imagens', 'pt')} com rótulos que o modelo não conhece: contam como erro",
            )
        )
    return notes


def usage_of(
    found: Mapping[str, Any],
    config: ViTConfig,
    device: str,
    said: Mapping[str, Any],
    taught: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """What to type to use what is recommended: "predict", and "export" for a file to deploy.

    Args:
        found: what tune.json holds.
        config: of the network itself.
        device, said: as for `tune`.
        taught: DATA that the run learned from, as options of `vitral export`; an int8 file is fitted to it.
    """
    best = found["candidates"][found["recommended"]]
    options = {"precision": best["precision"]}
    if tuple(best["image_size"]) != config.image_size:
        options["image_size"] = size_text(best["image_size"])
    merge = {"merge": best["merge"]} if best["merge"] != config.merge else {}
    options |= {name: _word(value) for name, value in {**said, **merge}.items()}
    predict = {"backend": best["backend"]} | options
    if device != "auto":
        predict["device"] = device
    export = {"format": best["backend"]} | options
    if best["precision"] == "int8":
        export |= dict(taught or {"calibrate": "DATA"}) | {"max_drop": f"{found['max_drop']:g}"}
    name = re.sub(r"[^\w.]+", "-", found["name"]).strip("-.") or "network"
    return {
        "predict": _command("predict", found["weights"], "IMAGE", predict),
        "export": _command("export", found["weights"], f"{name}.{FORMATS[best['backend']]}", export),
    }


def _taught(weights: str) -> dict[str, str] | None:
    """What a run learned from, as options of `vitral export`; None of other WEIGHTS."""
    folder = RunFolder(Path(weights))
    if not folder.exists():
        return None
    options, _ = read_options(folder)
    said = {"calibrate": options.data, "columns": options.columns, "data_root": options.data_root}
    return {name: value for name, value in said.items() if value is not None}


def _command(command: str, weights: str, what: str, options: Mapping[str, str]) -> str:
    words = ["vitral", command, weights, what]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", value]
    return shlex.join(words)


def _word(value: Any) -> str:
    """A value as the command line takes it."""
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
