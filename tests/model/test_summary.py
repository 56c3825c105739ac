"""Does the summary tell what a model costs? The oracles are the model itself and torch's own operation counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vitral.model import VisionTransformer, config_for
from vitral.model.summary import summarise


@pytest.mark.parametrize(
    ("name", "giga"),
    [
        ("vit_tiny_patch16_224", 1.26),
        ("vit_small_patch16_224", 4.61),
        ("vit_base_patch16_224", 17.58),
        ("vit_large_patch16_224", 61.60),
        ("vit_huge_patch14_224", 167.40),
    ],
)
def test_multiply_adds_are_those_of_the_literature(name: str, giga: float) -> None:
    assert summarise(config_for(name)).multiply_adds == pytest.approx(giga * 1e9, rel=0.01)


VARIANTS = {
    "token": {},
    "average": {"pool": "average", "position_embedding": "sincos_2d"},
    "average of patches beside a class token": {"pool": "average", "class_token": True},
    "tables by row and column": {"position_embedding": "learned_2d", "image_size": (24, 40)},
    "no positions, patches that are no squares": {"position_embedding": "none", "patch_size": (4, 8)},
    "rope": {"position_embedding": "rope", "channels": 5},
    "pre-training head": {"representation_size": 24},
    "no head": {"num_classes": 0},
    "three kinds of special tokens": {"distillation_token": True, "registers": 4, "mask_token": True},
    "positions of the patches alone": {"special_positions": 0},
    "two heads": {"distillation_token": True, "pool": "distilled"},
    "class token and average": {"pool": "token_average"},
    "attention pooling": {"pool": "attention", "class_token": False, "representation_size": 24},
    "CLIP": {"pre_norm": True, "patch_bias": False, "activation": "quick_gelu"},
    "EVA-02": {
        "position_embedding": "learned_rope",
        "rope_grid": 4,
        "qkv_bias": "no_key",
        "norm_in_attention": True,
        "norm_in_mlp": True,
        "gated_mlp": True,
        "activation": "silu",
        "norm_after_pool": True,
        "pool": "average",
    },
    "DINOv3": {"position_embedding": "rope", "qkv_bias": "none", "layer_scale": 1e-5},
    "features of three layers": {"feature_layers": 3, "pool": "token_average"},
    "merging": {"merge": 3},
    "merging, four special tokens": {"merge": 2, "registers": 3, "pool": "average", "feature_layers": 2},
    "merging more than there is": {
        "merge": 9,
        "pool": "average",
        "class_token": False,
        "image_size": (40, 24),
    },
    "hybrid": {"resnet_layers": (2, 1), "patch_size": 1},
    "hybrid, the root alone": {"resnet_layers": (), "patch_size": 2},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
@pytest.mark.parametrize("gradients", [True, False], ids=["explicit softmax", "fused attention"])
def test_counts_agree_with_the_model_and_with_torchs_counter(changes: dict, gradients: bool) -> None:
    config = config_for("vit_mini_patch8_32", **({"num_classes": 7} | changes))
    summary = summarise(config)
    model = VisionTransformer(config)
    assert summary.parameters == sum(parameter.numel() for parameter in model.parameters())
    images = torch.zeros(1, config.channels, *config.image_size)
    # On a processor the model takes an explicit softmax where gradients are wanted, else torch's fused attention.
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(gradients):
        model(images)
    assert summary.multiply_adds == counter.get_total_flops() / 2


def test_layers_have_the_models_names_shapes_and_parameters() -> None:
    model = VisionTransformer(config_for("vit_mini_patch8_32", num_classes=7))
    summary = summarise(model.config)
    shapes: dict[str, tuple[int, ...]] = {}
    modules = dict(model.named_modules())
    for name, module in modules.items():
        module.register_forward_hook(
            lambda _module, _inputs, output, name=name: shapes.update({name: tuple(output.shape[1:])})
        )
    model(torch.zeros(1, 3, 32, 32))
    compared = [
        layer for layer in summary.layers if layer.name in shapes and layer.name != "embedding.position"
    ]
    assert len(compared) == 1 + 4 * 6 + 2
    for layer in compared:
        assert layer.output_shape == shapes[layer.name]
        assert layer.parameters == sum(p.numel() for p in modules[layer.name].parameters())
    assert (summary.layers[0].name, summary.layers[-1].name) == ("embedding.patch", "head")
