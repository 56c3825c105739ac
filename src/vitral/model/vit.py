"""Equation 4 and the whole: VisionTransformer = embed(images) -> encode(tokens) -> head."""

from collections.abc import Container, Iterable, Iterator
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitral.errors import UsageError
from vitral.model.config import ViTConfig, config_for
from vitral.model.embedding import Embedding, check_images, rotary_2d, sincos_2d
from vitral.model.encoder import AttentionPooling, EncoderBlock
from vitral.model.heads import NeighbourHead
from vitral.model.initialisation import initialise
from vitral.model.merging import Merged, spread


def create_model(name: str, **changes: Any) -> "VisionTransformer":
    """A Vision Transformer with random weights.

    Args:
        name: a MODEL, such as `vit_base_patch16_224`.
        changes: fields of `ViTConfig`, such as `num_classes=3`, `image_size=(160, 224)` or `channels=1`.

    Raises:
        UsageError: no model has this name.
        ConfigError: the fields contradict each other.
    """
    return VisionTransformer(config_for(name, **changes))


def model_without_weights(config: ViTConfig) -> "VisionTransformer":
    """A network whose parameters have shapes but no numbers yet, on the device "meta": what a checkpoint is put into.

    It takes no memory and draws no random number. What is fixed, such as sines and cosines, is there.
    """
    with torch.device("meta"):
        model = VisionTransformer(config)
    if model.rotation is not None:
        model.rotation = rotary_2d(config)
    if config.position_embedding == "sincos_2d" and model.embedding.position is not None:
        model.embedding.position.table = sincos_2d(config.grid, config.dim)
    return model


