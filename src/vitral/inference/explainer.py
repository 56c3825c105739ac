"""Asking a network what it looked at: attention, attention rollout, and the gradient relevance of a class."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from vitral.device import Compute
from vitral.errors import ImageError, UsageError, VitralError
from vitral.images import Preprocessing
from vitral.inference.explanation import Explanation
from vitral.inference.forward import Normalise, answers_from, placed
from vitral.inference.look import Look
from vitral.inference.stream import in_threads
from vitral.inspection import (
    Faithfulness,
    faithfulness,
    fused,
    gradient_step,
    patch_at,
    positive_part,
    rollout_step,
    walk_back,
)
from vitral.inspection.faithfulness import STEPS
from vitral.inspection.heat import Region
from vitral.model import VisionTransformer
from vitral.weights import Checkpoint, overrides_from, read_checkpoint

# Bytes of attention weights that are held at once; gradients, and what leads to them, take some eight times as much.
LARGEST, WITH_GRADIENTS = 1 << 28, 8
SCORED = 16  # images at once while an explanation is measured
# The gradients of attention weights are smaller than fp16 can tell from 0.
FP16_SCALE = 1024.0


@dataclass(frozen=True)
class Explainer:
    """A network that is asked what it looked at; it needs no classifier. `Explainer.load` makes one.

    Args:
        model, preprocessing, compute: the network in evaluation mode, what its images go through, where it computes.
        class_names: of its head; empty where it has none.
        multi_label: whether an image may have several classes or none.
    """

    model: VisionTransformer
    preprocessing: Preprocessing
    compute: Compute
    class_names: tuple[str, ...] = ()
    multi_label: bool = False

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
        """Load any WEIGHTS, with a classifier or without.

        Args:
            weights: whatever `vitral.load_model` takes.
            device, precision, image_size, said: as for `Classifier.load`.

        Raises:
            UsageError: there are no such weights or device, or no such precision.
            WeightsError: damaged files.
        """
        checkpoint = read_checkpoint(weights, overrides_from(said), image_size)
        return cls.of(checkpoint, device=device, precision=precision, image_size=image_size)

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        *,
        device: str = "auto",
        precision: str = "auto",
        image_size: int | tuple[int, int] | None = None,
    ) -> Self:
        """The same of a checkpoint that has been read."""
        parts = placed(checkpoint, device, precision, image_size)
        return cls(*parts, checkpoint.class_names or (), checkpoint.thresholds is not None)

    @property
    def precision(self) -> str:
        """What the network computes in: fp32, bf16 or fp16."""
        return self.compute.precision

    @property
    def usual_method(self) -> str:
        """The method that is taken where none is asked for."""
        votes = self.model.config.neighbours is not None  # whose gradient is 0 wherever they agree
        return "gradient" if self.class_names and not votes else "rollout"

    def method_of(self, look: Look | None = None) -> str:
        """The method that a look comes to with this network."""
        return str((look or Look()).settled(self.usual_method).method)

    @overload
    def explain(self, images: list[Any], look: Look | None = None) -> list[Explanation]: ...
    @overload
    def explain(self, images: Any, look: Look | None = None) -> Explanation: ...
    def explain(self, images: Any, look: Look | None = None) -> Explanation | list[Explanation]:
        """Explain one image, or each of a list.

        Args:
            images: a path, bytes, a PIL image, a numpy array `(height, width, channels)`, a torch tensor
                `(channels, height, width)`, or a list of these.
            look: what is asked.

        Returns:
            An `Explanation`, or for a list a list.

        Raises:
            UsageError: the network has no such class, layer or head, or does not see the point.
            ImageError: an image cannot be read; the text names it.
        """
        if not isinstance(images, list):
            return self.explain([images], look)[0]
        found = []
        for image, answer in zip(images, self.explain_each(images, look), strict=True):
            if isinstance(answer, ImageError):
                named = f"{image}: " if isinstance(image, (str, Path)) else ""
                raise ImageError(f"{named}{answer}") from answer
            found.append(answer)
        return found

    def explain_each(
        self, images: Iterable[Any], look: Look | None = None, workers: int = 1
    ) -> Iterator[Explanation | ImageError]:
        """The same image by image, in their order; what cannot be read is answered by its error.

        Args:
            images, look: as for `explain`.
            workers: threads that read and fit images while the network computes.
        """
        look = self._checked(look or Look())
        batch = self._batch(look)
        read = in_threads(self._read, images, workers, ahead=batch + workers)
        while part := list(islice(read, batch)):
            good = [one for one in part if not isinstance(one, ImageError)]
            found = iter(self._explained(good, look) if good else ())
            for one in part:
                yield one if isinstance(one, ImageError) else next(found)

    def measure(self, explanation: Explanation, *, steps: int = STEPS, seed: int = 0) -> Faithfulness:
        """How much of what an explanation calls relevant the network needs; see `inspection.faithfulness`.

        The score is the probability of the class that was explained (the most probable one where none was), and
        without classes the cosine of the image's representation with the unaltered one's.

        Args:
            explanation: of this network.
            steps: how many fractions of the patches are tried, at most.
            seed: of the random orders that it is compared with.

        Raises:
            VitralError: the class has no probability that could be lost.
        """
        image = self._images([explanation.pixels])[0]
        name = explanation.target or explanation.label
        if name is None:
            (whole,) = self._representations(image[None])

        def score(images: Tensor) -> np.ndarray:
            parts = images.split(SCORED)
            if name is None:
                values = [cosine_similarity(self._representations(part), whole[None]) for part in parts]
            else:
                place = self.class_names.index(name)
                values = [self._answers(part)[:, place] for part in parts]
            return torch.cat(values).float().cpu().numpy()

        return faithfulness(score, image, explanation.relevance, steps=steps, seed=seed)

    @torch.inference_mode()
    def _representations(self, images: Tensor) -> Tensor:
        return self.model.pool(self.model.forward_features(images)).float()

    @torch.inference_mode()
    def _answers(self, images: Tensor) -> Tensor:
        return answers_from(self.model(images), self.multi_label)

    def _checked(self, look: Look) -> Look:
        """The look with its method. Raises UsageError for what the network does not have."""
        look, config = look.settled(self.usual_method), self.model.config
        if look.method == "gradient" and not self.class_names:
            raise UsageError(
                "these weights have no classes to explain by gradient: ask for rollout or attention"
            )
        if look.target is not None and look.target not in self.class_names:
            raise UsageError(
                f"there is no class {look.target!r}: choose one of {', '.join(self.class_names)}"
            )
        if look.layer is not None and not -config.layers <= look.layer < config.layers:
            raise UsageError(
                f"there is no layer {look.layer}: the network has {config.layers}, 0 to {config.layers - 1} "
                "(-1 is the last)"
            )
        if look.head is not None and not 0 <= look.head < config.heads:
            raise UsageError(
                f"there is no head {look.head}: a layer has {config.heads}, 0 to {config.heads - 1}"
            )
        return look

    def _batch(self, look: Look) -> int:
        """How many images are explained at once."""
        config = self.model.config
        tokens = config.special_tokens + config.patches
        layers = 1 if look.method == "attention" else config.layers
        each = layers * config.heads * tokens**2 * self.compute.dtype.itemsize
        each *= WITH_GRADIENTS if look.method == "gradient" else 1
        return max(1, min(SCORED, LARGEST // each))

    def _read(self, image: Any) -> tuple[np.ndarray, np.ndarray] | ImageError:
        """The image as it is, and as the network sees it."""
        try:
            values = self.preprocessing.read(image)
            return values, self.preprocessing.fit_image(values)
        except ImageError as error:
            return error

    def _images(self, pixels: list[np.ndarray]) -> Tensor:
        stacked = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
        return Normalise(self.preprocessing, self.compute)(stacked)

    def _explained(self, read: list[tuple[np.ndarray, np.ndarray]], look: Look) -> Iterator[Explanation]:
        config, (rows, columns) = self.model.config, self.model.config.grid
        regions = [self.preprocessing.region(*values.shape[:2]) for values, _ in read]
        images = self._images([pixels for _, pixels in read])
        shapes = [values.shape[:2] for values, _ in read]
        starts = [self._start(look, *one) for one in zip(regions, shapes, strict=True)]
        try:
            gradient = look.method == "gradient"
            found = self._gradient(images, look) if gradient else self._attention(images, look, starts)
        except torch.OutOfMemoryError as error:
            size = " x ".join(map(str, config.image_size))
            raise VitralError(
                f"the attention of {len(read)} images of {size} px does not fit into the memory of "
                f"{self.compute.device}: lower --image-size, or take --device cpu"
            ) from error
        for number, (values, pixels) in enumerate(read):
            tokens = found.tokens[number]
            patches = tokens[config.special_tokens :]
            label = target = probability = None
            if self.class_names:
                answers = found.answers[number]
                label = self.class_names[int(answers.argmax())]
                if found.targets is not None:
                    target = self.class_names[found.targets[number]]
                probability = float(answers[self.class_names.index(target or label)])
            heads = found.heads[number][:, config.special_tokens :] if found.heads is not None else None
            yield Explanation(
                picture=self.preprocessing.show(values),
                relevance=patches.reshape(rows, columns),
                region=regions[number],
                pixels=pixels,
                method=str(look.method),
                label=label,
                target=target,
                probability=probability,
                heads=None if heads is None else heads.reshape(-1, rows, columns),
                special_share=float(1 - patches.sum() / tokens.sum()) if not gradient else None,
            )

    def _start(self, look: Look, region: Region, shape: tuple[int, int]) -> int | None:
        """The token of the patch that was pointed at; None: what the head sees is asked about."""
        if look.point is None:
            return None
        grid = self.model.config.grid
        place = patch_at(look.point, grid, region)
        x, y = look.point
        if place is None or not (0 <= x < shape[1] and 0 <= y < shape[0]):
            left, top, right, bottom = (round(edge) for edge in region)
            across = f"x from {max(0, left)} to {min(shape[1], right) - 1}"
            down = f"y from {max(0, top)} to {min(shape[0], bottom) - 1}"
            raise UsageError(
                f"the network does not see the pixel {x:g},{y:g} of this image: it sees {across} and {down}"
            )
        return self.model.config.special_tokens + place[0] * grid[1] + place[1]

    def _gradient(self, images: Tensor, look: Look) -> "_Found":
        model = self.model
        scale = FP16_SCALE if self.compute.precision == "fp16" else 1.0
        with torch.inference_mode(False), torch.enable_grad():
            images = images.clone().requires_grad_()  # so there are gradients, whatever else has them
            features, attentions = model.forward_attention(images)
            logits, pooling = model.forward_head_attention(features)
            if look.target is None:
                targets = logits.argmax(dim=1)
            else:
                targets = logits.new_full(
                    (len(logits),), self.class_names.index(look.target), dtype=torch.long
                )
            chosen = logits.gather(1, targets[:, None]).float().sum() * scale
            # Attention pooling is one more layer, without a residual connection: its query is no token.
            own = [pooling] if model.attention_pooling is not None else []
            gradients = [one.float() / scale for one in torch.autograd.grad(chosen, [*attentions, *own])]
        seen = fused(pooling)
        if own:
            positive = positive_part(pooling, gradients.pop()).mean(axis=1)
            total = positive.sum(axis=1, keepdims=True)
            # Where no patch speaks for the class, they count as they are looked at.
            seen = np.where(total > 0, positive / np.where(total > 0, total, 1), seen)
        steps = (gradient_step(*pair) for pair in zip(reversed(attentions), reversed(gradients), strict=True))
        answers = answers_from(logits.detach(), self.multi_label).cpu().numpy()
        return _Found(walk_back(steps, self._by_layer(seen)), answers, targets.cpu().numpy())

    def _by_layer(self, seen: np.ndarray) -> np.ndarray:
        """The head sees as much of each of the last layers: `(batch, tokens)` to `(batch, feature_layers, tokens)`."""
        layers = self.model.config.feature_layers
        return np.repeat(seen[:, None] / layers, layers, axis=1)

    @torch.inference_mode()
    def _attention(self, images: Tensor, look: Look, starts: list[int | None]) -> "_Found":
        model = self.model
        asked: list[int] | None = None
        if look.method == "attention":
            of_pooling = look.layer is None and model.attention_pooling is not None and look.point is None
            asked = [] if of_pooling else [-1 if look.layer is None else look.layer]
        features, attentions = model.forward_attention(images, asked)
        logits, pooling = model.forward_head_attention(features)
        answers = answers_from(logits, self.multi_label).cpu().numpy()
        seen = fused(pooling, look.fusion)
        seen /= seen.sum(axis=1, keepdims=True)
        for number, token in enumerate(starts):
            if token is not None:
                seen[number] = np.eye(seen.shape[1])[token]
        if look.method == "rollout":
            steps = (rollout_step(one, look.fusion, look.discard) for one in reversed(attentions))
            pointed = look.point is not None
            return _Found(walk_back(steps, seen[:, None] if pointed else self._by_layer(seen)), answers)
        if attentions:
            weights = attentions[0].cpu().double().numpy()
            heads = np.einsum("bt,bhts->bhs", seen, weights)
        else:
            heads = pooling.cpu().double().numpy()
        tokens = fused(heads, look.fusion) if look.head is None else heads[:, look.head]
        return _Found(tokens, answers, heads=heads)


@dataclass(frozen=True, eq=False)
class _Found:
    """What was found of a batch.

    Args:
        tokens: `(batch, tokens)`, their relevance.
        answers: `(batch, classes)`.
        targets: `(batch,)`, the classes that the relevance is about, where it is about any.
        heads: `(batch, heads, tokens)`, the relevance by one head, of "attention".
    """

    tokens: np.ndarray
    answers: np.ndarray
    targets: np.ndarray | None = None
    heads: np.ndarray | None = None
