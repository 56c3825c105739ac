"""What the networks of transformers share: prefixes, blocks that keep query, key and value apart, and config.json."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vitral.errors import WeightsError
from vitral.model import ViTConfig
from vitral.weights.reading import Found, class_names_for, grid_of, grid_without_table, heads_of, take
from vitral.weights.rules import Form, Rule, Tensors, absent, both, same, shape, stacked

# Their `hidden_act`, by our names.
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "silu": "silu",
    "swish": "silu",
}
# What their classes put around a network goes without the prefix of the network itself.
OUTSIDE = ("classifier.", "cls_classifier.", "distillation_classifier.", "visual_projection.")
BIASES = ("query", "key", "value", "out", "mlp")


@dataclass(frozen=True)
class Names:
    """What one of theirs calls the parts of its network: `.weight` and `.bias` follow, but for the two scales.

    Args:
        patch, norm: the patch embedding and the final norm.
        blocks: stands before a block's number.
        attention_norm, query, key, value, out, mlp_norm, mlp_out: in a block.
        hidden: the MLP's first layer; two where it is gated and they keep gate and value apart.
        attention_scale, mlp_scale: the layer scales, where it has them.
    """

    patch: str
    norm: str
    blocks: str
    attention_norm: str
    query: str
    key: str
    value: str
    out: str
    mlp_norm: str
    hidden: tuple[str, ...]
    mlp_out: str
    attention_scale: str = ""
    mlp_scale: str = ""


def inner_names(names: Collection[str], prefixes: Collection[str]) -> set[str]:
    """The names without the prefix that stands before the network's own."""
    prefix = _prefix_of(names, prefixes)
    return {name.removeprefix(prefix) for name in names}


def has_embeddings(inner: Collection[str]) -> bool:
    """Whether these inner names may be those of a network whose kind config.json tells."""
    return any(name.startswith("embeddings.") for name in inner)


def clean_by(tensors: Mapping[str, Tensor], prefixes: Collection[str], ignored: str) -> tuple[Tensors, Form]:
    """The tensors by their inner names, but for those whose whole name the pattern matches.

    Empty ones, as of no registers, are left aside too.

    The form says `prefix`, what stood before them, and `naming`: "saved" are the names that transformers writes and
    that all public files have, "memory" those that `state_dict()` gives since version 5.
    """
    prefix = _prefix_of(tensors.keys(), prefixes)
    found = take(
        ((name.removeprefix(prefix), tensor) for name, tensor in tensors.items() if tensor.numel()), ignored
    )
    memory = any(
        re.match(r"(encoder\.layer|layers)\.\d+\.attention\.q_proj\.|model\.layer\.", name) for name in found
    )
    return found, {"prefix": prefix, "naming": "memory" if memory else "saved"}


def dress(tensors: Tensors, form: Form) -> Tensors:
    """Cleaned tensors by the names of the file: the inverse of `clean`."""
    prefix = form["prefix"]
    return {name if name.startswith(OUTSIDE) else prefix + name: tensor for name, tensor in tensors.items()}


def has_config(found: Found) -> bool:
    """Whether a config.json of transformers is there."""
    return "model_type" in found.config


def settings_of(found: Found) -> Mapping[str, Any]:
    """The part of their config.json that is about the network for images."""
    if not has_config(found):
        return {}
    # `vision_config_dict` of old files goes before `vision_config`, as it does with transformers.
    for name in ("vision_config_dict", "vision_config"):
        if isinstance(found.config.get(name), Mapping):
            return found.config[name]
    return found.config


def setting(found: Found, name: str, usual: Any) -> Any:
    """What config.json says, or the usual where it is silent.

    Raises:
        WeightsError: what it says is of another type than the usual.
    """
    value = settings_of(found).get(name)
    if value is None:
        return usual
    kinds = (int, float) if isinstance(usual, float) else type(usual)
    if not isinstance(value, kinds) or isinstance(value, bool) != isinstance(usual, bool):
        raise WeightsError(f"config.json says that {name} is {value!r}: restore the file")
    return value


