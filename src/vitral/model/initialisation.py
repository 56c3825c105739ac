"""Random weights as the authors' code draws them."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vitral.model.embedding import PatchEmbedding, PositionEmbedding
from vitral.model.encoder import MLP, AttentionPooling, LayerScale, SelfAttention
from vitral.model.resnet import Bottleneck, StandardisedConv

if TYPE_CHECKING:
    from vitral.model.vit import VisionTransformer


@torch.no_grad()
def initialise(model: "VisionTransformer") -> None:
    """Set every weight anew, in place.

    Queries, keys, values and the output projection: Xavier-uniform, each by itself; MLP and pre-training layer:
    Xavier-uniform (LeCun-normal for the latter) with biases N(0, 1e-6^2) in the MLP; patch embedding: LeCun-normal;
    positions N(0, 0.02^2); class token and head 0; norms 1 and 0, but for the last of a hybrid's units, 0; the stem's
    kernels LeCun-normal. Source: vision_transformer, `models_vit.py`, `models_resnet.py`. What came later: distillation
    token, registers and mask token N(0, 0.02^2), as timm draws them; the query of attention pooling Xavier-uniform,
    as big_vision does.
    """
    if model.norm.weight.is_meta:  # shapes without numbers: nothing to draw
        return
    for module in model.modules():
        if isinstance(module, (SelfAttention, AttentionPooling)):
            for projection in (*module.qkv.weight.chunk(3), module.out.weight):
                nn.init.xavier_uniform_(projection)
            for bias in (module.qkv.bias, module.out.bias, *module.parameters(recurse=False)):
                if bias is not None:
                    nn.init.zeros_(bias)
        elif isinstance(module, MLP):
            for layer in (module.hidden, module.out):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.normal_(layer.bias, std=1e-6)
        elif isinstance(module, PatchEmbedding):
            lecun_normal_(module.weight.flatten(1))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, StandardisedConv):
            lecun_normal_(module.weight.flatten(1))
        elif isinstance(module, LayerScale):
            nn.init.constant_(module.scale, module.start)
        elif isinstance(module, PositionEmbedding):
            for table in module.parameters():
                nn.init.normal_(table, std=0.02)
        elif isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
            module.reset_parameters()
    for module in model.modules():
        if isinstance(module, Bottleneck):  # after its norms had their turn: a unit starts as its shortcut
            nn.init.zeros_(module.norm3.weight)
    for name, token in model.embedding.named_parameters(recurse=False):
        nn.init.zeros_(token) if name == "class_token" else nn.init.normal_(token, std=0.02)
    if model.attention_pooling is not None:
        nn.init.xavier_uniform_(model.attention_pooling.query[0])
    if model.representation is not None:
        lecun_normal_(model.representation.weight)
        nn.init.zeros_(model.representation.bias)
    for head in (model.head, model.distillation_head):
        for parameter in head.parameters() if head is not None else ():
            nn.init.zeros_(parameter)


def lecun_normal_(weight: Tensor) -> None:
    """Fill `(out, in)` with a normal of variance 1 / in, cut off at two standard deviations and rescaled for that."""
    shrinkage = 0.87962566103423978  # the standard deviation of a standard normal cut off at two
    std = math.sqrt(1 / weight.shape[1]) / shrinkage
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)
