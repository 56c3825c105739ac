"""A trained classifier: the network, its preprocessing and its class names, from a path to an answer. No torch."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np

from vitral.errors import ImageError
from vitral.images import Preprocessing
from vitral.inference.loaded import Loaded
from vitral.inference.loading import Request, open_backend
from vitral.inference.stream import READERS, in_batches

if TYPE_CHECKING:
    from vitral.device import Compute
    from vitral.inference.embedder import Embedder
    from vitral.inference.explainer import Explainer
    from vitral.inference.explanation import Explanation
    from vitral.model import VisionTransformer


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
        return "|".join(self.labels)

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
class Classifier(Loaded):
    """A network that names what an image shows. `Classifier.load` makes one.

    Args:
        network, preprocessing, request: see `Loaded`; the network gives probabilities.
        class_names: one for each probability.
        thresholds: the probability of each class from which on an image has it, where an image may have several
            classes or none (multi-label); None where it has exactly one.
    """

    class_names: tuple[str, ...]
    thresholds: tuple[float, ...] | None = None

    @classmethod
    def load(
        cls,
        weights: str | Path,
        *,
        backend: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        image_size: int | tuple[int, int] | None = None,
        compile: bool = False,
        **said: Any,
    ) -> Self:
        """Load WEIGHTS that have a classifier, such as a run folder, or a file that `vitral export` wrote.

        Args:
            weights: a run folder, any WEIGHTS that `vitral.load_model` takes, or an exported `.onnx` or `.xml`.
            backend: torch, openvino or onnx; auto takes the fastest that is installed and safe here. `.backend`,
                `.precision`, `.device` and `.reason` say what was taken.
            device: auto, cpu, cuda (cuda:1) or mps; all but cpu are torch's.
            precision: fp32, bf16, fp16 (GPUs) or int8 (OpenVINO: weights of 8 bits, and what meets them rounded to 8
                bits as it comes); auto takes bf16 where that is faster, else fp32.
            image_size: (height, width) or one number; the positions are interpolated to it.
            compile: let torch.compile fuse the network, which takes a minute and a compiler, and pays in long jobs.
            said: what the files do not settle or settle wrongly, as in `vitral.weights.Overrides`: `mean`, `std`,
                `heads`, `activation` …

        Raises:
            UsageError: there are no such weights, backend, device or precision, they do not go together, or the weights
                have no classifier.
            WeightsError: damaged files.
        """
        request = Request(
            str(weights),
            device=device,
            precision=precision,
            backend=backend,
            image_size=image_size,
            compile=compile,
            said=said,
        )
        network, about = open_backend(request)
        return cls(network, about.preprocessing, about.class_names, about.thresholds, request=request)

    @classmethod
    def of(
        cls,
        model: "VisionTransformer",
        preprocessing: Preprocessing,
        class_names: tuple[str, ...],
        compute: "Compute",
        thresholds: tuple[float, ...] | None = None,
    ) -> Self:
        """A network in torch that is there already, in evaluation mode and where `compute` says."""
        from vitral.inference.backends.torch import TorchBackend
        from vitral.inference.forward import Probabilities

        answers = Probabilities(multi_label=thresholds is not None)
        network = TorchBackend(model, preprocessing, compute, answers=answers)
        return cls(network, preprocessing, class_names, thresholds)

    @property
    def multi_label(self) -> bool:
        """Whether it answers yes or no to each class, rather than with one of them."""
        return self.thresholds is not None

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
        answers: list[Prediction] = []
        for image, answer in zip(images, self.predict_each(images), strict=True):
            if isinstance(answer, ImageError):
                place = f"{image}: " if isinstance(image, (str, Path)) else ""
                raise ImageError(f"{place}{answer}") from answer
            answers.append(answer)
        return answers

    def predict_each(
        self, images: Iterable[Any], workers: int = READERS
    ) -> Iterator[Prediction | ImageError]:
        """The same image by image, in their order; what cannot be read is answered by its error.

        Memory stays small however many images there are: `images` is asked for a few batches ahead and no more.

        Args:
            images: what `predict` takes, one after the other.
            workers: threads that read and fit images while the network computes.
        """
        for image, found in in_batches(self.preprocessing, self.network, images, workers):
            if isinstance(found, ImageError):
                yield found
            else:
                path = str(image) if isinstance(image, (str, Path)) else None
                yield Prediction(self.class_names, found, path, self.thresholds)

    def embed(self, images: Any) -> np.ndarray:
        """What the network makes of images before its head: float32 `(dim,)`, or `(images, dim)` for a list.

        Takes what `predict` takes, and raises what it raises; see `Embedder`.
        """
        return self._embedder.embed(images)

    @overload
    def explain(self, images: list[Any], method: str | None = None, **asked: Any) -> "list[Explanation]": ...
    @overload
    def explain(self, images: Any, method: str | None = None, **asked: Any) -> "Explanation": ...
    def explain(
        self, images: Any, method: str | None = None, **asked: Any
    ) -> "Explanation | list[Explanation]":
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
        from vitral.inference.look import Look

        return self.explainer.explain(images, Look(method, **asked))

    @property
    def explainer(self) -> "Explainer":
        """The same network, to be asked what it looked at."""
        from vitral.inference.explainer import Explainer

        return Explainer(self.model, self.preprocessing, self.compute, self.class_names, self.multi_label)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """What `Preprocessing.fit_image` gives, `(batch, height, width, channels)`, to float32 `(batch, classes)`.

        They sum to 1 over the classes, unless the classifier is multi-label.
        """
        return self.network(pixels)

    @cached_property
    def _embedder(self) -> "Embedder":
        from vitral.inference.embedder import Embedder

        if self.backend == "torch" or self.request is None:
            return Embedder.of(self.model, self.preprocessing, self.compute)
        return Embedder.of_request(replace(self.request, vectors=True))