def blocks_of(
    found: Found,
    names: Names,
    usual: Mapping[str, Any],
    house: str,
    assumed: dict[str, str],
    published: Mapping[int, int] | None = None,
) -> dict[str, Any]:
    """The fields of `ViTConfig` that all of them settle alike.

    Args:
        found: the checkpoint.
        names: of its parts.
        usual: the defaults of their configuration class: `num_attention_heads`, `hidden_act`, `layer_norm_eps`.
        house: for the text of an error.
        assumed: is added to.
        published: the heads of those sizes where they are not as elsewhere, for files without config.json.
    """
    dim, channels, *patch = patch_shape(found, names)
    if has_config(found):
        _refuse_other_sizes(found, names)
        heads = found.overrides.heads or setting(found, "num_attention_heads", usual["num_attention_heads"])
    else:
        heads = found.overrides.heads or (published or {}).get(dim) or heads_of(found, dim, house)
        assumed["heads"] = "dim / 64, or as published for this dim: there is no config.json"
        assumed["activation"] = assumed["norm_epsilon"] = f"the usual one of {house}: there is no config.json"
    return {
        "patch_size": tuple(patch),
        "channels": channels,
        "layers": setting(found, "num_hidden_layers", found.count(rf"{re.escape(names.blocks)}\.(\d+)\.")),
        "dim": dim,
        "mlp_dim": found.size(f"{names.blocks}.0.{names.mlp_out}.weight")[1],
        "heads": heads,
        "activation": activation_of(found, usual["hidden_act"]),
        "norm_epsilon": found.overrides.norm_epsilon
        or float(setting(found, "layer_norm_eps", usual["layer_norm_eps"])),
        "qkv_bias": "all" if biases_of(found.tensors, names) & {"query", "key", "value"} else "none",
    }


def _refuse_other_sizes(found: Found, names: Names) -> None:
    """Refuse tensors that are not of the sizes in their config.json: the two are of different models.

    Raises:
        WeightsError: the first size that differs, with the tensor that shows it.
    """
    patch, out = f"{names.patch}.weight", f"{names.blocks}.0.{names.mlp_out}.weight"
    dim, channels, *sides = patch_shape(found, names)
    shown = {
        "hidden_size": (patch, dim),
        "num_channels": (patch, channels),
        "patch_size": (patch, sides),
        "intermediate_size": (out, found.size(out)[1]),
    }
    for name, (tensor, value) in shown.items():
        said = settings_of(found).get(name)
        if name == "intermediate_size" and "mlp_ratio" in settings_of(found):
            continue  # DINOv2's configuration has a factor instead
        if said is None or (isinstance(value, list) and said in (value[0], value) and len({*value}) == 1):
            continue
        if list(said if isinstance(said, (list, tuple)) else [said]) != (
            value if isinstance(value, list) else [value]
        ):
            raise WeightsError(
                f"config.json says {name} {said}, and {tensor} is {shape(found.size(tensor))}: "
                "take both files from one model"
            )


def patch_shape(found: Found, names: Names) -> tuple[int, ...]:
    """(dim, channels, height, width) of the patch embedding.

    Raises:
        WeightsError: it is none for images cut into a grid.
    """
    sizes = found.size(f"{names.patch}.weight")
    if len(sizes) != 4:
        raise WeightsError(
            f"{names.patch}.weight is {shape(sizes)}, not the four axes of a patch embedding of images"
        )
    return sizes


def image_size_of(
    found: Found, names: Names, assumed: dict[str, str], table: str | None, special: int = 0
) -> tuple[int, int]:
    """The image size, from the table of positions where there is one.

    Args:
        found: the checkpoint.
        names: of its parts.
        assumed: is added to.
        table: the table's name; its last axes are (positions, dim).
        special: how many special tokens it counts.
    """
    height, width = patch_shape(found, names)[2:]
    image_size = settings_of(found).get("image_size", 224) if has_config(found) else None
    if table is None:
        grid = grid_without_table(found, (height, width), assumed, image_size)
    else:
        grid, _ = grid_of(found, found.size(table)[-2], (special,), (height, width), assumed, image_size)
    return grid[0] * height, grid[1] * width


def registers_of(found: Found, usual: int) -> int:
    """The number of registers, by their tensor, else by config.json."""
    if "embeddings.register_tokens" in found.tensors:
        return found.size("embeddings.register_tokens")[1]
    return setting(found, "num_register_tokens", usual) if has_config(found) else 0


