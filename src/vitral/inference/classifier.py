"""A trained classifier: the model, its preprocessing and its class names, from a path to an answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
import torch

from vitral.data import label_text
from vitral.device import Compute
from vitral.errors import ImageError, UsageError
from vitral.images import Preprocessing
from vitral.inference.embedder import BATCH, Embedder, placed
from vitral.inference.explainer import Explainer
from vitral.inference.explanation import Explanation
from vitral.inference.forward import Normalise, answers_from
from vitral.inference.look import Look
from vitral.model import VisionTransformer
from vitral.weights import overrides_from, read_checkpoint


@dataclass(frozen=True)
class Prediction:
    """The answer for one image.

    Args:
        class_names: of the classifier.
        probabilities: float32 `(classes,)`, in their order.
        path: where the image came from, if it was a file.
        thresholds: of a multi-label classifier, one a class.
    """

    class_names: tuple[str, ...]
    probabilities: np.ndarray
    path: str | None = None
    thresholds: tuple[float, ...] | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The most probable class; multi-label, those that reach their thresholds: none, one or several."""
        if self.thresholds is None:
            return (self.class_names[int(self.probabilities.argmax())],)
        return tuple(name for name, there in zip(self.class_names, self._reached, strict=True) if there)

    @property
    def label(self) -> str:
        """The most probable class; multi-label, `a|b` for several and "" for none."""
        return label_text(self.labels)

    @property
    def probability(self) -> float:
        """Of `label`, between 0 and 1; multi-label, of the least certain of its answers, yes or no, to the classes."""
        if self.thresholds is None:
            return float(self.probabilities.max())
        return float(certainty(self.probabilities, self._reached))

    @property
    def _reached(self) -> np.ndarray:
        return self.probabilities >= np.array(self.thresholds)

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The most probable classes with their probabilities, the best first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.class_names[index], float(self.probabilities[index])) for index in order]


