"""The run folder: where each of its files stands, how a run gets a folder, and its small JSON files."""

import json
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitral.errors import UsageError, VitralError
from vitral.files import write_json, write_text

# The runs of folds and seeds stand below the whole under these names, and no others that a run.json might say.
PART = re.compile(r"(fold|seed)-(0|[1-9]\d*)", re.ASCII)


@dataclass(frozen=True)
class RunFolder:
    """A run on disk. Making one touches nothing; `path` need not exist."""

    path: Path

    @property
    def config(self) -> Path:
        """Architecture, preprocessing and class names."""
        return self.path / "config.json"

    @property
    def weights(self) -> Path:
        """The best weights; with `config` a complete model."""
        return self.path / "model.safetensors"

    @property
    def recipe(self) -> Path:
        """The whole resolved recipe."""
        return self.path / "recipe.toml"

    @property
    def run(self) -> Path:
        """Command, state, versions, machine, data: what makes the folder a run."""
        return self.path / "run.json"

    @property
    def splits(self) -> Path:
        """Which image is on which side."""
        return self.path / "splits.csv"

    @property
    def metrics(self) -> Path:
        """One JSON object an epoch."""
        return self.path / "metrics.jsonl"

    @property
    def evaluation(self) -> Path:
        """The figures of the finished run."""
        return self.path / "evaluation.json"

    @property
    def predictions(self) -> Path:
        """The probabilities of every validation and test image."""
        return self.path / "predictions.csv"

    @property
    def second_look(self) -> Path:
        """The labels worth a second look, where there are folds."""
        return self.path / "second_look.csv"

    @property
    def batch(self) -> Path:
        """The first batch as the network sees it."""
        return self.path / "batch.png"

    @property
    def curves(self) -> Path:
        """Loss and accuracy by epoch."""
        return self.path / "curves.png"

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.path / "report.html"

    @property
    def checkpoints(self) -> Path:
        """The folder that resuming needs."""
        return self.path / "checkpoints"

    @classmethod
    def next_free(cls, name: str, parent: str | Path = "runs") -> "RunFolder":
        """Make the first of PARENT/NAME-1, PARENT/NAME-2, … that does not exist, and return it.

        Making the folder is what reserves it, so two runs that start together get two folders.
        Characters of `name` that a folder's name cannot have everywhere become hyphens.
        """
        parent = Path(parent)
        parent.mkdir(parents=True, exist_ok=True)
        stem = re.sub(r"[^\w.]+", "-", name).strip("-.") or "run"
        number = 1
        while True:
            try:
                (parent / f"{stem}-{number}").mkdir()
            except FileExistsError:
                number += 1
            else:
                return cls(parent / f"{stem}-{number}")

    def parts(self) -> "tuple[RunFolder, ...]":
        """The runs of a cross-validation or of several seeds that stand below this one so far."""
        names = self.read_run().get("parts", ()) if self.exists() else ()
        found = (RunFolder(self.path / name) for name in names if PART.fullmatch(str(name)))
        return tuple(part for part in found if part.exists())

    def exists(self) -> bool:
        """Whether a run stands here, finished or not: a `run.json` that vitral wrote."""
        try:
            content = json.loads(self.run.read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return False
        return isinstance(content, dict) and "state" in content

    def refuse_if_present(self, overwrite: bool = False) -> None:
        """Make sure that a new run may be written here. Deletes nothing.

        An absent folder will do, and one that holds nothing but hidden files.

        Raises:
            UsageError: a run stands here and `overwrite` is false; or here is something that is no run,
                which is never overwritten.
        """
        if self.exists():
            if not overwrite:
                raise UsageError(
                    f"{self.path} already holds a run: give --overwrite to replace it, or another --output"
                )
        elif self.path.is_dir():
            if any(not entry.name.startswith(".") for entry in self.path.iterdir()):
                raise UsageError(
                    f"{self.path} holds files that are no run and are never overwritten: give another --output"
                )
        elif self.path.exists() or self.path.is_symlink():
            raise UsageError(f"{self.path} is no folder: give another --output")

    def clear(self) -> None:
        """Remove a run's files, those of its checkpoints and of runs below it too, and leave whatever else is there.

        Meant for the moment when the new run has read all its input, which may be the old run's weights.

        Raises:
            UsageError: here is something that is no run.
        """
        self.refuse_if_present(overwrite=True)
        for part in self.parts():
            part.clear()
            with suppress(OSError):  # somebody else's files may stand in it
                part.path.rmdir()
        for file in self._files():
            for leftover in self.path.glob(f".{file.name}.*.part"):
                leftover.unlink()
            if file.is_dir() and not file.is_symlink():
                shutil.rmtree(file)
            else:
                file.unlink(missing_ok=True)

    def read_run(self) -> dict[str, Any]:
        """The content of `run.json`.

        Raises:
            UsageError: the folder holds no run.
        """
        if not self.exists():
            raise UsageError(f"{self.path} is no run, it has no run.json: give a folder that training left")
        return json.loads(self.run.read_text("utf-8"))

    def write_run(self, content: Mapping[str, Any]) -> None:
        """Write `run.json` whole. `content` has at least "state", which tells a run from other folders."""
        if "state" not in content:
            raise ValueError('run.json needs "state"')
        write_json(self.run, dict(content))

    def update_run(self, **changes: Any) -> None:
        """Replace some of the top-level entries of `run.json`, keeping the others."""
        self.write_run(self.read_run() | changes)

    def read_evaluation(self) -> dict[str, Any]:
        """The content of `evaluation.json`.

        Raises:
            VitralError: there is none, since the run has not come so far, or it is damaged.
        """
        try:
            return json.loads(self.evaluation.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise VitralError(
                f"{self.path} has no evaluation.json: finish the run with `vitral train --resume {self.path}`, "
                f"or measure what there is with `vitral evaluate {self.path}`"
            ) from error

    def read_metrics(self) -> list[dict[str, Any]]:
        """The epochs in `metrics.jsonl`, oldest first; none where there is no such file.

        A last line that breaks off, as a copy of a running run may have it, is left out.

        Raises:
            VitralError: another line is damaged.
        """
        try:
            lines = self.metrics.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        epochs = []
        for number, line in enumerate(lines, start=1):
            try:
                epochs.append(json.loads(line))
            except ValueError as error:
                if number < len(lines):
                    raise VitralError(
                        f"{self.metrics} is damaged in line {number}: restore the file, or delete that line"
                    ) from error
        return epochs

    def append_metrics(self, epoch: Mapping[str, Any]) -> None:
        """Add one epoch to `metrics.jsonl`, written whole.

        Epochs from `epoch["epoch"]` on that stand there already go: a resumed run repeats what came after
        its checkpoint.
        """
        epochs = [earlier for earlier in self.read_metrics() if earlier["epoch"] < epoch["epoch"]]
        lines = [json.dumps(entry, ensure_ascii=False, allow_nan=False) for entry in [*epochs, dict(epoch)]]
        write_text(self.metrics, "".join(f"{line}\n" for line in lines))

    def _files(self) -> tuple[Path, ...]:
        """All that a run consists of; `run.json` last, so that a removal cut short still leaves a run."""
        return (
            self.config,
            self.weights,
            self.recipe,
            self.splits,
            self.metrics,
            self.evaluation,
            self.predictions,
            self.second_look,
            self.batch,
            self.curves,
            self.report,
            self.checkpoints,
            self.run,
        )
