"""Equation 4 and the whole: VisionTransformer = embed(images) -> encode(tokens) -> head."""

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from vitral.errors import UsageError
from vitral.model.config import ViTConfig, config_for
from vitral.model.embedding import Embedding, check_images, rotary_2d
from vitral.model.encoder import EncoderBlock
from vitral.model.initialisation import initialise


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
        width = config.representation_size or config.dim
        self.head = nn.Linear(width, config.num_classes) if config.num_classes else nn.Identity()
        self.rotation: Tensor | None
        rope = config.position_embedding == "rope"
        self.register_buffer("rotation", rotary_2d(config) if rope else None, persistent=False)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """`(batch, channels, height, width)` to `(batch, num_classes)`."""
        return self.forward_head(self.forward_features(images))

    def embed(self, images: Tensor) -> Tensor:
        """Equation 1: images to tokens `(batch, special + patches, dim)`."""
        check_images(images, self.config)
        return self.embedding(images)

    def encode(self, tokens: Tensor) -> Tensor:
        """Equations 2 and 3, L times, and the final norm: `(batch, tokens, dim)` in and out."""
        for block in self.blocks:
            tokens = block(tokens, self.rotation)
        return self.norm(tokens)

    def forward_features(self, images: Tensor) -> Tensor:
        """Tokens `(batch, special + patches, dim)` after the final norm, special tokens first."""
        return self.encode(self.embed(images))

    def pool(self, features: Tensor) -> Tensor:
        """y of equation 4, the image's representation `(batch, dim)`: the class token or the average of the patches."""
        if self.config.pool == "token":
            return features[:, 0]
        return features[:, self.config.special_tokens :].mean(dim=1)

    def forward_head(self, features: Tensor) -> Tensor:
        """Tokens after the final norm to logits `(batch, num_classes)`."""
        y = self.pool(features)
        if self.representation is not None:
            y = torch.tanh(self.representation(y))
        return self.head(y)

    def forward_attention(
        self, images: Tensor, layers: Iterable[int] | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The features, and the attention weights of some layers.

        Args:
            images: `(batch, channels, height, width)`.
            layers: which, counted from 0 or from the end with -1; None means all.

        Returns:
            Tokens `(batch, tokens, dim)` after the final norm, and one `(batch, heads, tokens, tokens)` a layer asked
            for, in that order, in the graph.
        """
        wanted = self._layers(layers)
        tokens, found = self.embed(images), {}
        for index, block in enumerate(cast("list[EncoderBlock]", self.blocks)):
            if index in wanted:
                tokens, found[index] = block.forward_attention(tokens, self.rotation)
            else:
                tokens = block(tokens, self.rotation)
        return self.norm(tokens), tuple(found[index] for index in wanted)

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
        wanted = self._layers(layers)
        tokens, found = self.embed(images), {}
        for index, block in enumerate(self.blocks[: max(wanted, default=-1) + 1]):
            tokens = block(tokens, self.rotation)
            if index in wanted:
                found[index] = self._as_map(self.norm(tokens) if norm else tokens)
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

    def replace_head(self, num_classes: int) -> None:
        """A new head of zeros for other classes, without the pre-training layer (section 3.2)."""
        self.config = self.config.replace(num_classes=num_classes, representation_size=None)
        self.representation = None
        head = nn.Linear(self.config.dim, num_classes) if num_classes else nn.Identity()
        self.head = head.to(self.norm.weight)  # the same device and precision
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

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