def certainty(probabilities: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """How probable the least certain answer of a multi-label classifier is.

    Args:
        probabilities: `(..., classes)`, that the class is there.
        answers: `(..., classes)` booleans, whether it was answered.

    Returns:
        `(...)`: the smallest of the probabilities of what was answered, yes or no.
    """
    return np.where(answers, probabilities, 1 - probabilities).min(axis=-1)


@dataclass(frozen=True)
class Classifier:
    """A network that names what an image shows. `Classifier.load` makes one.

    Args:
        thresholds: the probability of each class from which on an image has it, where an image may have several
            classes or none (multi-label); None where it has exactly one.
    """

    model: VisionTransformer
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    compute: Compute
    backend: str = "torch"
    thresholds: tuple[float, ...] | None = None

    @classmethod
    def load(
        cls,
        weights: str | Path,
        *,
        device: str = "auto",
        precision: str = "auto",
        image_size: int | tuple[int, int] | None = None,
        **said: Any,
    ) -> Self:
        """Load WEIGHTS that have a classifier, such as a run folder.

        Args:
            weights: a run folder, or any WEIGHTS that `vitral.load_model` takes.
            device, precision: as for `--device` and `--precision`; auto takes the fastest that is safe.
            image_size: (height, width) or one number; the positions are interpolated to it.
            said: what the files do not settle or settle wrongly, as in `vitral.weights.Overrides`: `mean`, `std`,
                `heads`, `activation` …

        Raises:
            UsageError: there are no such weights, device or precision, or the weights have no classifier.
            WeightsError: damaged files.
        """
        checkpoint = read_checkpoint(weights, overrides_from(said), image_size)
        if not checkpoint.class_names:
            remedy = f"train one with `vitral train DATA --from {weights}`"
            raise UsageError(f"{weights} has no classifier: {remedy}")
        model, preprocessing, compute = placed(checkpoint, device, precision, image_size)
        names, thresholds = checkpoint.class_names, checkpoint.thresholds
        return cls(model, preprocessing, names, compute, thresholds=thresholds)

    @property
    def multi_label(self) -> bool:
        """Whether it answers yes or no to each class, rather than with one of them."""
        return self.thresholds is not None

    @property
    def precision(self) -> str:
        """What the network computes in: fp32, bf16 or fp16."""
        return self.compute.precision

    @overload
    def predict(self, images: list[Any]) -> list[Prediction]: ...
    @overload
    def predict(self, images: Any) -> Prediction: ...
    def predict(self, images: Any) -> Prediction | list[Prediction]:
        """Name what images show.

        Args:
            images: a path, bytes, a PIL image, a numpy array `(height, width, channels)`, a torch tensor
                `(channels, height, width)`, or a list of these. Values of arrays and tensors are for a network of
                8-bit pictures 0..max of an integer type or 0..1; for a network of other images they are its own, as
                files hold them.

        Returns:
            One `Prediction`, or for a list a list.

        Raises:
            ImageError: an image cannot be read; the text names it.
        """
        if not isinstance(images, list):
            return self.predict([images])[0]
        answers = list(self.predict_each(images))
        for image, answer in zip(images, answers, strict=True):
            if isinstance(answer, ImageError):
                place = f"{image}: " if isinstance(image, (str, Path)) else ""
                raise ImageError(f"{place}{answer}") from answer
        return [answer for answer in answers if isinstance(answer, Prediction)]

    def predict_each(self, images: Sequence[Any]) -> Iterator[Prediction | ImageError]:
        """The same image by image, in their order; what cannot be read is answered by its error."""
        for start in range(0, len(images), BATCH):
            part = images[start : start + BATCH]
            pixels = [self._pixels(image) for image in part]
            good = [array for array in pixels if not isinstance(array, ImageError)]
            answers = iter(self.probabilities(np.stack(good)) if good else ())
            for image, array in zip(part, pixels, strict=True):
                if isinstance(array, ImageError):
                    yield array
                else:
                    path = str(image) if isinstance(image, (str, Path)) else None
                    yield Prediction(self.class_names, next(answers), path, self.thresholds)

    def embed(self, images: Any) -> np.ndarray:
        """What the network makes of images before its head: float32 `(dim,)`, or `(images, dim)` for a list.

        Takes what `predict` takes, and raises what it raises; see `Embedder`.
        """
        return Embedder(self.model, self.preprocessing, self.compute).embed(images)

    @overload
    def explain(self, images: list[Any], method: str | None = None, **asked: Any) -> list[Explanation]: ...
    @overload
    def explain(self, images: Any, method: str | None = None, **asked: Any) -> Explanation: ...
    def explain(
        self, images: Any, method: str | None = None, **asked: Any
    ) -> Explanation | list[Explanation]:
        """Show what the network looked at.

        Args:
            images: as for `predict`.
            method: "gradient", "rollout" or "attention"; see `Look`, also for what is taken where none is named.
            asked: the other fields of `Look`: `target="sushi"`, `layer=5`, `head=0`, `point=(120, 80)` …

        Returns:
            One `Explanation`, or for a list a list.

        Raises:
            UsageError: no such method, class, layer or head, or what does not go together.
            ImageError: an image cannot be read.
        """
        return self.explainer.explain(images, Look(method, **asked))

    @property
    def explainer(self) -> Explainer:
        """The same network, to be asked what it looked at."""
        return Explainer(self.model, self.preprocessing, self.compute, self.class_names, self.multi_label)

    @torch.inference_mode()
    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """What `Preprocessing.fit_image` gives, `(batch, height, width, channels)`, to float32 `(batch, classes)`.

        They sum to 1 over the classes, unless the classifier is multi-label.
        """
        images = Normalise(self.preprocessing, self.compute)(torch.from_numpy(pixels).permute(0, 3, 1, 2))
        return answers_from(self.model(images), self.multi_label).cpu().numpy()

    def _pixels(self, image: Any) -> np.ndarray | ImageError:
        try:
            return self.preprocessing.fit_image(self.preprocessing.read(image))
        except ImageError as error:
            return error
