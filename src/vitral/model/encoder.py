"""Equations 2 and 3: the Transformer encoder.

    z'_l = MSA(LN(z_{l-1})) + z_{l-1}
    z_l  = MLP(LN(z'_l))   + z'_l

MSA is multi-head self-attention, LN layer normalisation, and l counts the layers.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitral.model.config import ViTConfig
from vitral.model.merging import Merged, merge


class EncoderBlock(nn.Module):
    """One layer of the encoder, `(batch, tokens, dim)` in and out."""

    def __init__(self, config: ViTConfig, drop_path: float = 0.0) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.dim, eps=config.norm_epsilon)
        self.attention = SelfAttention(config)
        self.mlp_norm = nn.LayerNorm(config.dim, eps=config.norm_epsilon)
        self.mlp = MLP(config)
        scaled = config.layer_scale is not None
        self.attention_scale = LayerScale(config.dim, config.layer_scale) if scaled else nn.Identity()
        self.mlp_scale = LayerScale(config.dim, config.layer_scale) if scaled else nn.Identity()
        self.drop_path = DropPath(drop_path)

    def forward(self, z: Tensor, rotation: Tensor | None = None) -> Tensor:
        z = self._add(z, self.attention_scale(self.attention(self.attention_norm(z), rotation)))  # equation 2
        return self._add(z, self.mlp_scale(self.mlp(self.mlp_norm(z))))  # equation 3

    def forward_attention(self, z: Tensor, rotation: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The same, and the attention weights `(batch, heads, tokens, tokens)`."""
        out, weights = self.attention.forward_attention(self.attention_norm(z), rotation)
        z = self._add(z, self.attention_scale(out))
        return self._add(z, self.mlp_scale(self.mlp(self.mlp_norm(z)))), weights

    def forward_merging(
        self,
        z: Tensor,
        rotation: Tensor | None,
        merged: Merged | None,
        special: int,
        count: int,
        read: bool = False,
    ) -> tuple[Tensor, Merged | None, Tensor | None]:
        """The same with `count` patches merged away between attention and MLP, see `vitral.model.merging`.

        Args:
            z: `(batch, tokens, dim)`.
            rotation: of all tokens that there were.
            merged: what has become of them so far; None: they stand for themselves.
            special: tokens that are never merged, the first ones.
            count: patches to merge away, at most half of them.
            read: whether the attention weights are wanted.

        Returns:
            `(batch, tokens - count, dim)`, what has become of the tokens, and the attention weights
            `(batch, heads, tokens, tokens)` of those that there were, or None.
        """
        if rotation is not None and merged is not None:
            rotation = merged.rotation(rotation)
        out, keys, weights = self.attention.forward_merged(self.attention_norm(z), rotation, merged, read)
        z = self._add(z, self.attention_scale(out))
        if count:
            z, merged = merge(z, keys, merged, special, count)
        return self._add(z, self.mlp_scale(self.mlp(self.mlp_norm(z)))), merged, weights

    def _add(self, z: Tensor, branch: Tensor) -> Tensor:
        return self.drop_path(branch) + z


