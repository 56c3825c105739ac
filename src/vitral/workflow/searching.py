"""`search`: the images in a folder of embeddings that are nearest to one image, by cosine."""

import os
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from vitral.errors import UsageError, WeightsError
from vitral.inference import Embedder
from vitral.language import choose_language
from vitral.workflow.embedding import describe_making
from vitral.workflow.parts import Made, count_rows, find_parts, read_description, read_vectors
from vitral.workflow.progress import Display


def search(
    folder: str | PathLike[str],
    image: Any,
    *,
    top: int = 10,
    weights: str | PathLike[str] | None = None,
    backend: str = "auto",
    device: str = "auto",
    precision: str | None = None,
    language: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """The images of a folder that `embed` wrote whose vectors make the smallest angle with that of `image`.

    Every vector is looked at, part by part, so memory stays small however many there are.

    Args:
        folder: of embeddings.
        image: what `Embedder.embed` takes.
        top: how many.
        weights: where the folder's WEIGHTS are now; None: where they were.
        backend, device: as for `Classifier.load`.
        precision: the same; None: what the folder's vectors were computed in.
        language: "en" or "pt", of the bar.
        progress: whether to show one, on standard error, where it takes a while.

    Returns:
        {"nearest": [{"path", "similarity"}, …], "images", "device", "backend", "precision"}: the nearest first, each
        with the cosine of the angle, and of equal ones the earlier; how many vectors were looked at.

    Raises:
        UsageError: the folder holds no embeddings, or `top` is below 1.
        WeightsError: the weights are not those that the vectors were made with.
        ImageError: the image cannot be read.
    """
    if top < 1:
        raise UsageError(f"--top {top} names no image: ask for 1 or more")
    place = Path(folder)
    made = read_description(place)
    if made is None:
        raise UsageError(f"{folder} holds no embeddings: write some with `vitral embed`")
    embedder = _embedder(
        place, made, None if weights is None else os.fspath(weights), backend, device, precision
    )
    query = embedder.embed([image])[0]
    query /= max(float(np.linalg.norm(query)), _TINY)
    parts = find_parts(place)
    images, looked_at, best = sum(count_rows(part, made) for part in parts), 0, _Best(top)
    with Display(choose_language(language), shown=progress) as display:
        for part in parts:
            paths, vectors = read_vectors(part, made)
            lengths = np.maximum(np.linalg.norm(vectors, axis=1), _TINY)
            best.add(paths, np.clip(vectors @ query / lengths, -1, 1))
            looked_at += len(paths)
            display.passing(looked_at, images, looked_at, 0)
    return {
        "nearest": [{"path": path, "similarity": similarity} for path, similarity in best.found],
        "images": images,
        "device": embedder.device,
        "backend": embedder.backend,
        "precision": embedder.precision,
    }


_TINY = float(np.finfo(np.float32).tiny)  # a vector of zeros is like nothing: similarity 0


class _Best:
    """The most similar of what has been seen, the best first."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.found: list[tuple[str, float]] = []

    def add(self, paths: list[str], similarities: np.ndarray) -> None:
        order = np.argsort(-similarities, kind="stable")[: self.count]
        new = [(paths[place], float(similarities[place])) for place in order]
        self.found = sorted(self.found + new, key=lambda one: -one[1])[: self.count]  # stable too


def _embedder(
    folder: Path, made: Made, weights: str | None, backend: str, device: str, precision: str | None
) -> Embedder:
    """What made the folder's vectors, checked to be the same."""
    name = weights or made.weights
    if weights is None and os.path.isabs(name) and not os.path.exists(name):
        raise UsageError(f"the weights behind {folder} are no longer at {name}: say where, with --weights")
    said: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in made.said.items()
    }
    size = None if made.image_size is None else (made.image_size[0], made.image_size[1])
    embedder = Embedder.load(
        name,
        pool=None if made.architecture.get("pool") == made.pool else made.pool,
        backend=backend,
        device=device,
        precision=precision or made.precision,
        image_size=size,
        **said,
    )
    now = describe_making(name, said, size, embedder)
    difference = made.difference(replace(now, precision=made.precision))
    if difference is not None:
        raise WeightsError(
            f"the vectors in {folder} were made {difference}: give the same weights with --weights, "
            "or start anew with `vitral embed --overwrite`"
        )
    return embedder
