"""What a Vision Transformer is made of, and the named variants (Table 1 of the paper and its successors)."""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Self

from vitral.errors import ConfigError, UsageError

POOLS = ("token", "average")
POSITION_EMBEDDINGS = ("none", "learned", "learned_2d", "sincos_2d", "rope")
ACTIVATIONS = ("gelu", "gelu_tanh")

# name: (layers L, hidden size D, MLP size, heads)
VARIANTS = {
    "mini": (6, 128, 256, 4),  # ours, for small images and two processor cores
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
        self._require(_is_count, "a whole number, 1 or more", "channels", "layers", "dim", "mlp_dim", "heads")
        self._require(lambda value: _is_count(value, least=0), "a whole number, 0 or more", "num_classes")
        if self.representation_size is not None:
            self._require(_is_count, "None or a whole number, 1 or more", "representation_size")
        self._require(lambda value: 0 <= value < 1, "in [0, 1)", "dropout", "attention_dropout", "drop_path")
        self._require(lambda value: value > 0, "positive", "norm_epsilon")
        self._require(lambda value: isinstance(value, bool), "True or False", "class_token")
        self._require_one_of(POOLS, "pool")
        self._require_one_of(POSITION_EMBEDDINGS, "position_embedding")
        self._require_one_of(ACTIVATIONS, "activation")
        if self.image_size[0] % self.patch_size[0] or self.image_size[1] % self.patch_size[1]:
            raise ConfigError(
                f"images of {_times(self.image_size)} pixels cannot be cut into patches of "
                f"{_times(self.patch_size)}: choose an image_size that is a multiple of patch_size"
            )
        if self.dim % self.heads:
            raise ConfigError(f"{self.heads} heads cannot share dim {self.dim}: choose heads that divide dim")
        if self.pool == "token" and not self.class_token:
            raise ConfigError('pool "token" needs class_token=True: without it choose pool "average"')
        kind = f'position_embedding "{self.position_embedding}"'
        if self.position_embedding == "learned_2d" and self.dim % 2:
            raise ConfigError(f"{kind} needs an even dim, not {self.dim}")
        if self.position_embedding == "sincos_2d" and (self.dim % 4 or self.dim < 8):
            raise ConfigError(f"{kind} needs a dim that is a multiple of 4, from 8 on, not {self.dim}")
        if self.position_embedding == "rope" and self.head_dim % 4:
            raise ConfigError(f"{kind} needs dim / heads to be a multiple of 4, not {self.head_dim}")

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
        values = asdict(self).items()
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The reverse of `to_dict`.

        Raises:
            ConfigError: a field is unknown or its value impossible.
        """
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ConfigError(
                f"unknown architecture field {min(unknown)!r}: upgrade vitral if it is a newer one's"
            )
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"an architecture field is impossible ({error}): restore the file") from error

    def _require(self, holds: Callable[[Any], bool], rule: str, *names: str) -> None:
        for name in names:
            if not holds(getattr(self, name)):
                raise ConfigError(f"{name} must be {rule}, not {getattr(self, name)!r}")

    def _require_one_of(self, known: tuple[str, ...], name: str) -> None:
        self._require(lambda value: value in known, f"one of {', '.join(known)}", name)


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
    values: dict[str, Any] = {"image_size": int(match["image"]), "patch_size": int(match["patch"])}
    values |= zip(("layers", "dim", "mlp_dim", "heads"), VARIANTS[match["size"]], strict=True)
    if changes.get("pool") == "average":
        values["class_token"] = False
    unknown = set(changes) - {field.name for field in fields(ViTConfig)}
    if unknown:
        raise ConfigError(f"a model has no field {min(unknown)!r}: the fields are those of ViTConfig")
    return ViTConfig(**(values | changes))


def model_names() -> list[str]:
    """The usual MODEL names, small to large; `config_for` takes other patch and image sizes too."""
    sizes = {  # patch and image
        "mini": ["2_8", "4_28", "4_32", "8_64"],
        "tiny": ["4_32", "8_64", "16_224", "16_384"],
        "small": ["32_224", "32_384", "16_224", "16_384", "8_224", "14_224", "14_518"],
        "base": ["32_224", "32_384", "16_224", "16_384", "8_224", "14_224", "14_518"],
        "large": ["32_224", "32_384", "16_224", "16_384", "14_224", "14_518"],
        "huge": ["16_224", "14_224", "14_518"],
        "giant": ["14_224"],
        "gigantic": ["14_224"],
    }
    return [f"vit_{variant}_patch{size}" for variant in VARIANTS for size in sizes[variant]]


def _pair(name: str, value: Any) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(pair) != 2 or not all(map(_is_count, pair)):
        raise ConfigError(f"{name} must be one whole number, 1 or more, or (height, width), not {value!r}")
    return pair


def _is_count(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _times(pair: tuple[int, int]) -> str:
    return f"{pair[0]}x{pair[1]}"