def activation_of(found: Found, usual: str) -> str:
    """Our name for their `hidden_act`.

    Raises:
        WeightsError: it is none of ours.
    """
    theirs = setting(found, "hidden_act", usual)
    if theirs not in ACTIVATIONS and found.overrides.activation is None:
        known = ", ".join(ACTIVATIONS)
        raise WeightsError(
            f"these weights have the activation {theirs!r}, which vitral does not: it knows {known}"
        )
    return found.overrides.activation or ACTIVATIONS[theirs]


def biases_of(tensors: Collection[str], names: Names) -> set[str]:
    """Which dense layers of the blocks have a bias: some of `BIASES`."""
    parts = {
        "query": names.query,
        "key": names.key,
        "value": names.value,
        "out": names.out,
        "mlp": names.mlp_out,
    }
    patterns = {
        part: rf"{re.escape(names.blocks)}\.\d+\.{re.escape(name)}\.bias" for part, name in parts.items()
    }
    return {
        part for part, pattern in patterns.items() if any(re.fullmatch(pattern, name) for name in tensors)
    }


def class_names_of(found: Found, count: int, assumed: dict[str, str]) -> tuple[str, ...]:
    """`id2label` of config.json, which leaves out the default: two outputs, LABEL_0 and LABEL_1."""
    default = ["LABEL_0", "LABEL_1"] if has_config(found) else None
    return class_names_for(count, assumed, found.config.get("id2label") or default)


def rules_by(config: ViTConfig, names: Names, biases: Collection[str] = BIASES) -> Iterator[Rule]:
    """Patch embedding, blocks and final norm; `biases` are those of the dense layers that theirs has."""
    yield same("embedding.patch.weight", f"{names.patch}.weight")
    if config.patch_bias:
        yield same("embedding.patch.bias", f"{names.patch}.bias")
    for layer in range(config.layers):
        yield from _block_rules(config, f"blocks.{layer}", f"{names.blocks}.{layer}", names, biases)
    yield from both("norm", names.norm)


def _block_rules(
    config: ViTConfig, ours: str, theirs: str, names: Names, biases: Collection[str]
) -> Iterator[Rule]:
    yield from both(f"{ours}.attention_norm", f"{theirs}.{names.attention_norm}")
    qkv = [f"{theirs}.{part}" for part in (names.query, names.key, names.value)]
    yield stacked(f"{ours}.attention.qkv.weight", [f"{part}.weight" for part in qkv])
    if config.qkv_bias == "all":
        yield stacked(f"{ours}.attention.qkv.bias", [f"{part}.bias" for part in qkv])
    elif config.qkv_bias == "no_key":
        yield _maybe(f"{ours}.attention.query_bias", f"{qkv[0]}.bias", "query" in biases)
        yield _maybe(f"{ours}.attention.value_bias", f"{qkv[2]}.bias", "value" in biases)
    yield same(f"{ours}.attention.out.weight", f"{theirs}.{names.out}.weight")
    yield _maybe(f"{ours}.attention.out.bias", f"{theirs}.{names.out}.bias", "out" in biases)
    yield from both(f"{ours}.mlp_norm", f"{theirs}.{names.mlp_norm}")
    for kind in ("weight", "bias"):
        hidden = [f"{theirs}.{part}.{kind}" for part in names.hidden]
        if kind == "bias" and "mlp" not in biases:
            yield absent(f"{ours}.mlp.hidden.bias")
        elif len(hidden) == 1:
            yield same(f"{ours}.mlp.hidden.{kind}", hidden[0])
        else:
            yield stacked(f"{ours}.mlp.hidden.{kind}", hidden)
    yield same(f"{ours}.mlp.out.weight", f"{theirs}.{names.mlp_out}.weight")
    yield _maybe(f"{ours}.mlp.out.bias", f"{theirs}.{names.mlp_out}.bias", "mlp" in biases)
    if config.layer_scale is not None:
        yield same(f"{ours}.attention_scale.scale", f"{theirs}.{names.attention_scale}")
        yield same(f"{ours}.mlp_scale.scale", f"{theirs}.{names.mlp_scale}")


def _maybe(ours: str, theirs: str, there: bool) -> Rule:
    return same(ours, theirs) if there else absent(ours)


def _prefix_of(names: Collection[str], prefixes: Collection[str]) -> str:
    return next((one for one in prefixes if any(name.startswith(f"{one}embeddings.") for name in names)), "")
