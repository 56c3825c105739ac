"""Token merging: in every layer the patches that are most alike become one, and what follows has fewer to work on.

Bolya et al. 2023, "Token Merging: Your ViT But Faster", section 3: between attention and MLP the patches with the most
similar keys are merged, and attention weighs a token by the number of patches that it stands for. Nothing is learned:
any network takes it, trained with it or not.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class Merged:
    """What has become of the tokens of each image of a batch.

    Args:
        sizes: float32 `(batch, tokens)`, how many patches each token stands for: s of the paper, 1 for special tokens.
        places: `(batch, special + patches)`, for every token that the image began with the one that it is in now.
        origins: `(batch, tokens)`, for every token the one whose place in the image it took.
    """

    sizes: Tensor
    places: Tensor
    origins: Tensor

    @classmethod
    def none(cls, tokens: Tensor) -> Self:
        """Of `(batch, tokens, dim)` that stand for themselves."""
        batch, count, _ = tokens.shape
        index = torch.arange(count, device=tokens.device).expand(batch, -1)
        return cls(torch.ones(batch, count, device=tokens.device), index, index)

    def bias(self, dtype: torch.dtype) -> Tensor:
        """log s, `(batch, 1, 1, tokens)`: what proportional attention adds to q k^T / sqrt(head_dim)."""
        return self.sizes.log().to(dtype)[:, None, None]

    def rotation(self, rotation: Tensor) -> Tensor:
        """Cosines and sines `(2, special + patches, head_dim)` as `(2, batch, 1, tokens, head_dim)` of the origins."""
        return rotation[:, self.origins].unsqueeze(2)

    def spread_attention(self, weights: Tensor) -> Tensor:
        """Weights `(batch, heads, tokens, tokens)` as `(batch, heads, special + patches, special + patches)`.

        What the network would have computed if the members of a token were all still there with its query, key and
        value: each looks where the token looks, and has an equal share of the looks at it. Rows sum to 1 again.
        """
        members = self._members(weights.dtype)
        shares = weights / self.sizes.to(weights.dtype)[:, None, None]
        return members @ shares @ members.transpose(-2, -1)

    def fold_attention(self, weights: Tensor) -> Tensor:
        """The reverse of `spread_attention`: the mean over a token's members of what they look at, summed by token."""
        members = self._members(weights.dtype)
        shares = members / self.sizes.to(weights.dtype)[:, None, None]
        return shares.transpose(-2, -1) @ weights @ members

    def _members(self, dtype: torch.dtype) -> Tensor:
        """`(batch, 1, special + patches, tokens)`: 1 where a token that there was is in one that there is, else 0."""
        tokens = torch.arange(self.sizes.shape[1], device=self.places.device)
        return (self.places.unsqueeze(-1) == tokens).to(dtype).unsqueeze(1)


def spread(tokens: Tensor, merged: Merged | None) -> Tensor:
    """Tokens `(batch, tokens, dim)` as `(batch, special + patches, dim)`: every patch has its token's vector."""
    return tokens if merged is None else take(tokens, merged.places)


def merge(
    tokens: Tensor, keys: Tensor, merged: Merged | None, special: int, count: int
) -> tuple[Tensor, Merged]:
    """Merge the `count` most similar pairs of patches, each pair into the average of all patches that it stands for.

    Args:
        tokens: `(batch, tokens, dim)`, special tokens first; these are never merged.
        keys: of the attention before, `(batch, heads, tokens, head_dim)`.
        merged: what happened in earlier layers; None where nothing was merged.
        special: how many special tokens there are.
        count: at most half of the patches.

    Returns:
        `(batch, tokens - count, dim)`, and what has become of the tokens since the first layer.
    """
    merged = merged or Merged.none(tokens)
    kept, gone, into = match(keys.detach(), special, count)
    own = merged.sizes.gather(1, kept)
    index = torch.arange(kept.shape[1], device=kept.device)
    # What each that is gone adds to each that is kept: its size in one place, else 0.
    added = (into.unsqueeze(1) == index.unsqueeze(1)) * merged.sizes.gather(1, gone).unsqueeze(1)
    sizes = own + added.sum(dim=-1)
    shares = (own / sizes).unsqueeze(-1), added / sizes.unsqueeze(-1)
    own_share, added_share = (share.to(tokens.dtype) for share in shares)
    averages = take(tokens, kept) * own_share + added_share @ take(tokens, gone)
    now = torch.cat([index.expand(kept.shape[0], -1), into], dim=1)
    moved = torch.zeros_like(now).scatter(1, torch.cat([kept, gone], dim=1), now)
    return averages, Merged(sizes, moved.gather(1, merged.places), merged.origins.gather(1, kept))


def match(keys: Tensor, special: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Bipartite soft matching (section 3.2).

    The patches alternate between two sets, A of the even and B of the odd tokens. Each of A proposes the one of B whose
    key is most similar, by the cosine of the keys' mean over heads (as attention compares them, rotary turn
    included), and the `count` most similar proposals are accepted.

    Args:
        keys: `(batch, heads, tokens, head_dim)`.
        special, count: see `merge`.

    Returns:
        The tokens that stay, in their new order: special tokens, the rest of A, B, `(batch, tokens - count)`; those of
        A that go, `(batch, count)`; and which of the former, counted in their new order, each of these goes into.
    """
    batch, _, tokens, _ = keys.shape
    even, odd = special + special % 2, special + 1 - special % 2
    metric = F.normalize(keys.float().mean(dim=1), dim=-1)  # (batch, tokens, head_dim)
    similarity = metric[:, even::2] @ metric[:, odd::2].transpose(-2, -1)
    best, partner = similarity.max(dim=-1)
    order = best.argsort(dim=-1, descending=True)
    accepted, rest = order[:, :count], order[:, count:].sort(dim=-1).values
    index = torch.arange(tokens, device=keys.device).expand(batch, -1)
    kept = torch.cat([index[:, :special], even + 2 * rest, index[:, odd::2]], dim=1)
    return kept, even + 2 * accepted, special + rest.shape[1] + partner.gather(1, accepted)


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """`(batch, tokens, dim)` and `(batch, count)` to `(batch, count, dim)`."""
    batch, count, _ = tokens.shape
    # As rows of one table: runtimes copy whole rows, and would look up number by number with torch.gather.
    rows = index + count * torch.arange(batch, device=index.device).unsqueeze(1)
    return F.embedding(rows, tokens.flatten(0, 1))
