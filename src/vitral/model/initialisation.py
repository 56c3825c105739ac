"""Random weights as the authors' code draws them."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vitral.model.embedding import PatchEmbedding, PositionEmbedding
from vitral.model.encoder import MLP, SelfAttention

if TYPE_CHECKING:
    from vitral.model.vit import VisionTransformer


@torch.no_grad()
def initialise(model: "VisionTransformer") -> None:
    """Set every weight anew, in place.

    Queries, keys, values and the output projection: Xavier-uniform, each by itself; MLP and pre-training layer:
    Xavier-uniform (LeCun-normal for the latter) with biases N(0, 1e-6^2) in the MLP; patch embedding: LeCun-normal;
    positions N(0, 0.02^2); class token and head 0; norms 1 and 0. Source: vision_transformer, `models_vit.py`.
    """
    for module in model.modules():
        if isinstance(module, SelfAttention):
            for projection in (*module.qkv.weight.chunk(3), module.out.weight):
                nn.init.xavier_uniform_(projection)
            nn.init.zeros_(module.qkv.bias)
            nn.init.zeros_(module.out.bias)
        elif isinstance(module, MLP):
            for layer in (module.hidden, module.out):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.normal_(layer.bias, std=1e-6)
        elif isinstance(module, PatchEmbedding):
            lecun_normal_(module.weight.flatten(1))
            nn.init.zeros_(module.bias)
        elif isinstance(module, PositionEmbedding):
            for table in module.parameters():
                nn.init.normal_(table, std=0.02)
        elif isinstance(module, nn.LayerNorm):
            module.reset_parameters()
    if model.embedding.class_token is not None:
        nn.init.zeros_(model.embedding.class_token)
    if model.representation is not None:
        lecun_normal_(model.representation.weight)
        nn.init.zeros_(model.representation.bias)
    for parameter in model.head.parameters():
        nn.init.zeros_(parameter)


def lecun_normal_(weight: Tensor) -> None:
    """Fill `(out, in)` with a normal of variance 1 / in, cut off at two standard deviations and rescaled for that."""
    shrinkage = 0.87962566103423978  # the standard deviation of a standard normal cut off at two
    std = math.sqrt(1 / weight.shape[1]) / shrinkage
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)
