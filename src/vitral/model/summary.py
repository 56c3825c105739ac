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
        multiply_adds: of its matrix products, attention's two and those of token merging included.
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
    channels = config.channels
    if config.resnet_layers is not None:
        stem = _stem(config)
        yield stem
        channels = stem.output_shape[0]
    pixels = channels * config.patch_size[0] * config.patch_size[1]
    parameters = pixels * dim + (dim if config.patch_bias else 0)
    yield LayerSummary("embedding.patch", (patches, dim), parameters, patches * pixels * dim)
    special = {"class_token": int(config.class_token), "distillation_token": int(config.distillation_token)}
    for name, count in (special | {"registers": config.registers}).items():
        if count:
            yield LayerSummary(f"embedding.{name}", sequence, count * dim, 0)
    if config.mask_token:
        yield LayerSummary("embedding.mask_token", sequence, dim, 0)
    learned = (config.positioned_tokens + patches) * dim
    positions = {"learned": learned, "learned_rope": learned}
    positions |= {"learned_2d": sum(config.grid) * dim // 2, "sincos_2d": 0}
    if config.position_embedding in positions:
        yield LayerSummary("embedding.position", sequence, positions[config.position_embedding], 0)
    if config.pre_norm:
        yield LayerSummary("embedding.norm", sequence, 2 * dim, 0)
    attention = 4 * _dense(dim, dim) - {"all": 0, "no_key": dim, "none": 3 * dim}[config.qkv_bias]
    attention += 2 * dim if config.norm_in_attention else 0
    for index in range(config.layers):
        block = f"blocks.{index}"
        tokens, after = (
            config.special_tokens + count for count in config.patches_by_layer[index : index + 2]
        )
        # Queries, keys, values and the projection of every token; then every query with every key, and every weight
        # with every value.
        products = tokens * 4 * dim * dim + 2 * tokens * tokens * dim + _merging(config, tokens, after)
        sequence = (tokens, dim)
        yield LayerSummary(f"{block}.attention_norm", sequence, 2 * dim, 0)
        yield LayerSummary(f"{block}.attention", sequence, attention, products)
        if config.layer_scale is not None:
            yield LayerSummary(f"{block}.attention_scale", sequence, dim, 0)
        sequence = (after, dim)
        yield LayerSummary(f"{block}.mlp_norm", sequence, 2 * dim, 0)
        yield LayerSummary(f"{block}.mlp", sequence, *_mlp(config, after))
        if config.layer_scale is not None:
            yield LayerSummary(f"{block}.mlp_scale", sequence, dim, 0)
    normed = (dim,) if config.norm_after_pool else (config.special_tokens + patches, config.feature_dim)
    yield LayerSummary("norm", normed, 2 * dim, 0)
    if config.pool == "attention":
        parameters, multiply_adds = _mlp(config, 1)
        parameters += dim + 4 * _dense(dim, dim) + 2 * dim
        multiply_adds += (2 + 2 * patches) * dim * dim + 2 * patches * dim
        yield LayerSummary("attention_pooling", (dim,), parameters, multiply_adds)
    width = config.representation_size or config.pooled_dim
    if config.representation_size is not None:
        yield LayerSummary(
            "representation", (width,), _dense(config.pooled_dim, width), config.pooled_dim * width
        )
    if config.neighbours is not None and config.examples is not None:
        # What it remembers is not learned: a product with each, and the votes of the nearest.
        products = config.examples * width + config.neighbours * config.num_classes
        yield LayerSummary("head", (config.num_classes,), 0, products)
    elif config.num_classes:
        for name in ("head", "distillation_head") if config.pool == "distilled" else ("head",):
            parameters, products = _dense(width, config.num_classes), width * config.num_classes
            yield LayerSummary(name, (config.num_classes,), parameters, products)


def _merging(config: ViTConfig, tokens: int, after: int) -> int:
    """Multiply-adds of `merging.merge`: the keys of every other patch with those between, and the averages."""
    if tokens == after:
        return 0
    patches = tokens - config.special_tokens
    half = patches // 2
    return half * (patches - half) * config.head_dim + after * (tokens - after) * config.dim


def _mlp(config: ViTConfig, tokens: int) -> tuple[int, int]:
    """Parameters and multiply-adds of an MLP."""
    dim, hidden = config.dim, config.mlp_dim * (2 if config.gated_mlp else 1)
    parameters = (
        _dense(dim, hidden) + _dense(config.mlp_dim, dim) + (2 * config.mlp_dim if config.norm_in_mlp else 0)
    )
    return parameters, tokens * dim * (hidden + config.mlp_dim)


def _stem(config: ViTConfig) -> LayerSummary:
    """The convolutional stem of a hybrid as one layer: a kernel for every output, and a group norm after each."""
    height, width = config.image_size[0] // 2, config.image_size[1] // 2
    parameters, multiply_adds = 0, 0

    def convolution(inputs: int, outputs: int, kernel: int) -> None:
        nonlocal parameters, multiply_adds
        weights = inputs * outputs * kernel * kernel
        parameters += weights + 2 * outputs
        multiply_adds += weights * height * width

    channels = 64
    convolution(config.channels, channels, 7)
    height, width = height // 2, width // 2
    for index, units in enumerate(config.resnet_layers or ()):
        for unit in range(units):
            middle = 64 * 2**index
            convolution(channels, middle, 1)
            if unit == 0 and index > 0:
                height, width = height // 2, width // 2
            convolution(middle, middle, 3)
            convolution(middle, 4 * middle, 1)
            if unit == 0:
                convolution(channels, 4 * middle, 1)
            channels = 4 * middle
    return LayerSummary("embedding.stem", (channels, height, width), parameters, multiply_adds)


def _dense(inputs: int, outputs: int) -> int:
    """The numbers of a dense layer: its matrix and its biases."""
    return inputs * outputs + outputs
