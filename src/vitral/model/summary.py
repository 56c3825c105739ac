"""A model layer by layer: shapes, parameters and multiply-adds, from its architecture alone."""

from collections.abc import Iterator
from dataclasses import dataclass

from vitral.model.config import ViTConfig


@dataclass(frozen=True)
class LayerSummary:
    """One layer, for one image.

    Args:
        name: the module's, as in `model.get_submodule(name)`; of class token and positions, the attribute's.
        output_shape: without the batch.
        parameters: numbers that are learned.
        multiply_adds: of its matrix products, attention's two included.
    """

    name: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Summary:
    """The layers in the order in which an image goes through them, and what they sum up to."""

    layers: tuple[LayerSummary, ...]
    parameters: int
    multiply_adds: int


def summarise(config: ViTConfig) -> Summary:
    """What a model of this architecture consists of.

    Multiply-adds are those of the matrix products, where a multiplication with its addition counts as one; norms,
    softmax and activations, less than one per cent together, are left out as is usual.
    """
    layers = tuple(_layers(config))
    return Summary(layers, sum(one.parameters for one in layers), sum(one.multiply_adds for one in layers))


def _layers(config: ViTConfig) -> Iterator[LayerSummary]:
    dim, patches, tokens = config.dim, config.patches, config.special_tokens + config.patches
    sequence = (tokens, dim)
    pixels = config.channels * config.patch_size[0] * config.patch_size[1]
    yield LayerSummary("embedding.patch", (patches, dim), _dense(pixels, dim), patches * pixels * dim)
    if config.class_token:
        yield LayerSummary("embedding.class_token", sequence, dim, 0)
    positions = {"learned": tokens * dim, "learned_2d": sum(config.grid) * dim // 2, "sincos_2d": 0}
    if config.position_embedding in positions:
        yield LayerSummary("embedding.position", sequence, positions[config.position_embedding], 0)
    # Queries, keys, values and the projection of every token; then every query with every key, and every weight
    # with every value.
    products = tokens * 4 * dim * dim + 2 * tokens * tokens * dim
    for index in range(config.layers):
        block = f"blocks.{index}"
        yield LayerSummary(f"{block}.attention_norm", sequence, 2 * dim, 0)
        yield LayerSummary(f"{block}.attention", sequence, 4 * _dense(dim, dim), products)
        yield LayerSummary(f"{block}.mlp_norm", sequence, 2 * dim, 0)
        parameters = _dense(dim, config.mlp_dim) + _dense(config.mlp_dim, dim)
        yield LayerSummary(f"{block}.mlp", sequence, parameters, tokens * 2 * dim * config.mlp_dim)
    yield LayerSummary("norm", sequence, 2 * dim, 0)
    width = config.representation_size or dim
    if config.representation_size is not None:
        yield LayerSummary("representation", (width,), _dense(dim, width), dim * width)
    if config.num_classes:
        classes = config.num_classes
        yield LayerSummary("head", (classes,), _dense(width, classes), width * classes)


def _dense(inputs: int, outputs: int) -> int:
    """The numbers of a dense layer: its matrix and its biases."""
    return inputs * outputs + outputs
