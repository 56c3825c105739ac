"""Equation 1: an image becomes a sequence of tokens that know where they come from.

    z_0 = [x_class; x_p^1 E; x_p^2 E; ...; x_p^N E] + E_pos

x_p are the patches of the image, flattened, E their embedding, E_pos that of their positions.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitral.errors import ConfigError
from vitral.model.config import ViTConfig
from vitral.model.resnet import ResNetStem


class Embedding(nn.Module):
    """Patches, the special tokens and the position embedding: the whole of equation 1.

    Images `(batch, channels, height, width)` become tokens `(batch, special + patches, dim)`: the class token, the
    distillation token, the registers, those of them that there are, and the patches row by row.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        layers = config.resnet_layers
        self.stem = ResNetStem(layers, config.channels, config.resnet_form) if layers is not None else None
        self.patch = PatchEmbedding(config, self.stem.channels if self.stem else None)
        self.class_token, self.distillation_token, self.registers = (
            nn.Parameter(torch.zeros(1, count, config.dim)) if count else None
            for count in (int(config.class_token), int(config.distillation_token), config.registers)
        )
        self.mask_token = nn.Parameter(torch.zeros(1, config.dim)) if config.mask_token else None
        added = config.position_embedding not in ("none", "rope")
        self.position = PositionEmbedding(config) if added else None
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_epsilon) if config.pre_norm else None
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patch(images if self.stem is None else self.stem(images))  # (batch, patches, dim)
        tokens_of = (self.class_token, self.distillation_token, self.registers)
        special: list[Tensor] = [token for token in tokens_of if token is not None]
        before = (
            torch.cat(special, dim=1).to(tokens.dtype) if special else tokens[:1, :0]
        )  # (1, special, dim)
        if self.position is not None:
            own, of_patches = self.position().split([self.position.special, tokens.shape[1]], dim=1)
            tokens = tokens + of_patches
            before = torch.cat([before[:, : own.shape[1]] + own, before[:, own.shape[1] :]], dim=1)
        if special:
            tokens = torch.cat([before.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        tokens = self.dropout(tokens)
        return tokens if self.norm is None else self.norm(tokens)


class PatchEmbedding(nn.Module):
    """E of equation 1: every patch of P x P x C numbers becomes one vector of D numbers.

    The weight has the shape of a convolution with kernel = stride = P, as all public checkpoints keep it;
    `forward` flattens the patches and multiplies, which is the same map.
    """

    def __init__(self, config: ViTConfig, channels: int | None = None) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.weight = nn.Parameter(torch.empty(config.dim, channels or config.channels, *config.patch_size))
        self.bias = nn.Parameter(torch.zeros(config.dim)) if config.patch_bias else None

    def forward(self, images: Tensor) -> Tensor:
        """Images `(batch, channels, height, width)` to `(batch, patches, dim)`, row by row, in the weights' precision.

        Beside weights of half the precision, images in fp32 are multiplied in fp32: none of their levels is lost.
        """
        patches, weight, bias = cut_into_patches(images, self.patch_size), self.weight.flatten(1), self.bias
        if patches.dtype == torch.float32 and weight.dtype.itemsize < 4:
            tokens = F.linear(patches, weight.float(), bias.float() if bias is not None else None)
            return tokens.to(weight.dtype)
        return F.linear(patches, weight, bias)


def cut_into_patches(images: Tensor, patch_size: tuple[int, int]) -> Tensor:
    """x_p of equation 1: `(batch, channels, height, width)` to `(batch, patches, channels * P_h * P_w)`."""
    batch, channels, height, width = images.shape
    rows, columns = height // patch_size[0], width // patch_size[1]
    grid = images.reshape(batch, channels, rows, patch_size[0], columns, patch_size[1])
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, -1)


class PositionEmbedding(nn.Module):
    """E_pos of equation 1, for the kinds that are added to the tokens.

    `learned`: a table of one vector for every token, the class token included, as in the paper; for how many of the
    special tokens, `ViTConfig.special_positions` says. `learned_rope` is the same beside rotary positions.
    `learned_2d`: a table of D/2 numbers for each row and one for each column, concatenated (appendix D.4).
    `sincos_2d`: fixed sines and cosines of the row and the column (Plain).
    These two say nothing about the special tokens, which are learned vectors anyway.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.grid, self.dim, self.kind = config.grid, config.dim, config.position_embedding
        self.special, self.interpolation = config.positioned_tokens, config.position_interpolation
        rows, columns = self.grid
        if self.kind in ("learned", "learned_rope"):
            self.table = nn.Parameter(torch.empty(1, self.special + config.patches, self.dim))
        elif self.kind == "learned_2d":
            self.row_table = nn.Parameter(torch.empty(rows, self.dim // 2))
            self.column_table = nn.Parameter(torch.empty(columns, self.dim // 2))
        else:
            self.table: Tensor
            self.register_buffer("table", sincos_2d(self.grid, self.dim), persistent=False)

    def forward(self) -> Tensor:
        """`(1, special + patches, dim)`, the first `special` for special tokens."""
        if self.kind != "learned_2d":
            return self.table
        rows, columns = self.grid
        by_row = self.row_table[:, None].expand(rows, columns, -1)
        by_column = self.column_table[None].expand(rows, columns, -1)
        return torch.cat([by_column, by_row], dim=-1).reshape(1, rows * columns, self.dim)

    @torch.no_grad()
    def resize(self, grid: tuple[int, int]) -> None:
        """Interpolate to another grid of patches, in place (section 3.2); see `resize_position_embedding`."""
        if self.kind in ("learned", "learned_rope"):
            self.table = nn.Parameter(
                resize_position_embedding(self.table, self.grid, grid, self.special, self.interpolation)
            )
        elif self.kind == "learned_2d":
            for name, old, new in zip(("row_table", "column_table"), self.grid, grid, strict=True):
                line = getattr(self, name)[None]  # a grid of one column
                setattr(self, name, nn.Parameter(resize_position_embedding(line, (old, 1), (new, 1))[0]))
        else:
            self.table = sincos_2d(grid, self.dim).to(self.table)
        self.grid = grid


def resize_position_embedding(
    table: Tensor,
    old_grid: tuple[int, int],
    new_grid: tuple[int, int],
    special_tokens: int = 0,
    method: str = "bilinear",
) -> Tensor:
    """Interpolate position embeddings in 2-D at their place in the image (section 3.2).

    Args:
        table: `(1, special + rows * columns, dim)`; the special tokens' own stay as they are.
        old_grid: rows and columns of `table`.
        new_grid: rows and columns wanted.
        special_tokens: how many tokens stand before the grid.
        method: each as one house does it. "bilinear", corners kept in place: the authors; "bicubic": transformers,
            DeiT, MAE; "bicubic_corners", corners kept in place: torchvision; "bicubic_antialias": timm, DINOv2 with
            registers; "bicubic_offset", by the factor (new + 0.1) / old: DINO, DINOv2.
    """
    if old_grid == new_grid:
        return table.clone()
    special, grid = table[:, :special_tokens], table[:, special_tokens:]
    image = grid.reshape(1, *old_grid, -1).permute(0, 3, 1, 2).float()  # (1, dim, rows, columns)
    if method == "bicubic_offset":
        factors = [(new + 0.1) / old for old, new in zip(old_grid, new_grid, strict=True)]
        image = F.interpolate(image, scale_factor=factors, mode="bicubic")
    else:
        mode, _, how = method.partition("_")
        corners = mode == "bilinear" or how == "corners"
        image = F.interpolate(image, new_grid, mode=mode, align_corners=corners, antialias=how == "antialias")
    assert image.shape[2:] == new_grid
    return torch.cat([special, image.to(table.dtype).permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def sincos_2d(grid: tuple[int, int], dim: int, temperature: float = 10_000.0) -> Tensor:
    """Fixed position embeddings `(1, rows * columns, dim)`: sines and cosines of column, then row (Plain)."""
    frequencies = temperature ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim // 4 - 1))
    row, column = _places(grid)
    angles_x, angles_y = column[:, None] * frequencies, row[:, None] * frequencies
    return torch.cat([angles_x.sin(), angles_x.cos(), angles_y.sin(), angles_y.cos()], dim=1).float()[None]


def rotary_2d(config: ViTConfig) -> Tensor:
    """Cosines and sines `(2, tokens, head_dim)` by which rotary positions turn queries and keys.

    A quarter of a head turns with the row, a quarter with the column, and each number is paired with the one half a
    head further on. Special tokens are not turned. Source: Heo et al. 2024 (axial form), in two kinds.

    DINOv3: rows and columns are counted from -1 to 1 at the centres of the patches, so any grid covers the same
    angles, at wavelengths from 1 to 100. EVA-02, with `rope_grid`: they are counted in patches of that grid, the one of
    pre-training, at wavelengths from 2 pi to 2 pi 10,000.
    """
    rows, columns = config.grid
    row, column = _places(config.grid)
    exponents = torch.arange(config.head_dim // 4, dtype=torch.float64) * 4 / config.head_dim
    if config.rope_grid is None:
        frequencies = 2 * torch.pi * 100.0**-exponents
        place = torch.stack([(2 * row + 1) / rows - 1, (2 * column + 1) / columns - 1], dim=1)  # (patches, 2)
    else:
        frequencies = 10_000.0**-exponents
        place = torch.stack([row / rows * config.rope_grid[0], column / columns * config.rope_grid[1]], dim=1)
    angles = (place[:, :, None] * frequencies).flatten(1).tile(2)  # (patches, head_dim)
    angles = torch.cat([angles.new_zeros(config.special_tokens, config.head_dim), angles])
    return torch.stack([angles.cos(), angles.sin()]).float()


def check_images(images: Tensor, config: ViTConfig) -> None:
    """Refuse images that the model was not built for.

    Raises:
        ConfigError: another number of channels or another size; the text says which.
    """
    if images.ndim != 4 or images.shape[1] != config.channels:
        raise ConfigError(
            f"the model takes images of shape (batch, {config.channels}, height, width), not {tuple(images.shape)}"
        )
    if tuple(images.shape[2:]) != config.image_size:
        height, width = images.shape[2:]
        raise ConfigError(
            f"the model was built for {config.image_size[0]}x{config.image_size[1]} pixels and the images have "
            f"{height}x{width}: resize them, or call model.resize(({height}, {width}))"
        )


def _places(grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Row and column of every patch, `(patches,)` each, in double precision."""
    axes = [torch.arange(count, dtype=torch.float64) for count in grid]
    row, column = torch.meshgrid(*axes, indexing="ij")
    return row.flatten(), column.flatten()
