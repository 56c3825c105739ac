"""What a Vision Transformer is made of, and the named variants (Table 1 of the paper and its successors)."""

import re
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Self

from vitral.errors import ConfigError, UsageError

POOLS = ("token", "average")
POSITION_EMBEDDINGS = ("none", "learned", "learned_2d", "sincos_2d", "rope")
ACTIVATIONS = ("gelu", "gelu_tanh")

# name: (layers L, hidden size D, MLP size, heads)
VARIANTS = {
    "mini": (6, 192, 384, 3),  # ours, for small images and two processor cores
    "tiny": (12, 192, 768, 3),  # Ti, AugReg
    "small": (12, 384, 1536, 6),  # S, AugReg
    "base": (12, 768, 3072, 12),
    "large": (24, 1024, 4096, 16),
    "huge": (32, 1280, 5120, 16),
    "giant": (40, 1408, 6144, 16),  # g, Scaling Vision Transformers
    "gigantic": (48, 1664, 8192, 16),  # G, Scaling Vision Transformers
}


@dataclass(frozen=True)
class ViTConfig:
    """The architecture of one Vision Transformer, checked when made.

    Sizes are (height, width) in pixels; one number stands for both. The names are those of the paper:
    `layers` is L, `dim` is D, and the sequence has N = HW / P² patches.

    Raises:
        ConfigError: the values contradict each other; the text names them.
    """

    image_size: tuple[int, int] = (224, 224)
    patch_size: tuple[int, int] = (16, 16)
    channels: int = 3
    layers: int = 12
    dim: int = 768
    mlp_dim: int = 3072
    heads: int = 12
    num_classes: int = 1000  # 0: no head, the logits are the representation
    pool: str = "token"  # what the head sees: the class token (equation 4) or the average of the patches
    class_token: bool = True
    position_embedding: str = "learned"
    representation_size: int | None = None  # hidden size of the pre-training head ("pre_logits")
    activation: str = "gelu"
    norm_epsilon: float = 1e-6
    dropout: float = 0.0  # after every dense layer but q, k, v, and after the position embeddings
    attention_dropout: float = 0.0  # of the attention weights
    drop_path: float = 0.0  # of a whole residual branch; grows linearly from 0 to this over the layers

    def __post_init__(self) -> None:
        for name in ("image_size", "patch_size"):
            object.__setattr__(self, name, _pair(name, getattr(self, name)))
        for name in ("channels", "layers", "dim", "mlp_dim", "heads"):
            _check(_is_count(getattr(self, name)), f"{name} must be a whole number of at least 1", self, name)
        _check(self.num_classes == 0 or _is_count(self.num_classes), "num_classes must be 0 or more", self, "num_classes")
        for name in ("dropout", "attention_dropout", "drop_path"):
            _check(0 <= getattr(self, name) < 1, f"{name} must lie in [0, 1)", self, name)
        _check(self.norm_epsilon > 0, "norm_epsilon must be positive", self, "norm_epsilon")
        for name, known in (("pool", POOLS), ("position_embedding", POSITION_EMBEDDINGS), ("activation", ACTIVATIONS)):
            _check(getattr(self, name) in known, f"{name} must be one of {', '.join(known)}", self, name)
        if self.representation_size is not None:
            _check(_is_count(self.representation_size), "representation_size must be at least 1", self, "representation_size")
        if self.image_size[0] % self.patch_size[0] or self.image_size[1] % self.patch_size[1]:
            raise ConfigError(
                f"images of {_times(self.image_size)} pixels cannot be cut into patches of {_times(self.patch_size)}: "
                "choose an image_size that is a multiple of patch_size"
            )
        if self.dim % self.heads:
            raise ConfigError(f"dim {self.dim} cannot be shared by {self.heads} heads: choose heads that divide dim")
        if self.pool == "token" and not self.class_token:
            raise ConfigError('pool "token" needs class_token=True; without a class token choose pool "average"')
        if self.position_embedding == "learned_2d" and self.dim % 2:
            raise ConfigError(f'position_embedding "learned_2d" needs an even dim, not {self.dim}')
        if self.position_embedding == "sincos_2d" and (self.dim % 4 or self.dim < 8):
            raise ConfigError(f'position_embedding "sincos_2d" needs a dim that is a multiple of 4, from 8 on, not {self.dim}')
        if self.position_embedding == "rope" and self.head_dim % 4:
            raise ConfigError(f'position_embedding "rope" needs dim / heads to be a multiple of 4, not {self.head_dim}')

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.image_size[0] // self.patch_size[0], self.image_size[1] // self.patch_size[1]

    @property
    def patches(self) -> int:
        """N, the number of patches of an image."""
        return self.grid[0] * self.grid[1]

    @property
    def special_tokens(self) -> int:
        """Tokens before the patches: the class token, where there is one."""
        return int(self.class_token)

    @property
    def head_dim(self) -> int:
        """The size of one attention head's queries, keys and values."""
        return self.dim // self.heads

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked again."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, for config.json."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The reverse of `to_dict`.

        Raises:
            ConfigError: a field is unknown or its value impossible.
        """
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ConfigError(f"unknown architecture field {sorted(unknown)[0]!r}: written by a newer vitral? Upgrade it")
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"the architecture's fields have impossible values ({error}): restore the file") from error


_MODEL_NAME = re.compile(r"vit_(?P<size>[a-z]+)_patch(?P<patch>[1-9]\d{0,3})_(?P<image>[1-9]\d{0,3})")


def config_for(name: str, **changes: Any) -> ViTConfig:
    """The architecture behind a MODEL name, such as `vit_base_patch16_224`.

    Any variant goes with any patch and image size that fit. `changes` are fields of `ViTConfig`; a new
    `pool="average"` also leaves the class token out unless `class_token` says otherwise (Plain).

    Raises:
        UsageError: no such name; the text offers the nearest.
        ConfigError: the fields contradict each other.
    """
    match = _MODEL_NAME.fullmatch(name)
    if match is None or match["size"] not in VARIANTS:
        near = get_close_matches(name, model_names(), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"no model is called {name!r}: {hint}`vitral models` lists the names")
    layers, dim, mlp_dim, heads = VARIANTS[match["size"]]
    values: dict[str, Any] = {
        "image_size": int(match["image"]),
        "patch_size": int(match["patch"]),
        "layers": layers,
        "dim": dim,
        "mlp_dim": mlp_dim,
        "heads": heads,
    }
    if changes.get("pool") == "average":
        values["class_token"] = False
    unknown = set(changes) - {field.name for field in fields(ViTConfig)}
    if unknown:
        raise ConfigError(f"a model has no field {sorted(unknown)[0]!r}: the fields are those of ViTConfig")
    return ViTConfig(**(values | changes))


def model_names() -> list[str]:
    """The usual MODEL names, small to large; `config_for` takes other patch and image sizes too."""
    small_images = ["vit_mini_patch2_8", "vit_mini_patch4_28", "vit_mini_patch4_32", "vit_mini_patch8_64", "vit_tiny_patch4_32", "vit_tiny_patch8_64"]
    usual = {
        "tiny": [(16, 224), (16, 384)],
        "small": [(32, 224), (32, 384), (16, 224), (16, 384), (8, 224), (14, 224), (14, 518)],
        "base": [(32, 224), (32, 384), (16, 224), (16, 384), (8, 224), (14, 224), (14, 518)],
        "large": [(32, 224), (32, 384), (16, 224), (16, 384), (14, 224), (14, 518)],
        "huge": [(16, 224), (14, 224), (14, 518)],
        "giant": [(14, 224)],
        "gigantic": [(14, 224)],
    }
    return small_images + [f"vit_{size}_patch{patch}_{image}" for size, pairs in usual.items() for patch, image in pairs]


def _pair(name: str, value: Any) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(_is_count(number) for number in pair):
        raise ConfigError(f"{name} must be one or two whole numbers of at least 1 (height, width), not {value!r}")
    return pair


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _times(pair: tuple[int, int]) -> str:
    return f"{pair[0]}x{pair[1]}"


def _check(holds: bool, rule: str, config: ViTConfig, name: str) -> None:
    if not holds:
        raise ConfigError(f"{rule}, not {getattr(config, name)!r}")
