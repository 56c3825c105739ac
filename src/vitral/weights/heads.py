"""A head for other classes: the rows of classes of the same name stay, the others start at zero."""

import unicodedata
from collections.abc import Sequence

import torch
from torch import nn

from vitral.errors import UsageError
from vitral.model import VisionTransformer


def match_head(
    model: VisionTransformer, known: Sequence[str], wanted: Sequence[str], bias: float = 0.0
) -> list[str]:
    """Give the model a head for the classes `wanted`, in place, matched by name and never by position.

    Args:
        model: its head has one row for each of `known`, or it has none. A head of neighbours has no rows: for
            other classes it gives way to a linear one.
        known: names of its classes; () where nobody knows them.
        wanted: names of the new ones.
        bias: of the rows that start anew.

    Returns:
        The names whose rows were kept; with none of them the pre-training layer goes too (section 3.2).

    Raises:
        UsageError: no class is wanted.
    """
    if not wanted:
        raise UsageError("a head needs at least one class")
    known, wanted = ([unicodedata.normalize("NFC", name) for name in names] for names in (known, wanted))
    twice = next((name for name in wanted if wanted.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two classes are called {twice!r}: give each a name of its own")
    kept = [name for name in wanted if name in known]
    if known == wanted:
        return kept
    if model.config.neighbours is not None:
        kept = []
    old = [model.head, model.distillation_head]
    representation, size = model.representation, model.config.representation_size
    model.replace_head(len(wanted))
    if kept and representation is not None:
        model.config = model.config.replace(representation_size=size)
        model.representation = representation
        model.head = nn.Linear(size or 0, len(wanted)).to(representation.weight)
    for before, after in zip(old, (model.head, model.distillation_head), strict=True):
        if not isinstance(after, nn.Linear):
            continue
        with torch.no_grad():
            after.weight.zero_()
            after.bias.fill_(bias)
            for row, name in enumerate(wanted):
                if name in kept and isinstance(before, nn.Linear):
                    after.weight[row] = before.weight[known.index(name)]
                    after.bias[row] = before.bias[known.index(name)]
    return kept
