"""Images on their way through a network that is looked into: from files or DATA, read in threads, batch by batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from vitral.data import LabelledImages
from vitral.device import Compute
from vitral.errors import ImageError
from vitral.images import Preprocessing
from vitral.inference import Normalise
from vitral.inference.stream import in_threads
from vitral.inspection import Activations, activations, batch_size
from vitral.model import VisionTransformer
from vitral.runs.machine import usable_cores
from vitral.workflow.progress import Display
from vitral.workflow.wanted import expand

# Of DATA, where no image is named.
IMAGES_OF_DATA = 16
# Images whose features are kept, to be shown as colours.
WITH_COMPONENTS = 8


@dataclass(frozen=True)
class Reader:
    """An image that is to be looked at: its name, and what reads it or why there is nothing to read."""

    path: str
    read: Callable[[], np.ndarray] | None
    error: str | None = None


@dataclass(frozen=True, eq=False)
class Seen:
    """What became of the images.

    Args:
        kept: of those that could be read, features of the first `WITH_COMPONENTS`; None where there are none.
        pictures: these, as the network sees them, uint8 `(height, width, channels)`.
        bad: {"path", "error"} of the others.
    """

    kept: Activations | None
    pictures: list[np.ndarray]
    bad: list[dict[str, str]]


@dataclass(frozen=True)
class Course:
    """A network, and the images on their way through it."""

    model: VisionTransformer
    preprocessing: Preprocessing
    compute: Compute
    display: Display

    def run(self, readers: Sequence[Reader]) -> Seen:
        """Look at all that can be read, batch by batch."""
        workers, size = usable_cores(), batch_size(self.model.config)
        fitted = in_threads(self._fitted, readers, workers, ahead=size + workers)
        names = iter(readers)
        parts: list[Activations] = []
        pictures: list[np.ndarray] = []
        bad: list[dict[str, str]] = []
        done = 0
        normalise = Normalise(self.preprocessing, self.compute)
        while batch := list(islice(fitted, size)):
            good = []
            for answer, reader in zip(batch, islice(names, len(batch)), strict=True):
                if isinstance(answer, str):
                    bad.append({"path": reader.path, "error": answer})
                else:
                    good.append(answer)
            done += len(batch)
            if good:
                pixels = torch.from_numpy(np.stack(good)).permute(0, 3, 1, 2)
                wanted = max(0, WITH_COMPONENTS - len(pictures))
                part = activations(self.model, normalise(pixels), features=wanted > 0)
                parts.append(part.with_features_of(wanted))
                pictures += [self.preprocessing.picture(one) for one in good[:wanted]]
            self.display.passing(done, len(readers), done - len(bad), len(bad))
        return Seen(Activations.joined(parts) if parts else None, pictures, bad)

    def _fitted(self, reader: Reader) -> np.ndarray | str:
        try:
            if reader.read is None:
                raise ImageError(reader.error or "there is nothing to read")
            return self.preprocessing.fit_image(reader.read())
        except ImageError as error:
            return str(error)


def readers_of_files(words: Sequence[str], preprocessing: Preprocessing) -> list[Reader]:
    """The images that files, folders and wildcards mean."""

    def reader(source: str | bytes) -> Callable[[], np.ndarray]:
        return lambda: preprocessing.read(source)

    return [
        Reader(one.path, reader(one.source) if one.source is not None else None, one.error)
        for one in expand(words)
    ]


def readers_of_data(data: LabelledImages) -> list[Reader]:
    """Some of DATA's images, spread evenly over its test images, or over all where there are none."""
    samples = data.split("test") or data.samples
    places = np.unique(np.linspace(0, len(samples) - 1, IMAGES_OF_DATA).round().astype(int))

    def reader(place: int) -> Callable[[], np.ndarray]:
        return lambda: data.read(samples[place])

    return [Reader(samples[place].path, reader(place)) for place in places.tolist()]
