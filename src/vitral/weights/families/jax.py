"""The authors' own files: vision_transformer and big_vision, arrays named by their paths in the parameter tree.

Three namings (`NAMINGS`): "published", the files of the paper and of AugReg; "linen", the same code since; and
"big_vision". A kernel is (in, out), of a convolution (height, width, in, out), of queries, keys and values
(dim, heads, head_dim), so that the heads can be read off.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from vitral.images import HALF, Preprocessing
from vitral.model import ViTConfig
from vitral.weights.reading import Found, Reading, class_names_for, for_channels, grid_of, grid_without_table
from vitral.weights.rules import Form, Rule, Tensors, same

TITLE = "the authors' JAX code"
NAMINGS = {  # names of a block's parts: attention norm, attention, MLP norm, MLP
    "published": ("LayerNorm_0", "MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3"),
    "linen": ("LayerNorm_0", "MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0"),
    "big_vision": ("LayerNorm_0", "MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0"),
}
PREFIXES = ("params/img/", "opt/target/", "target/", "params/", "img/")


def recognise(names: Collection[str], config: Mapping[str, Any]) -> bool:
    """Whether these are names of theirs."""
    return any(re.search(r"(^|/)Transformer/encoderblock(_\d+)?/LayerNorm_0/scale$", name) for name in names)


def clean(tensors: Mapping[str, Tensor]) -> tuple[Tensors, Form]:
    """Their tensors without prefix, one a block, and the form they had.

    The form says `naming`, one of `NAMINGS`; `prefix`, what stood before every name; `scan`, whether the blocks were
    stacked on a leading axis; of a hybrid `norm_axes`, how many axes of one stand before a group norm's own. The other
    tower of a pair of image and text is left aside.
    """
    form = _form_of(tensors)
    found: Tensors = {}
    for name, tensor in tensors.items():
        inner = name.removeprefix(form["prefix"])
        if not name.startswith(form["prefix"]) or inner.startswith("txt/") or inner in ("t", "b"):
            continue
        if inner.startswith("Transformer/encoderblock/"):
            rest = inner.removeprefix("Transformer/encoderblock/")
            found |= {f"Transformer/encoderblock_{layer}/{rest}": part for layer, part in enumerate(tensor)}
        else:
            found[inner] = tensor
    return found, form


def _form_of(tensors: Mapping[str, Tensor]) -> Form:
    names = tensors.keys()
    prefix = next((one for one in PREFIXES if any(name.startswith(one) for name in names)), "")
    inner = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    if any("/MultiHeadDotProductAttention_1/" in name for name in inner):
        naming = "published"
    elif "Transformer/posembed_input/pos_embedding" in inner:
        naming = "linen"
    else:
        naming = "big_vision"
    scan = any(name.startswith("Transformer/encoderblock/") for name in inner)
    form: Form = {"naming": naming, "prefix": prefix, "scan": scan}
    root = tensors.get(f"{prefix}gn_root/scale")
    return form if root is None else form | {"norm_axes": root.ndim - 1}


def read(found: Found, form: Form) -> Reading:
    """The architecture that cleaned tensors show, and what their code takes for granted."""
    _, attention, _, mlp = NAMINGS[form["naming"]]
    block = "Transformer/encoderblock_0/"
    *patch, channels, dim = found.size("embedding/kernel", 4)
    values: dict[str, Any] = {"channels": channels, "patch_size": tuple(patch)}
    stride = 1
    if "conv_root/kernel" in found.tensors:
        stages = range(1, found.count(r"block(\d+)/"))
        values["resnet_layers"] = tuple(found.count(rf"block{stage}/unit(\d+)/") - 1 for stage in stages)
        values["channels"] = found.size("conv_root/kernel")[2]
        stride = 4 * 2 ** max(len(stages) - 1, 0)
    class_token = "cls" in found.tensors
    positioned = class_token and form["naming"] != "big_vision"  # there the class token has no position
    assumed = {
        "activation": "the tanh form, as in their code",
        "norm_epsilon": "as in their code",
        "mean": "as in their code",
        "std": "as in their code",
    }
    table = next((name for name in found.tensors if name.endswith("pos_embedding")), None)
    reach = (patch[0] * stride, patch[1] * stride)
    if table is not None:
        grid, _ = grid_of(found, found.size(table)[1], (int(positioned),), reach, assumed)
    else:
        grid = grid_without_table(found, reach, assumed)
    without_class = "attention" if "MAPHead_0/probe" in found.tensors else "average"
    config = ViTConfig(
        image_size=(grid[0] * reach[0], grid[1] * reach[1]),
        layers=found.count(r"Transformer/encoderblock_(\d+)/"),
        dim=dim,
        mlp_dim=found.size(f"{block}{mlp}/Dense_0/kernel")[1],
        heads=found.size(f"{block}{attention}/query/kernel")[1],
        num_classes=found.size("head/kernel")[1] if "head/kernel" in found.tensors else 0,
        pool="token" if class_token else without_class,
        class_token=class_token,
        position_embedding="sincos_2d" if table is None else "learned",
        special_positions=0 if class_token and not positioned else None,
        representation_size=found.size("pre_logits/kernel")[1]
        if "pre_logits/kernel" in found.tensors
        else None,
        activation="gelu_tanh",
        **values,
    )
    preprocessing = Preprocessing(
        config.image_size,
        "stretch",
        for_channels(HALF, config.channels),
        for_channels(HALF, config.channels),
        interpolation="bilinear",
        channels=config.channels,
    )
    return Reading(config, preprocessing, class_names_for(config.num_classes, assumed), assumed)


def rules(config: ViTConfig, form: Form) -> Iterator[Rule]:
    """Their cleaned tensors for each of ours."""
    if config.resnet_layers is not None:
        yield from _stem(config, (1,) * form.get("norm_axes", 3))
    yield _kernel("embedding.patch.weight", "embedding/kernel", (3, 2, 0, 1))
    yield same("embedding.patch.bias", "embedding/bias")
    if config.class_token:
        yield same("embedding.class_token", "cls")
    if config.position_embedding == "learned":
        where = "" if form["naming"] == "big_vision" else "Transformer/posembed_input/"
        yield same("embedding.position.table", f"{where}pos_embedding")
    attention_norm, attention, mlp_norm, mlp = NAMINGS[form["naming"]]
    for layer in range(config.layers):
        ours, theirs = f"blocks.{layer}", f"Transformer/encoderblock_{layer}"
        yield from _norm(f"{ours}.attention_norm", f"{theirs}/{attention_norm}")
        yield from _attention(f"{ours}.attention", f"{theirs}/{attention}", config)
        yield from _norm(f"{ours}.mlp_norm", f"{theirs}/{mlp_norm}")
        yield from _mlp(f"{ours}.mlp", f"{theirs}/{mlp}")
    yield from _norm("norm", "Transformer/encoder_norm")
    if config.pool == "attention":
        yield same("attention_pooling.query", "MAPHead_0/probe")
        yield from _attention("attention_pooling", "MAPHead_0/MultiHeadDotProductAttention_0", config)
        yield from _norm("attention_pooling.norm", "MAPHead_0/LayerNorm_0")
        yield from _mlp("attention_pooling.mlp", "MAPHead_0/MlpBlock_0")
    if config.representation_size is not None:
        yield from _dense("representation", "pre_logits")
    if config.num_classes:
        yield from _dense("head", "head")


def _kernel(ours: str, theirs: str, order: tuple[int, ...] = (1, 0)) -> Rule:
    """Axes in another order; `order` is theirs as ours has them."""
    back = tuple(order.index(axis) for axis in range(len(order)))
    return Rule(ours, (theirs,), lambda tensor: tensor.permute(order), lambda tensor: [tensor.permute(back)])


def _dense(ours: str, theirs: str) -> Iterator[Rule]:
    yield _kernel(f"{ours}.weight", f"{theirs}/kernel")
    yield same(f"{ours}.bias", f"{theirs}/bias")


def _norm(ours: str, theirs: str) -> Iterator[Rule]:
    yield same(f"{ours}.weight", f"{theirs}/scale")
    yield same(f"{ours}.bias", f"{theirs}/bias")


def _mlp(ours: str, theirs: str) -> Iterator[Rule]:
    yield from _dense(f"{ours}.hidden", f"{theirs}/Dense_0")
    yield from _dense(f"{ours}.out", f"{theirs}/Dense_1")


def _attention(ours: str, theirs: str, config: ViTConfig) -> Iterator[Rule]:
    dim, heads, size = config.dim, config.heads, config.head_dim
    parts = [f"{theirs}/{part}" for part in ("query", "key", "value")]
    yield Rule(
        f"{ours}.qkv.weight",
        tuple(f"{part}/kernel" for part in parts),
        lambda *kernels: torch.cat([kernel.flatten(1).T for kernel in kernels]),
        lambda tensor: [part.T.reshape(dim, heads, size) for part in tensor.chunk(3)],
    )
    yield Rule(
        f"{ours}.qkv.bias",
        tuple(f"{part}/bias" for part in parts),
        lambda *biases: torch.cat([bias.flatten() for bias in biases]),
        lambda tensor: [part.reshape(heads, size) for part in tensor.chunk(3)],
    )
    yield Rule(
        f"{ours}.out.weight",
        (f"{theirs}/out/kernel",),
        lambda kernel: kernel.flatten(0, 1).T,
        lambda tensor: [tensor.T.reshape(heads, size, dim)],
    )
    yield same(f"{ours}.out.bias", f"{theirs}/out/bias")


def _stem(config: ViTConfig, leading: tuple[int, ...]) -> Iterator[Rule]:
    """The hybrid's ResNet; the published files have leading axes of one in a group norm."""

    def layer(ours: str, our_norm: str, theirs: str, their_norm: str) -> Iterator[Rule]:
        yield _kernel(f"{ours}.weight", f"{theirs}/kernel", (3, 2, 0, 1))
        for our_part, their_part in (("weight", "scale"), ("bias", "bias")):
            yield Rule(
                f"{our_norm}.{our_part}",
                (f"{their_norm}/{their_part}",),
                lambda tensor: tensor.flatten(),
                lambda tensor: [tensor.reshape(*leading, -1)],
            )

    ours = "embedding.stem"
    yield from layer(f"{ours}.root", f"{ours}.root_norm", "conv_root", "gn_root")
    for stage, units in enumerate(config.resnet_layers or ()):
        for unit in range(units):
            our_unit, their_unit = f"{ours}.stages.{stage}.{unit}", f"block{stage + 1}/unit{unit + 1}"
            for number in (1, 2, 3):
                yield from layer(
                    f"{our_unit}.conv{number}",
                    f"{our_unit}.norm{number}",
                    f"{their_unit}/conv{number}",
                    f"{their_unit}/gn{number}",
                )
            if unit == 0:
                shortcut = f"{our_unit}.shortcut"
                yield from layer(
                    shortcut, f"{shortcut}_norm", f"{their_unit}/conv_proj", f"{their_unit}/gn_proj"
                )


def dress(tensors: Tensors, form: Form) -> Tensors:
    """Cleaned tensors in a form: the inverse of `clean`."""
    found: Tensors = {}
    stacks: dict[str, list[Tensor]] = {}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"Transformer/encoderblock_\d+/(.+)", name)
        if form["scan"] and match:
            stacks.setdefault(match[1], []).append(tensor)
        else:
            found[name] = tensor
    for name, parts in stacks.items():
        found[f"Transformer/encoderblock/{name}"] = torch.stack(parts)
    return {form["prefix"] + name: tensor for name, tensor in found.items()}
