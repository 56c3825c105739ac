"""How one house's tensors become ours and ours become theirs: a list of rules, read in either direction.

A family states once, for a configuration, which of its tensors make up each of ours. `to_vitral` reads that list from
right to left, `from_vitral` from left to right, and what does not fit is told by their names and shapes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vitral.errors import WeightsError
from vitral.model import ViTConfig, model_without_weights

Tensors = dict[str, Tensor]
Form = dict[
    str, Any
]  # how a file of theirs is laid out, beside its numbers: what writing it again needs to know


@dataclass(frozen=True)
class Rule:
    """One tensor of ours and those of theirs that it is made of.

    Args:
        ours: its name in `VisionTransformer.state_dict()`.
        theirs: their names; () where they have none and ours is zero.
        read: theirs to ours.
        write: ours to theirs, the exact inverse.
    """

    ours: str
    theirs: tuple[str, ...]
    read: Callable[..., Tensor]
    write: Callable[[Tensor], Sequence[Tensor]]


def same(ours: str, theirs: str) -> Rule:
    """The same numbers in the same shape."""
    return Rule(ours, (theirs,), lambda tensor: tensor, lambda tensor: [tensor])


def reshaped(ours: str, theirs: str, our_shape: Sequence[int], their_shape: Sequence[int]) -> Rule:
    """The same numbers in the same order, in another shape."""
    return Rule(
        ours,
        (theirs,),
        lambda tensor: tensor.reshape(*our_shape),
        lambda tensor: [tensor.reshape(*their_shape)],
    )


def both(ours: str, theirs: str) -> Iterator[Rule]:
    """Weight and bias of a layer that is the same in both."""
    yield same(f"{ours}.weight", f"{theirs}.weight")
    yield same(f"{ours}.bias", f"{theirs}.bias")


def stacked(ours: str, theirs: Sequence[str]) -> Rule:
    """Theirs below one another, in equal parts, along the first axis."""
    return Rule(
        ours, tuple(theirs), lambda *parts: torch.cat(parts), lambda tensor: tensor.chunk(len(theirs))
    )


def absent(ours: str) -> Rule:
    """Zeros, for which they have no tensor."""
    return Rule(ours, (), torch.zeros, lambda _: [])


def to_vitral(tensors: Mapping[str, Tensor], rules: Iterable[Rule], config: ViTConfig, house: str) -> Tensors:
    """Their tensors as ours, each in its own precision; what no rule changes is passed on, not copied.

    Args:
        tensors: theirs.
        rules: one for every tensor of ours.
        config: the architecture that they are to fit.
        house: whose they are, for the text of an error.

    Raises:
        WeightsError: tensors are missing, too many, or of another shape; the text names the first with both shapes.
    """
    rules = list(rules)
    ours: Tensors = dict(model_without_weights(config).state_dict())
    assert {rule.ours for rule in rules} == set(ours), {rule.ours for rule in rules} ^ set(ours)
    expected: dict[str, tuple[int, ...]] = {}
    for rule in rules:
        parts = rule.write(ours[rule.ours])
        expected |= {name: tuple(part.shape) for name, part in zip(rule.theirs, parts, strict=True)}
    check_shapes({name: tuple(tensor.shape) for name, tensor in tensors.items()}, expected, house)
    for name in expected:
        if not tensors[name].is_floating_point():
            kind = str(tensors[name].dtype).removeprefix("torch.")
            raise WeightsError(f"the tensor {name} is {kind}: vitral reads weights in floating point only")
    found = {}
    for rule in rules:
        if rule.theirs:
            found[rule.ours] = rule.read(*(tensors[name] for name in rule.theirs))
        else:
            found[rule.ours] = torch.zeros(ours[rule.ours].shape)
    return found


def from_vitral(tensors: Mapping[str, Tensor], rules: Iterable[Rule], house: str) -> Tensors:
    """Our tensors as theirs: the inverse of `to_vitral`.

    Raises:
        WeightsError: one of ours, which they have no tensor for, is not zero.
    """
    found: Tensors = {}
    for rule in rules:
        if not rule.theirs and bool(tensors[rule.ours].any()):
            raise WeightsError(
                f"{house} has no place for {rule.ours}, which is not zero: set it to zero, or leave it"
            )
        parts = rule.write(tensors[rule.ours])
        found |= {name: part.contiguous() for name, part in zip(rule.theirs, parts, strict=True)}
    return found


def check_shapes(found: Mapping[str, Any], expected: Mapping[str, Any], house: str) -> None:
    """Refuse tensors that are not those expected.

    Raises:
        WeightsError: the first that does not fit is named with both shapes, and how many more there are.
    """
    names = [name for name in sorted(found.keys() | expected.keys()) if found.get(name) != expected.get(name)]
    if names:
        first = names[0]
        more = f", and {len(names) - 1} more do not fit" if len(names) > 1 else ""
        raise WeightsError(
            f"these are not the weights of {house}: {first} is {shape(found.get(first))} "
            f"instead of {shape(expected.get(first))}{more}"
        )


def shape(sizes: Sequence[int] | None) -> str:
    """`(768, 3, 16, 16)` as people write it."""
    return "missing" if sizes is None else "x".join(map(str, sizes)) or "one number"
