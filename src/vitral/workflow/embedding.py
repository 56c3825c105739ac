"""`embed`: vectors of any number of images, in parts that a kill cannot spoil; the same call again goes on."""

import json
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from time import monotonic
from typing import Any

from vitral.errors import ImageError, UsageError, VitralError
from vitral.files import locked
from vitral.inference import Embedder
from vitral.language import choose_language
from vitral.runs.machine import usable_cores
from vitral.weights import find_source
from vitral.workflow.parts import (
    LOCK,
    Made,
    PartWriter,
    error_table,
    find_parts,
    number_of,
    read_description,
    read_paths,
    remove_embeddings,
    remove_leftovers,
    write_description,
)
from vitral.workflow.progress import Display
from vitral.workflow.wanted import PathSet, each_wanted

MOST_WORKERS = 32


def embed(
    weights: str | PathLike[str],
    images: str | PathLike[str] | Sequence[str | PathLike[str]],
    output: str | PathLike[str],
    *,
    pool: str | None = None,
    overwrite: bool = False,
    workers: int | None = None,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    image_size: int | tuple[int, int] | None = None,
    language: str | None = None,
    progress: bool = True,
    **said: Any,
) -> dict[str, Any]:
    """Write the vectors of images into a folder of Parquet parts.

    What lies there already is not computed again, so that the same call goes on where another one was stopped or
    killed. Memory stays small however many images there are.

    Args:
        weights: any WEIGHTS, with a classifier or without.
        images: files, folders and wildcards.
        output: the folder; see docs/en/manual/embeddings.md.
        pool: "token", "average" or "token_average"; None: what the network's own head sees.
        overwrite: start anew, without the vectors that lie in the folder.
        workers: threads that read images; None: one a core.
        backend, device, image_size, said: as for `Classifier.load`.
        precision: the same; "auto" is that of the vectors which lie in the folder.
        language: "en" or "pt", of the bar.
        progress: whether to show one, on standard error.

    Returns:
        {"folder", "images", "new", "bad", "parts", "dim", "pool", "image_size", "device", "backend", "precision",
        "seconds", "images_per_second"}: vectors in the folder, those computed now, and files that could not be read,
        which errors.csv lists.

    Raises:
        UsageError: no such weights, device or precision, or the folder's vectors were made otherwise.
        VitralError: another process writes to the folder, or something else lies among the parts.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers} reads no image: give 1 or more")
    words = [os.fspath(word) for word in ([images] if isinstance(images, (str, PathLike)) else images)]
    folder = Path(output)
    there = None if overwrite else read_description(folder)
    if (
        there is not None and precision == "auto"
    ):  # which may be measured, and come out otherwise the next time
        precision = there.precision
    embedder = Embedder.load(
        os.fspath(weights),
        pool=pool,
        backend=backend,
        device=device,
        precision=precision,
        image_size=image_size,
        **said,
    )
    made = describe_making(os.fspath(weights), said, image_size, embedder)
    began = monotonic()
    with locked(folder / LOCK), Display(choose_language(language), shown=progress) as display:
        if overwrite:
            remove_embeddings(folder)
        known, number = _what_is_there(folder, made)
        before = len(known)
        write_description(folder, made)
        with error_table(folder) as errors, PartWriter(folder, made, number) as writer:
            course = _Course(words, known, writer, errors, display)
            course.run(embedder, workers or min(usable_cores(), MOST_WORKERS))
    seconds = monotonic() - began
    return {
        "folder": str(folder),
        "images": before + course.new,
        "new": course.new,
        "bad": course.bad,
        "parts": len(find_parts(folder)),
        "dim": made.dim,
        "pool": made.pool,
        "image_size": list(embedder.config.image_size),
        "device": embedder.device,
        "backend": embedder.backend,
        "precision": embedder.precision,
        "seconds": seconds,
        "images_per_second": course.new / seconds,
    }


def describe_making(
    weights: str,
    said: Mapping[str, Any],
    image_size: int | tuple[int, int] | None,
    embedder: Embedder,
) -> Made:
    """How an embedder makes vectors, and what it takes to have it again."""
    size = [image_size, image_size] if isinstance(image_size, int) else image_size
    values = {
        "weights": os.path.abspath(weights) if os.path.exists(weights) else weights,
        "weights_sha256": find_source(weights).hash(),
        "said": dict(said),
        "image_size": size and list(size),
        "architecture": embedder.config.to_dict(),
        "preprocessing": embedder.preprocessing.to_dict(),
        "pool": embedder.pooling,
        "dim": embedder.dim,
        "precision": embedder.precision,
    }
    return Made(**json.loads(json.dumps(values)))  # as files give it back: lists for tuples


@dataclass
class _Course:
    """The images that `words` mean, but for the known ones, on their way into parts.

    Args:
        words: files, folders, wildcards.
        known: paths that have a vector.
        writer, errors, display: who is given vectors, what could not be read, and how far it is.
    """

    words: Sequence[str]
    known: PathSet
    writer: PartWriter
    errors: Any
    display: Display
    total: int = 0
    passed: int = 0
    new: int = 0
    bad: int = 0

    def run(self, embedder: Embedder, workers: int) -> None:
        """Count the files, then embed those that are new."""
        asked: deque[str] = deque()  # paths whose answer is still to come
        try:
            for _ in each_wanted(self.words):
                self.total += 1
                self._tell()
            for answer in embedder.embed_each(self._sources(asked), workers):
                path = asked.popleft()
                if isinstance(answer, ImageError):
                    self._note(path, str(answer))
                    continue
                self.writer.add(path, answer)
                self.new += 1
                self._pass()
        except KeyboardInterrupt as error:
            error.add_note(
                f"what is done lies in {self.writer.folder}, and the same command goes on from there"
            )
            raise

    def _sources(self, asked: deque[str]) -> Iterator[str]:
        """The paths of images that are new, each put into `asked` too."""
        for one in each_wanted(self.words):
            path = str(Path(one.path))
            problem = one.error or _why_no_text(path)
            if problem is not None:
                self._note(path, problem)
            elif self.known.add(path):
                asked.append(path)
                yield path
            else:
                self._pass()

    def _note(self, path: str, problem: str) -> None:
        self.errors.writerow((path, problem))
        self.bad += 1
        self._pass()

    def _pass(self) -> None:
        self.passed += 1
        self._tell()

    def _tell(self) -> None:
        self.display.passing(self.passed, self.total, self.new, self.bad)


def _what_is_there(folder: Path, made: Made) -> tuple[PathSet, int]:
    """The paths that have a vector in a folder, and the number of its next part.

    Raises:
        UsageError: the vectors were made otherwise.
        VitralError: something else lies among the parts, or they contradict each other.
    """
    remove_leftovers(folder)
    there = read_description(folder)
    difference = there.difference(made) if there is not None else None
    if difference is not None:
        raise UsageError(
            f"the vectors in {folder} were made {difference}: ask for the same, name another --output, "
            "or start anew with --overwrite"
        )
    known, parts = PathSet(), find_parts(folder)
    for part in parts:
        for path in read_paths(part, made):
            if not known.add(path):
                raise VitralError(f"{part} repeats {path} of an earlier part: delete it")
    return known, number_of(parts[-1]) + 1 if parts else 0


def _why_no_text(path: str) -> str | None:
    """Why a path cannot stand in a Parquet file, whose text is UTF-8; None if it can."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "the file's name is not UTF-8: rename it"
    return None
