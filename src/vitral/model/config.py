"""What a Vision Transformer is made of, and the named variants (Table 1 of the paper and its successors)."""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Self

from vitral.errors import ConfigError, UsageError

POOLS = ("token", "average", "token_average", "distilled", "attention")
POSITION_EMBEDDINGS = ("none", "learned", "learned_2d", "sincos_2d", "rope", "learned_rope")
POSITION_INTERPOLATIONS = ("bilinear", "bicubic", "bicubic_corners", "bicubic_antialias", "bicubic_offset")
ACTIVATIONS = ("gelu", "gelu_tanh", "quick_gelu", "silu")
QKV_BIASES = ("all", "no_key", "none")
RESNET_FORMS = ("authors", "timm")

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
    patch_size: tuple[int, int] = (16, 16)  # of the image, or of the stem's feature map in a hybrid
    channels: int = 3
    layers: int = 12
    dim: int = 768
    mlp_dim: int = 3072
    heads: int = 12
    num_classes: int = 1000  # 0: no head, the logits are the representation
    pool: str = "token"  # what the head sees, see `VisionTransformer.pool`
    class_token: bool = True
    position_embedding: str = "learned"
    representation_size: int | None = None  # hidden size of the pre-training head ("pre_logits")
    activation: str = "gelu"
    norm_epsilon: float = 1e-6
    dropout: float = 0.0  # after every dense layer but q, k, v, and after the position embeddings
    attention_dropout: float = 0.0  # of the attention weights
    drop_path: float = 0.0  # of a whole residual branch; grows linearly from 0 to this over the layers

    # What came after the paper.
    position_interpolation: str = "bilinear"  # to another grid, see `resize_position_embedding`
    special_positions: int | None = (
        None  # special tokens with a learned position; None: all but the registers
    )
    distillation_token: bool = (
        False  # DeiT: stands after the class token; pool "distilled" gives it a head of its own
    )
    registers: int = 0  # tokens for the network's own use (DINOv2, DINOv3)
    mask_token: bool = (
        False  # what stands for a hidden patch in self-supervision (section 4.6); kept, not used here
    )
    rope_grid: tuple[int, int] | None = (
        None  # EVA-02: rotary positions count the patches of this pre-training grid
    )
    patch_bias: bool = True  # False: CLIP
    pre_norm: bool = False  # a norm before the first block: CLIP
    qkv_bias: str = "all"  # "no_key" or "none": EVA, DINOv3
    norm_in_attention: bool = False  # before the output projection: EVA-02 of CLIP
    layer_scale: float | None = (
        None  # each residual branch times a learned vector that starts here: DeiT III, DINOv2
    )
    gated_mlp: bool = False  # SwiGLU where the activation is silu: DINOv2 giant, EVA-02, DINOv3
    norm_in_mlp: bool = False  # before the second dense layer: EVA-02
    norm_after_pool: bool = False  # the final norm comes after the pooling: MAE fine-tuned, EVA
    resnet_layers: tuple[int, ...] | None = (
        None  # hybrid: units in each stage of the stem; (): its root alone
    )
    resnet_form: str = "authors"  # or "timm": where epsilon enters in the stem's convolutions and norms
    merge: int = 0  # R: how many patches are merged away in every layer, at most half of them; see `merging`
    feature_layers: int = 1  # the last so many layers' tokens stand side by side in the features (DINOv2)
    neighbours: int | None = None  # the head lets so many nearest neighbours vote, see `NeighbourHead`
    examples: int | None = None  # among this many features that it keeps

    def __post_init__(self) -> None:
        for name in ("image_size", "patch_size", "rope_grid"):
            if name != "rope_grid" or self.rope_grid is not None:
                object.__setattr__(self, name, _pair(name, getattr(self, name)))
        self._require(_is_count, "a whole number, 1 or more", "channels", "layers", "dim", "mlp_dim", "heads")
        counts = ("num_classes", "registers", "merge")
        self._require(lambda value: _is_count(value, least=0), "a whole number, 0 or more", *counts)
        for name in ("representation_size", "neighbours", "examples"):
            self._require(
                lambda value: value is None or _is_count(value), "None or a whole number, 1 or more", name
            )
        self._require(lambda value: 0 <= value < 1, "in [0, 1)", "dropout", "attention_dropout", "drop_path")
        self._require(lambda value: value > 0, "positive", "norm_epsilon")
        self._require(lambda value: value is None or _is_number(value), "None or a number", "layer_scale")
        switches = [field.name for field in fields(self) if field.type in (bool, "bool")]
        self._require(lambda value: isinstance(value, bool), "True or False", *switches)
        self._require_one_of(POOLS, "pool")
        self._require_one_of(POSITION_EMBEDDINGS, "position_embedding")
        self._require_one_of(POSITION_INTERPOLATIONS, "position_interpolation")
        self._require_one_of(ACTIVATIONS, "activation")
        self._require_one_of(QKV_BIASES, "qkv_bias")
        self._require_one_of(RESNET_FORMS, "resnet_form")
        self._check_sizes()
        self._check_tokens()
        self._check_positions()
        self._check_head()

    def _check_sizes(self) -> None:
        if self.resnet_layers is not None:
            object.__setattr__(self, "resnet_layers", tuple(self.resnet_layers))
            self._require(
                lambda value: all(map(_is_count, value)), "whole numbers, 1 or more", "resnet_layers"
            )
        if self.image_size[0] % self.reach[0] or self.image_size[1] % self.reach[1]:
            of_what = "patch_size" if self.stem_stride == 1 else _times(self.reach)
            raise ConfigError(
                f"images of {_times(self.image_size)} pixels cannot be cut into patches of "
                f"{_times(self.reach)}: choose an image_size that is a multiple of {of_what}"
            )
        if self.dim % self.heads:
            raise ConfigError(f"{self.heads} heads cannot share dim {self.dim}: choose heads that divide dim")

    def _check_tokens(self) -> None:
        if self.distillation_token and not self.class_token:
            raise ConfigError("a distillation token stands after the class token: set class_token=True")
        if self.pool in ("token", "token_average", "distilled") and not self.class_token:
            raise ConfigError(f'pool "{self.pool}" needs class_token=True: without it choose pool "average"')
        if self.pool == "distilled" and not self.distillation_token:
            raise ConfigError('pool "distilled" needs distillation_token=True')
        if self.pool in ("token_average", "distilled") and self.representation_size is not None:
            raise ConfigError(f'pool "{self.pool}" goes without representation_size: leave one of them out')
        if self.norm_after_pool and self.pool not in ("token", "average"):
            raise ConfigError(f'norm_after_pool goes with pool "token" or "average", not "{self.pool}"')
        if self.special_positions is not None:
            self._require(
                lambda value: _is_count(value, least=0) and value <= self.special_tokens,
                f"None or a whole number from 0 to {self.special_tokens}, the special tokens",
                "special_positions",
            )

    def _check_head(self) -> None:
        self._require(
            lambda value: _is_count(value) and value <= self.layers,
            f"a whole number from 1 to {self.layers}, the layers",
            "feature_layers",
        )
        if self.feature_layers > 1 and (self.norm_after_pool or self.pool == "attention"):
            what = "norm_after_pool" if self.norm_after_pool else f'pool "{self.pool}"'
            raise ConfigError(f"{what} goes with the last layer alone: set feature_layers=1")
        if (self.neighbours is None) != (self.examples is None) or (self.neighbours or 0) > (
            self.examples or 0
        ):
            raise ConfigError(
                f"{self.neighbours} neighbours among {self.examples} examples: give both, no more neighbours than "
                "examples"
            )
        if self.neighbours is not None:
            if not self.num_classes:
                raise ConfigError("neighbours vote for classes: set num_classes")
            if self.representation_size is not None:
                raise ConfigError("neighbours are compared by the features: leave representation_size out")

    def _check_positions(self) -> None:
        kind = f'position_embedding "{self.position_embedding}"'
        if self.position_embedding == "learned_2d" and self.dim % 2:
            raise ConfigError(f"{kind} needs an even dim, not {self.dim}")
        if self.position_embedding == "sincos_2d" and (self.dim % 4 or self.dim < 8):
            raise ConfigError(f"{kind} needs a dim that is a multiple of 4, from 8 on, not {self.dim}")
        if self.rotary and self.head_dim % 4:
            raise ConfigError(f"{kind} needs dim / heads to be a multiple of 4, not {self.head_dim}")
        if self.rope_grid is not None and not self.rotary:
            raise ConfigError(f"rope_grid goes with rotary positions: {kind} has none")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        (height, width), (rows, columns) = self.image_size, self.patch_size
        return height // self.stem_stride // rows, width // self.stem_stride // columns

    @property
    def stem_stride(self) -> int:
        """Pixels of the image, along each side, in one of what is cut into patches: 1 but for hybrids."""
        return 1 if self.resnet_layers is None else 4 * 2 ** max(len(self.resnet_layers) - 1, 0)

    @property
    def reach(self) -> tuple[int, int]:
        """Height and width in pixels of what one patch stands for; image sizes are multiples of it."""
        return self.stem_stride * self.patch_size[0], self.stem_stride * self.patch_size[1]

    @property
    def patches(self) -> int:
        """N, the number of patches of an image."""
        return self.grid[0] * self.grid[1]

    @property
    def patches_by_layer(self) -> tuple[int, ...]:
        """How many patches the attention of each layer sees, and at the end what the last layer puts out."""
        counts = [self.patches]
        for _ in range(self.layers):
            counts.append(counts[-1] - min(self.merge, counts[-1] // 2))
        return tuple(counts)

    @property
    def special_tokens(self) -> int:
        """Tokens before the patches: class token, distillation token, registers."""
        return int(self.class_token) + int(self.distillation_token) + self.registers

    @property
    def positioned_tokens(self) -> int:
        """How many special tokens, from the first, have a learned position of their own."""
        if self.position_embedding not in ("learned", "learned_rope"):
            return 0
        return (
            self.special_tokens - self.registers if self.special_positions is None else self.special_positions
        )

    @property
    def rotary(self) -> bool:
        """Whether queries and keys are turned by their place."""
        return self.position_embedding in ("rope", "learned_rope")

    @property
    def pooled_dim(self) -> int:
        """The size of the representation that `VisionTransformer.pool` gives."""
        return 2 * self.feature_dim if self.pool == "token_average" else self.feature_dim

    @property
    def feature_dim(self) -> int:
        """The size of one token in the features: D, once for each of the `feature_layers`."""
        return self.feature_layers * self.dim

    @property
    def head_dim(self) -> int:
        """The size of one attention head's queries, keys and values."""
        return self.dim // self.heads

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked again."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, for config.json."""
        values = asdict(self).items()  # tuples become lists
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


# Hybrids, as timm spells them: units in each stage of the stem, and the patch on its feature map.
STEMS = {
    "r_s16_p8": ((), 8),
    "r26_s32": ((2, 2, 2, 2), 1),
    "r50_s16": ((3, 4, 9), 1),
    "r50_s32": ((3, 4, 6, 3), 1),
}

_MODEL_NAME = re.compile(
    rf"vit_(?P<size>[a-z]+)_(patch(?P<patch>[1-9]\d{{0,3}})|(?P<stem>{'|'.join(STEMS)}))_(?P<image>[1-9]\d{{0,3}})"
)


def config_for(name: str, **changes: Any) -> ViTConfig:
    """The architecture behind a MODEL name, such as `vit_base_patch16_224` or `vit_base_r50_s16_224`.

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
    values: dict[str, Any] = {"image_size": int(match["image"])}
    if match["stem"]:
        values |= zip(("resnet_layers", "patch_size"), STEMS[match["stem"]], strict=True)
    else:
        values["patch_size"] = int(match["patch"])
    values |= zip(("layers", "dim", "mlp_dim", "heads"), VARIANTS[match["size"]], strict=True)
    if changes.get("pool") in ("average", "attention"):
        values["class_token"] = False
    unknown = set(changes) - {field.name for field in fields(ViTConfig)}
    if unknown:
        raise ConfigError(f"a model has no field {min(unknown)!r}: the fields are those of ViTConfig")
    return ViTConfig(**(values | changes))


def model_names() -> list[str]:
    """The usual MODEL names, small to large; `config_for` takes other patch and image sizes too."""
    patches = {  # patch and image
        "mini": ["2_8", "4_28", "4_32", "8_64"],
        "tiny": ["4_32", "8_64", "16_224", "16_384"],
        "small": ["32_224", "32_384", "16_224", "16_384", "8_224", "14_224", "14_518"],
        "base": ["32_224", "32_384", "16_224", "16_384", "8_224", "14_224", "14_518"],
        "large": ["32_224", "32_384", "16_224", "16_384", "14_224", "14_518"],
        "huge": ["16_224", "14_224", "14_518"],
        "giant": ["14_224"],
        "gigantic": ["14_224"],
    }
    hybrids = {
        "tiny": ["r_s16_p8_224", "r_s16_p8_384"],
        "small": ["r26_s32_224", "r26_s32_384"],
        "base": ["r26_s32_224", "r50_s16_224", "r50_s16_384"],
        "large": ["r50_s32_224", "r50_s32_384"],
    }
    names = []
    for variant in VARIANTS:
        names += [f"vit_{variant}_patch{size}" for size in patches[variant]]
        names += [f"vit_{variant}_{stem}" for stem in hybrids.get(variant, [])]
    return names


def _pair(name: str, value: Any) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(pair) != 2 or not all(map(_is_count, pair)):
        raise ConfigError(f"{name} must be one whole number, 1 or more, or (height, width), not {value!r}")
    return pair


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _times(pair: tuple[int, int]) -> str:
    return f"{pair[0]}x{pair[1]}"
