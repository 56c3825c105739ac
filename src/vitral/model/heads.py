"""A head that learns nothing: it remembers, and lets the nearest of what it remembers vote."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Votes weigh exp(cosine / this), as in the evaluation of DINO (Wu et al. 2018, section 3.4, tau).
TEMPERATURE = 0.07


class NeighbourHead(nn.Module):
    """k nearest neighbours by cosine: `(batch, width)` to logits `(batch, classes)`.

    The logits are the logarithms of each class's share of the votes, so that their softmax is these shares; a class
    without a vote has one in a million.
    """

    def __init__(self, width: int, classes: int, neighbours: int, examples: int) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.bank: Tensor
        self.targets: Tensor
        self.register_buffer("bank", torch.zeros(examples, width))  # each of length 1
        self.register_buffer("targets", torch.zeros(examples, classes))  # each one a 1, in its class's column

    def forward(self, y: Tensor) -> Tensor:
        # In fp32, whatever the network computes in: neighbours differ by less than bf16 can tell apart.
        similarity = F.normalize(y.float(), dim=-1) @ self.bank.float().T  # (batch, examples)
        nearest, index = similarity.topk(self.neighbours, dim=-1)
        weights = ((nearest - nearest[:, :1]) / TEMPERATURE).exp()
        votes = (weights.unsqueeze(-1) * self.targets.float()[index]).sum(dim=1)
        shares = votes / weights.sum(dim=-1, keepdim=True)
        return shares.clamp_min(1e-6).log().to(y.dtype)