class SelfAttention(nn.Module):
    """Multi-head self-attention (appendix A): softmax(q k^T / sqrt(head_dim)) v in every head, then one projection."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.heads, self.attention_dropout = config.heads, config.attention_dropout
        # Queries, keys and values in one product.
        self.qkv = nn.Linear(config.dim, 3 * config.dim, bias=config.qkv_bias == "all")
        without_key = config.qkv_bias == "no_key"
        self.query_bias = nn.Parameter(torch.zeros(config.dim)) if without_key else None
        self.value_bias = nn.Parameter(torch.zeros(config.dim)) if without_key else None
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_epsilon) if config.norm_in_attention else None
        self.out = nn.Linear(config.dim, config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, z: Tensor, rotation: Tensor | None = None) -> Tensor:
        """`(batch, tokens, dim)` in and out, on the fastest path of the device."""
        q, k, v = self._queries_keys_values(z, rotation)
        dropout = self.attention_dropout if self.training else 0.0
        if explicit_is_faster(q):
            mixed = F.dropout(attention_weights(q, k), dropout) @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        return self._joined(mixed)

    def forward_attention(self, z: Tensor, rotation: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The same, and the attention weights `(batch, heads, tokens, tokens)`, before their dropout."""
        q, k, v = self._queries_keys_values(z, rotation)
        weights = attention_weights(q, k)
        mixed = F.dropout(weights, self.attention_dropout, self.training) @ v
        return self._joined(mixed), weights

    def forward_merged(
        self, z: Tensor, rotation: Tensor | None, merged: Merged | None, read: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Proportional attention: softmax(q k^T / sqrt(head_dim) + log s) v, s patches a token.

        Args:
            z: `(batch, tokens, dim)`.
            rotation: of these tokens.
            merged: what they stand for; None: for themselves.
            read: whether the attention weights are wanted.

        Returns:
            `(batch, tokens, dim)`; the keys, `(batch, heads, tokens, head_dim)`; and the weights of all tokens that
            there were, before their dropout and in the graph, or None.
        """
        q, k, v = self._queries_keys_values(z, rotation)
        bias = merged.bias(q.dtype) if merged is not None else None
        dropout = self.attention_dropout if self.training else 0.0
        if not read and not explicit_is_faster(q):
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
            return self._joined(mixed), k, None
        weights = attention_weights(q, k, bias)
        if read and merged is not None:
            spread = merged.spread_attention(weights)
            mixed = F.dropout(merged.fold_attention(spread), dropout) @ v
            return self._joined(mixed), k, spread
        return self._joined(F.dropout(weights, dropout) @ v), k, weights if read else None

    def _queries_keys_values(self, z: Tensor, rotation: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Three times `(batch, heads, tokens, head_dim)`."""
        batch, tokens, dim = z.shape
        bias = self.qkv.bias
        if self.query_bias is not None and self.value_bias is not None:
            bias = torch.cat([self.query_bias, torch.zeros_like(self.query_bias), self.value_bias])
        qkv = F.linear(z, self.qkv.weight, bias).view(batch, tokens, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        return q, k, v

    def _joined(self, mixed: Tensor) -> Tensor:
        """The heads side by side again, and the output projection: `(batch, tokens, dim)`."""
        mixed = mixed.transpose(1, 2).flatten(2)
        return self.dropout(self.out(mixed if self.norm is None else self.norm(mixed)))


def attention_weights(q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(head_dim)): `(batch, heads, tokens, head_dim)` twice to `(batch, heads, tokens, tokens)`.

    A bias is added before the softmax.
    """
    scores = q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)
    return (scores if bias is None else scores + bias).softmax(dim=-1)


def explicit_is_faster(q: Tensor) -> bool:
    """Whether an explicit softmax beats the fused kernel here, as `benchmarks/attention.py` measures it.

    On processors the fused kernel's backward pass is slow in bf16; the explicit one keeps tokens x tokens numbers a
    head until then, so long sequences stay with the fused one.
    """
    return q.device.type == "cpu" and q.dtype != torch.float32 and q.requires_grad and q.shape[-2] <= 1024


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn each number of a head together with the one half a head further on (rotary positions)."""
    cosine, sine = rotation.to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat([-second, first], dim=-1) * sine


class MLP(nn.Module):
    """Two dense layers with GELU between, the same for every token.

    Gated (Shazeer 2020), the first layer gives twice as many numbers: the activation of one half times the other.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.gated = config.gated_mlp
        self.hidden = nn.Linear(config.dim, 2 * config.mlp_dim if self.gated else config.mlp_dim)
        self.activation = ACTIVATIONS[config.activation]()
        self.norm = nn.LayerNorm(config.mlp_dim, eps=config.norm_epsilon) if config.norm_in_mlp else None
        self.out = nn.Linear(config.mlp_dim, config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, z: Tensor) -> Tensor:
        z = self.hidden(z)
        if self.gated:
            gate, value = z.chunk(2, dim=-1)
            z = self.activation(gate) * value
        else:
            z = self.activation(z)
        z = self.dropout(z)
        return self.dropout(self.out(z if self.norm is None else self.norm(z)))


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x), the approximation of GELU in CLIP (Hendrycks and Gimpel 2016, section 2)."""

    def forward(self, z: Tensor) -> Tensor:
        return z * torch.sigmoid(1.702 * z)


ACTIVATIONS = {
    "gelu": nn.GELU,
    "gelu_tanh": partial(nn.GELU, approximate="tanh"),
    "quick_gelu": QuickGELU,
    "silu": nn.SiLU,
}


class LayerScale(nn.Module):
    """A learned factor for every number of a residual branch (Touvron et al. 2021)."""

    def __init__(self, dim: int, start: float | None) -> None:
        super().__init__()
        self.start = start or 0.0
        self.scale = nn.Parameter(torch.full((dim,), self.start))

    def forward(self, branch: Tensor) -> Tensor:
        return branch * self.scale


class DropPath(nn.Module):
    """Stochastic depth: in training, a residual branch is left out for some images (Huang et al. 2016; AugReg)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return branch
        keep = 1 - self.rate
        kept = branch.new_empty(branch.shape[0], 1, 1).bernoulli_(keep)
        return branch * (kept / keep)


class AttentionPooling(nn.Module):
    """One learned query looks at all patches, and an MLP follows: multi-head attention pooling (Scaling, section 2).

    `(batch, patches, dim)` to `(batch, dim)`.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.qkv = nn.Linear(config.dim, 3 * config.dim)
        self.out = nn.Linear(config.dim, config.dim)
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_epsilon)
        self.mlp = MLP(config)

    def forward(self, z: Tensor) -> Tensor:
        q, k, v = self._queries_keys_values(z)
        return self._joined(F.scaled_dot_product_attention(q, k, v))

    def weights(self, z: Tensor) -> Tensor:
        """How much the query looks at each patch: `(batch, patches, dim)` to `(batch, heads, patches)`."""
        q, k, _ = self._queries_keys_values(z)
        return attention_weights(q, k).squeeze(2)

    def forward_weights(self, z: Tensor, weights: Tensor) -> Tensor:
        """What `forward` gives, with these `weights`."""
        _, _, v = self._queries_keys_values(z)
        return self._joined(weights.unsqueeze(2) @ v)

    def _queries_keys_values(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`(batch, heads, 1, head_dim)`, and twice `(batch, heads, patches, head_dim)`."""
        dim = z.shape[-1]
        weight, bias = self.qkv.weight, self.qkv.bias
        q = F.linear(self.query, weight[:dim], bias[:dim]).expand(z.shape[0], -1, -1)  # (batch, 1, dim)
        k, v = F.linear(z, weight[dim:], bias[dim:]).chunk(2, dim=-1)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        return q, k, v

    def _joined(self, mixed: Tensor) -> Tensor:
        """The heads side by side again, the output projection and the MLP: `(batch, dim)`."""
        y = self.out(mixed.transpose(1, 2).flatten(2)).squeeze(1)
        return self.mlp(self.norm(y)) + y
