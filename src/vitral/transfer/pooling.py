"""What a head can see of a network that stays as it is: which layers, and what becomes of their tokens."""

from dataclasses import dataclass

from vitral.errors import UsageError
from vitral.model import ViTConfig
from vitral.transfer.recipe import ProbeRecipe

# The vectors of a layer that each pooling puts side by side.
PARTS = {
    "token": ("token",),
    "average": ("average",),
    "token_average": ("token", "average"),
    "distilled": ("distilled",),
    "attention": ("attention",),
}
# Of the last layers; more gave no more (docs/en/manual/transfer.md).
SEVERAL = 6


@dataclass(frozen=True)
class Pooling:
    """What the head sees.

    Args:
        layer: the network ends with this one, from 0 on.
        feature_layers, pool: as in `ViTConfig`.
    """

    layer: int
    feature_layers: int
    pool: str

    @property
    def layers(self) -> range:
        """The layers whose tokens are seen."""
        return range(self.layer - self.feature_layers + 1, self.layer + 1)


def parts_of(config: ViTConfig, layer: int) -> tuple[str, ...]:
    """The vectors that an image has in a layer: those of `PARTS` that the network can tell."""
    parts = ["token"] if config.class_token else []
    parts.append("average")
    if config.distillation_token:
        parts.append("distilled")
    if config.pool == "attention" and layer == config.layers - 1:
        parts.append("attention")
    return tuple(parts)


def poolings(config: ViTConfig, recipe: ProbeRecipe) -> tuple[Pooling, ...]:
    """What a recipe leaves to choose from: the network's own pooling, and several layers with all that they have.

    Raises:
        UsageError: the network has no such layer, or cannot pool so there; the text says what it can.
    """
    if not -config.layers <= recipe.layer < config.layers:
        raise UsageError(
            f"there is no layer {recipe.layer}: the network has {config.layers}, 0 to {config.layers - 1} "
            "(-1 is the last)"
        )
    layer = recipe.layer % config.layers
    possible = _possible(config, layer)
    if recipe.pool and recipe.pool not in possible:
        raise UsageError(
            f"--pool {recipe.pool} is not for layer {layer} of this network: choose one of {', '.join(possible)}"
        )
    own = config.pool if config.pool in possible else possible[0]
    both = "token_average" if "token_average" in possible else "average"
    found = []
    for pool, count in ((own, 1), (both, SEVERAL)):
        pool = recipe.pool or pool
        most = 1 if config.norm_after_pool or pool == "attention" else layer + 1
        if recipe.feature_layers > most:
            raise UsageError(
                f"--feature-layers {recipe.feature_layers} is more than --pool {pool} of this network has up to layer "
                f"{layer}: ask for {most} or fewer"
            )
        found.append(Pooling(layer, recipe.feature_layers or min(count, most), pool))
    return tuple(dict.fromkeys(found))


def _possible(config: ViTConfig, layer: int) -> list[str]:
    parts = set(parts_of(config, layer))
    possible = [pool for pool, needed in PARTS.items() if set(needed) <= parts]
    # The norm after the pooling is of one vector's width, and comes before no attention.
    return [pool for pool in possible if not config.norm_after_pool or pool in ("token", "average")]
