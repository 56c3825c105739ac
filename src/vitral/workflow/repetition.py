"""Several trainings in place of one: every fold of a cross-validation, or the same training from several seeds.

Each is a complete run in a folder of its own below the whole's. What trains, a network or a probe, is given as a
function, and what is finished already is not done again.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitral.data import LabelledImages, check_trainable, count_folds, fold, write_splits
from vitral.errors import DataError, UsageError, VitralError
from vitral.files import write_text
from vitral.runs import RunFolder, put_together
from vitral.workflow.progress import Display


@dataclass(frozen=True)
class Part:
    """One training of several.

    Args:
        name: of its folder below the whole's: fold-1, seed-0.
        data: the images on their sides.
        seed: of everything random in it.
    """

    name: str
    data: LabelledImages
    seed: int

    def folder(self, whole: RunFolder) -> RunFolder:
        """Where its run stands."""
        return RunFolder(whole.path / self.name)

    def is_finished(self, whole: RunFolder) -> bool:
        """Whether there is nothing left to do."""
        folder = self.folder(whole)
        return folder.exists() and folder.read_run()["state"] == "finished"


def check_request(
    folds: int | None, seeds: Sequence[int] | None, seed: int, weights: object, output: Path | None
) -> None:
    """Refuse what cannot be meant, before anything is looked at.

    Raises:
        UsageError: folds and seeds together, fewer than two of either, a seed twice, or weights from a run that the
            new ones would replace while they still need it.
    """
    if folds is not None and seeds is not None:
        raise UsageError("--folds and --seeds exclude each other: give one of them")
    if folds is not None and folds < 2:
        raise UsageError(f"--folds {folds} leaves nothing to learn from: ask for 2 or more, such as 5")
    if seeds is not None:
        if len(set(seeds)) < max(2, len(seeds)) or min(seeds) < 0:
            given = ",".join(map(str, seeds))
            raise UsageError(f"--seeds {given} is not two or more different numbers from 0 on, such as 0,1,2")
        if seed:
            raise UsageError("--seeds says all seeds: leave out --seed")
    if (folds is None and seeds is None) or weights is None or output is None:
        return
    if RunFolder(output).exists() and Path(str(weights)).resolve().is_relative_to(output.resolve()):
        raise UsageError(
            f"{weights} lies in {output}, which would be replaced while the weights are still needed: "
            "give another --output"
        )


def parts_of(data: LabelledImages, seeds: Sequence[int] | None, seed: int) -> tuple[Part, ...]:
    """The trainings asked for: one a seed, or without seeds one a fold.

    Args:
        data: all images; opened with folds, where there are no seeds.
        seeds: of the trainings.
        seed: of every fold's training.

    Raises:
        DataError: in one of the folds no image of some class trains.
    """
    if seeds is not None:
        return tuple(Part(f"seed-{one}", data, one) for one in seeds)
    parts = [Part(f"fold-{n}", fold(data, n), seed) for n in range(1, count_folds(data) + 1)]
    for part in parts:
        try:
            check_trainable(part.data)
        except DataError as error:
            raise DataError(f"{part.name}: {error}") from None
    return tuple(parts)


def begin(
    folder: RunFolder, parts: Sequence[Part], data: LabelledImages, recipe: str, facts: dict[str, Any]
) -> None:
    """Make the folder of the whole with all that resuming needs.

    Args:
        folder: free, or to be replaced.
        parts: all of them.
        data: all images.
        recipe: the content of recipe.toml.
        facts: what run.json says besides the parts and the state.
    """
    folder.clear()
    kind = "folds" if count_folds(data) else "seeds"
    try:
        folder.write_run(facts | {"kind": kind, "parts": [part.name for part in parts], "state": "running"})
        write_splits(folder.splits, data.samples, data.class_names)
        write_text(folder.recipe, recipe)
    except BaseException:
        with suppress(VitralError, OSError):
            folder.update_run(state="failed")
        with suppress(OSError):
            folder.path.rmdir()  # where not even run.json could be written
        raise


def run_parts(
    folder: RunFolder,
    parts: Sequence[Part],
    run_one: Callable[[Part, int], None],
    display: Display,
    again: str | None = None,
) -> None:
    """Make all parts that are not finished, one after the other, and put their results together.

    Args:
        folder: of the whole, as `begin` left it.
        parts: all of them.
        run_one: makes the run of one part in its folder, or goes on with one that stopped on its way; it is told how
            many come after it.
        display: shows which part is at work.
        again: what goes on after an interruption; None: `vitral train --resume`.

    Raises:
        KeyboardInterrupt: after Ctrl-C, with a note of how to go on.
    """
    facts = folder.read_run()
    word = display.texts["fold" if facts["kind"] == "folds" else "seed"]
    folder.update_run(state="running")
    try:
        for number, part in enumerate(parts, start=1):
            if not part.is_finished(folder):
                display.part = f"{word} {number}/{len(parts)}"
                run_one(part, len(parts) - number)
        display.part = ""
        put_together(folder)
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        with suppress(VitralError, OSError):
            folder.update_run(state="interrupted" if interrupted else "failed")
        if interrupted:
            getattr(error, "__notes__", []).clear()
            resume = again or f"`vitral train --resume {folder.path}`"
            error.add_note(f"{resume} goes on with what is not finished")
        raise
    done = [(part.name, part.folder(folder).read_run()) for part in parts]
    folder.update_run(
        state="finished",
        seconds=round(sum(one["seconds"] for _, one in done), 1),
        notes=facts["notes"] + _new_notes(facts["notes"], done),
    )


def _new_notes(known: list[Any], parts: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, str]]:
    """What the parts found out that the whole does not say yet, each sentence with the part's name."""
    return [
        {language: f"{name}: {text}" for language, text in note.items()}
        for name, facts in parts
        for note in facts["notes"]
        if note not in known
    ]