class VisionTransformer(nn.Module):
    """The Vision Transformer (figure 1): images `(batch, channels, height, width)` to logits `(batch, num_classes)`.

    Every stage has a name, for whoever wants to look inside:
    `forward_head(forward_features(images))`, and `forward_features(images) = encode(embed(images))`.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config)
        rates = [config.drop_path * index / max(config.layers - 1, 1) for index in range(config.layers)]
        self.blocks = nn.ModuleList(EncoderBlock(config, rate) for rate in rates)
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_epsilon)
        self.representation: nn.Linear | None = None
        if config.representation_size is not None:
            self.representation = nn.Linear(config.dim, config.representation_size)
        self.attention_pooling = AttentionPooling(config) if config.pool == "attention" else None
        self.head = self._new_head()
        two_heads = config.pool == "distilled" and config.neighbours is None
        self.distillation_head = self._new_head() if two_heads else None
        self.rotation: Tensor | None
        self.register_buffer("rotation", rotary_2d(config) if config.rotary else None, persistent=False)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """`(batch, channels, height, width)` to `(batch, num_classes)`."""
        return self.forward_head(self.forward_features(images))

    def embed(self, images: Tensor) -> Tensor:
        """Equation 1: images to tokens `(batch, special + patches, dim)`."""
        check_images(images, self.config)
        return self.embedding(images)

    def encode(self, tokens: Tensor) -> Tensor:
        """Equations 2 and 3, L times, and the final norm unless it follows the pooling: `(batch, tokens, dim)`.

        Where `ViTConfig.feature_layers` is above 1, what the last so many layers put out, each after the final norm,
        side by side: `(batch, tokens, feature_layers * dim)`.
        """
        outputs = []
        for z, merged, _ in self.forward_layers(tokens):
            outputs = [*outputs, (z, merged)][-self.config.feature_layers :]
        return self._features(outputs)

    def forward_layers(
        self, tokens: Tensor, read: Container[int] = ()
    ) -> Iterator[tuple[Tensor, Merged | None, Tensor | None]]:
        """Equations 2 and 3 layer by layer.

        Args:
            tokens: as `embed` gives them.
            read: the layers, counted from 0, whose attention weights are wanted.

        Yields:
            What a layer puts out, `(batch, tokens, dim)`; what has become of the tokens where `ViTConfig.merge` is
            above 0, else None: `merging.spread` of the two is `(batch, special + patches, dim)` in any case; and its
            attention weights `(batch, heads, special + patches, special + patches)`, in the graph, or None.
        """
        config, merged, weights = self.config, None, None
        patches = config.patches_by_layer
        for index, block in enumerate(cast("list[EncoderBlock]", self.blocks)):
            if config.merge:
                count = patches[index] - patches[index + 1]
                tokens, merged, weights = block.forward_merging(
                    tokens, self.rotation, merged, config.special_tokens, count, index in read
                )
            elif index in read:
                tokens, weights = block.forward_attention(tokens, self.rotation)
            else:
                tokens, weights = block(tokens, self.rotation), None
            yield tokens, merged, weights

    def forward_features(self, images: Tensor) -> Tensor:
        """Tokens after the final norm, special tokens first: `(batch, special + patches, dim)`, see `encode`."""
        return self.encode(self.embed(images))

    def pool(self, features: Tensor, kind: str | None = None) -> Tensor:
        """y of equation 4, the image's representation.

        Args:
            features: as `forward_features` gives them.
            kind: "token", "average", "token_average" or "distilled", instead of the network's own.

        Returns:
            `(batch, dim)`, by `ViTConfig.pool`: "token", the class token; "average", that of the patches (appendix
            D.3); "attention", see `AttentionPooling`; "distilled", the average of class and distillation token. Or
            `(batch, 2 dim)`: "token_average", class token and average of the patches side by side (DINOv2). All of it
            `feature_layers` times as wide.
        """
        patches, kind = features[:, self.config.special_tokens :], kind or self.config.pool
        if kind == "token":
            y = features[:, 0]
        elif kind == "average":
            y = patches.mean(dim=1)
        elif kind == "token_average":
            y = torch.cat([features[:, 0], patches.mean(dim=1)], dim=1)
        elif kind == "distilled":
            y = features[:, :2].mean(dim=1)
        else:
            assert self.attention_pooling is not None
            y = self.attention_pooling(patches)
        return self.norm(y) if self.config.norm_after_pool else y

    def forward_head(self, features: Tensor) -> Tensor:
        """Tokens as `forward_features` gives them to logits `(batch, num_classes)`.

        With pool "distilled" the class token and the distillation token have a head each, and the logits are the
        average of theirs (DeiT).
        """
        if self.distillation_head is not None:
            return (self.head(features[:, 0]) + self.distillation_head(features[:, 1])) / 2
        return self._logits(self.pool(features))

    def forward_head_attention(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and what the pooling takes of each token: an attention too, though most poolings' is fixed.

        Returns:
            Logits `(batch, num_classes)` and weights `(batch, heads, tokens)`, special tokens first, each row of sum 1.
            Attention pooling has its own, in the graph. The others have one head: all of it at the class token, the
            same for every patch of an average, and with "token_average" and "distilled" a half for each part.
        """
        special, pooling = self.config.special_tokens, self.attention_pooling
        if pooling is not None:
            patches = features[:, special:]
            weights = F.pad(pooling.weights(patches), (special, 0))
            return self._logits(pooling.forward_weights(patches, weights[..., special:])), weights
        weights = features.new_zeros(features.shape[:2])  # (batch, tokens)
        if self.config.pool == "distilled":
            weights[:, :2] = 1 / 2
        else:
            average = {"token": 0.0, "token_average": 0.5, "average": 1.0}[self.config.pool]
            weights[:, special:] = average / self.config.patches
            weights[:, 0] += 1 - average
        return self.forward_head(features), weights.unsqueeze(1)

    def forward_attention(
        self, images: Tensor, layers: Iterable[int] | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The features, and the attention weights of some layers.

        Args:
            images: `(batch, channels, height, width)`.
            layers: which, counted from 0 or from the end with -1; None means all.

        Returns:
            Tokens `(batch, tokens, dim)` after the final norm, as `encode` gives them, and one
            `(batch, heads, tokens, tokens)` a layer asked for, in that order, in the graph.
        """
        wanted = self._layers(layers)
        found, outputs = {}, []
        for index, (tokens, merged, weights) in enumerate(self.forward_layers(self.embed(images), wanted)):
            if weights is not None:
                found[index] = weights
            outputs = [*outputs, (tokens, merged)][-self.config.feature_layers :]
        return self._features(outputs), tuple(found[index] for index in wanted)

    def forward_intermediates(
        self, images: Tensor, layers: Iterable[int] | None = None, norm: bool = False
    ) -> tuple[tuple[Tensor, Tensor], ...]:
        """What some layers put out, as special tokens and a feature map.

        Args:
            images: `(batch, channels, height, width)`.
            layers: which, counted from 0 or from the end with -1; None means all.
            norm: put the final norm on each.

        Returns:
            One pair a layer asked for, in that order: special tokens `(batch, special, dim)` and the patches
            `(batch, dim, rows, columns)`.
        """
        wanted, found = self._layers(layers), {}
        through = islice(self.forward_layers(self.embed(images)), max(wanted, default=-1) + 1)
        for index, (tokens, merged, _) in enumerate(through):
            if index in wanted:
                found[index] = self._as_map(spread(self.norm(tokens) if norm else tokens, merged))
        return tuple(found[index] for index in wanted)

    @torch.no_grad()
    def resize(self, image_size: int | tuple[int, int]) -> None:
        """Take images of another size from now on: the patches stay as large, the positions are interpolated.

        Args:
            image_size: (height, width) in pixels, or one number for both; multiples of the patch size.

        Raises:
            ConfigError: the size is no multiple of the patch size.
        """
        config = self.config.replace(image_size=image_size)
        if self.embedding.position is not None:
            self.embedding.position.resize(config.grid)
        if self.rotation is not None:
            self.rotation = rotary_2d(config).to(self.rotation)
        self.config = config

    def merge_tokens(self, count: int) -> None:
        """Merge so many patches in every layer from now on, 0 for none: fewer tokens, a little less exact.

        The features keep their shape: every patch has the vector of the token that it went into.

        Raises:
            ConfigError: no whole number, 0 or more.
        """
        self.config = self.config.replace(merge=count)

    def replace_head(self, num_classes: int) -> None:
        """A new linear head of zeros for other classes, without the pre-training layer (section 3.2)."""
        self.config = self.config.replace(
            num_classes=num_classes, representation_size=None, neighbours=None, examples=None
        )
        self.representation = None
        example = self.norm.weight  # the same device and precision
        self.head = self._new_head().to(example)
        self.distillation_head = self._new_head().to(example) if self.config.pool == "distilled" else None
        for head in (self.head, self.distillation_head):
            for parameter in head.parameters() if head is not None else ():
                nn.init.zeros_(parameter)

    def _logits(self, y: Tensor) -> Tensor:
        """The representation y to logits, through the pre-training layer where there is one."""
        if self.representation is not None:
            y = torch.tanh(self.representation(y))
        return self.head(y)

    def _new_head(self) -> nn.Module:
        config = self.config
        width, classes = config.representation_size or config.pooled_dim, config.num_classes
        if config.neighbours is not None and config.examples is not None:
            return NeighbourHead(width, classes, config.neighbours, config.examples)
        return nn.Linear(width, classes) if classes else nn.Identity()

    def _features(self, outputs: list[tuple[Tensor, Merged | None]]) -> Tensor:
        """The last layers' outputs, normed, side by side: `(batch, special + patches, feature_layers * dim)`."""
        normed = [spread(self._final_norm(tokens), merged) for tokens, merged in outputs]
        return normed[0] if len(normed) == 1 else torch.cat(normed, dim=-1)

    def _final_norm(self, tokens: Tensor) -> Tensor:
        return tokens if self.config.norm_after_pool else self.norm(tokens)

    def _as_map(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        special = self.config.special_tokens
        patches = tokens[:, special:].transpose(1, 2).unflatten(2, self.config.grid)
        return tokens[:, :special], patches

    def _layers(self, layers: Iterable[int] | None) -> list[int]:
        count = self.config.layers
        wanted = list(range(count)) if layers is None else list(layers)
        for layer in wanted:
            if not -count <= layer < count:
                raise UsageError(
                    f"there is no layer {layer}: the model has {count}, 0 to {count - 1} (-1 is the last)"
                )
        return [layer % count for layer in wanted]
