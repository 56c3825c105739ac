"""Equations 2 and 3: the Transformer encoder.

    z'_l = MSA(LN(z_{l-1})) + z_{l-1}
    z_l  = MLP(LN(z'_l))   + z'_l

MSA is multi-head self-attention, LN layer normalisation, and l counts the layers.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitral.model.config import ViTConfig


class EncoderBlock(nn.Module):
    """One layer of the encoder, `(batch, tokens, dim)` in and out."""

    def __init__(self, config: ViTConfig, drop_path: float = 0.0) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.dim, eps=config.norm_epsilon)
        self.attention = SelfAttention(config)
        self.mlp_norm = nn.LayerNorm(config.dim, eps=config.norm_epsilon)
        self.mlp = MLP(config)
        self.drop_path = DropPath(drop_path)

    def forward(self, z: Tensor, rotation: Tensor | None = None) -> Tensor:
        z = self.drop_path(self.attention(self.attention_norm(z), rotation)) + z  # equation 2
        return self.drop_path(self.mlp(self.mlp_norm(z))) + z  # equation 3

    def forward_attention(self, z: Tensor, rotation: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The same, and the attention weights `(batch, heads, tokens, tokens)`."""
        out, weights = self.attention.forward_attention(self.attention_norm(z), rotation)
        z = self.drop_path(out) + z
        return self.drop_path(self.mlp(self.mlp_norm(z))) + z, weights


class SelfAttention(nn.Module):
    """Multi-head self-attention (appendix A): softmax(q k^T / sqrt(head_dim)) v in every head, then one projection."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.heads, self.attention_dropout = config.heads, config.attention_dropout
        self.qkv = nn.Linear(config.dim, 3 * config.dim)  # queries, keys and values in one product
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
        return self._merge(mixed)

    def forward_attention(self, z: Tensor, rotation: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The same, and the attention weights `(batch, heads, tokens, tokens)`, before their dropout."""
        q, k, v = self._queries_keys_values(z, rotation)
        weights = attention_weights(q, k)
        mixed = F.dropout(weights, self.attention_dropout, self.training) @ v
        return self._merge(mixed), weights

    def _queries_keys_values(self, z: Tensor, rotation: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Three times `(batch, heads, tokens, head_dim)`."""
        batch, tokens, dim = z.shape
        qkv = self.qkv(z).view(batch, tokens, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        return q, k, v

    def _merge(self, mixed: Tensor) -> Tensor:
        """The heads side by side again, and the output projection: `(batch, tokens, dim)`."""
        return self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))


def attention_weights(q: Tensor, k: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(head_dim)): `(batch, heads, tokens, head_dim)` twice to `(batch, heads, tokens, tokens)`."""
    return (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(dim=-1)


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
    """Two dense layers with GELU between, the same for every token."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.hidden = nn.Linear(config.dim, config.mlp_dim)
        self.activation = nn.GELU(approximate="tanh" if config.activation == "gelu_tanh" else "none")
        self.out = nn.Linear(config.mlp_dim, config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, z: Tensor) -> Tensor:
        return self.dropout(self.out(self.dropout(self.activation(self.hidden(z)))))


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
