"""Does a configuration refuse what cannot be built, in words that help, and survive a JSON file?"""

import dataclasses
import json

import pytest
import torch

from vitral.errors import ConfigError, UsageError
from vitral.model import VARIANTS, VisionTransformer, ViTConfig, config_for, create_model, model_names


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_size": 0}, ["image_size", "0"]),
        ({"image_size": 224.0}, ["image_size", "224.0"]),
        ({"image_size": (224, 224, 3)}, ["image_size", "(224, 224, 3)"]),
        ({"image_size": "224"}, ["image_size", "'224'"]),
        ({"image_size": None}, ["image_size", "None"]),
        ({"patch_size": (16, -16)}, ["patch_size", "-16"]),
        ({"patch_size": True}, ["patch_size", "True"]),
        ({"image_size": 225}, ["image_size", "patch_size", "225x225", "16x16"]),
        ({"image_size": (224, 232)}, ["224x232", "multiple"]),
        ({"channels": 0}, ["channels", "0"]),
        ({"layers": 0}, ["layers", "0"]),
        ({"layers": 2.0}, ["layers", "2.0"]),
        ({"dim": -768}, ["dim", "-768"]),
        ({"mlp_dim": 0}, ["mlp_dim", "0"]),
        ({"heads": False}, ["heads", "False"]),
        ({"heads": 7}, ["7 heads", "768"]),
        ({"num_classes": -1}, ["num_classes", "-1"]),
        ({"num_classes": 3.5}, ["num_classes", "3.5"]),
        ({"num_classes": False}, ["num_classes", "False"]),
        ({"representation_size": 0}, ["representation_size", "0"]),
        ({"dropout": 1.0}, ["dropout", "1.0"]),
        ({"dropout": float("nan")}, ["dropout", "nan"]),
        ({"attention_dropout": -0.1}, ["attention_dropout", "-0.1"]),
        ({"drop_path": 1.5}, ["drop_path", "1.5"]),
        ({"norm_epsilon": 0.0}, ["norm_epsilon", "0.0"]),
        ({"pool": "gap"}, ["pool", "gap", "token", "average"]),
        ({"activation": "relu"}, ["activation", "relu", "gelu", "gelu_tanh"]),
        (
            {"position_embedding": "1d"},
            ["position_embedding", "1d", *["none", "learned", "learned_2d", "sincos_2d", "rope"]],
        ),
        ({"class_token": "no"}, ["class_token", "'no'"]),
        ({"class_token": False}, ["class_token", "pool", "average"]),
        ({"position_embedding": "learned_2d", "dim": 33, "heads": 3}, ["learned_2d", "33"]),
        ({"position_embedding": "sincos_2d", "dim": 30, "heads": 3}, ["sincos_2d", "30"]),
        ({"position_embedding": "sincos_2d", "dim": 4, "heads": 1}, ["sincos_2d", "4"]),
        ({"position_embedding": "rope", "dim": 36, "heads": 6}, ["rope", "6"]),
        ({"feature_layers": 0}, ["feature_layers", "0", "12"]),
        ({"feature_layers": 13}, ["feature_layers", "13", "12"]),
        ({"feature_layers": 2, "norm_after_pool": True}, ["feature_layers", "norm_after_pool"]),
        ({"feature_layers": 2, "pool": "attention"}, ["feature_layers", "attention"]),
        ({"neighbours": 0, "examples": 3}, ["neighbours", "0"]),
        ({"neighbours": 5}, ["5 neighbours", "examples"]),
        ({"neighbours": 5, "examples": 4}, ["5 neighbours", "4 examples"]),
        ({"neighbours": 1, "examples": 4, "num_classes": 0}, ["num_classes"]),
        ({"neighbours": 1, "examples": 4, "representation_size": 8}, ["representation_size"]),
    ],
)
def test_impossible_configuration_names_the_field_and_the_value(changes, words):
    with pytest.raises(ConfigError) as refused:
        ViTConfig(**changes)
    for word in words:
        assert word in str(refused.value)
    assert "\n" not in str(refused.value)


def test_configuration_cannot_be_changed_behind_the_models_back():
    config = ViTConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.dim = 3  # pyright: ignore[reportAttributeAccessIssue]
    assert config.replace(num_classes=3) == ViTConfig(num_classes=3)
    with pytest.raises(ConfigError, match="heads"):
        config.replace(heads=5)


def test_configuration_survives_a_json_file():
    everything = ViTConfig(
        image_size=(160, 224), patch_size=(1, 2), channels=5, layers=2, dim=64, mlp_dim=100, heads=4, num_classes=0,
        pool="average", representation_size=7, activation="gelu_tanh", position_embedding="learned_rope",
        norm_epsilon=1e-5, dropout=0.1, attention_dropout=0.2, drop_path=0.3, position_interpolation="bicubic",
        special_positions=1, distillation_token=True, registers=4, mask_token=True, rope_grid=(3, 5), patch_bias=False,
        merge=3,
        pre_norm=True, qkv_bias="no_key", norm_in_attention=True, layer_scale=0.1, gated_mlp=True, norm_in_mlp=True,
        norm_after_pool=True, resnet_layers=(3, 4), resnet_form="timm",
    )  # fmt: skip
    # What does not go together with some of these.
    remembering = ViTConfig(
        image_size=32, layers=3, pool="average", class_token=False, feature_layers=2, neighbours=5, examples=9
    )
    fields = {field.name: field.default for field in dataclasses.fields(ViTConfig)}
    for config in (everything, remembering):
        again = ViTConfig.from_dict(json.loads(json.dumps(config.to_dict())))
        assert again == config
        assert hash(again) == hash(config)
    for name, default in fields.items():
        assert getattr(everything, name) != default or getattr(remembering, name) != default


def test_configuration_written_by_someone_else_is_refused():
    with pytest.raises(ConfigError, match="register_tokens"):
        ViTConfig.from_dict({"dim": 768, "register_tokens": 4})
    with pytest.raises(ConfigError, match="restore"):
        ViTConfig.from_dict({"dropout": "much"})
    with pytest.raises(ConfigError, match="image_size"):
        ViTConfig.from_dict({"image_size": None})


def test_grid_and_sequence_length_of_the_paper():
    assert config_for("vit_base_patch16_224").patches == 196  # N = HW / P²
    assert config_for("vit_huge_patch14_224").patches == 256
    assert config_for("vit_base_patch32_384").grid == (12, 12)
    wide = ViTConfig(image_size=(96, 160), patch_size=(16, 8))
    assert wide.grid == (6, 20)
    assert wide.head_dim == 64


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("patch", "image"), [(8, 224), (14, 224), (14, 518), (16, 224), (16, 384), (32, 224), (4, 32)]
)
def test_every_variant_goes_with_every_usual_patch_and_image_size(variant, patch, image):
    with torch.device("meta"):  # shapes without memory
        model = create_model(f"vit_{variant}_patch{patch}_{image}", num_classes=2, layers=1)
        assert model(torch.empty(1, 3, image, image)).shape == (1, 2)


def test_every_listed_name_is_a_model():
    names = model_names()
    assert len(names) == len(set(names))
    assert {"vit_tiny_patch16_224", "vit_mini_patch2_8", "vit_mini_patch4_32", "vit_tiny_patch8_64"} <= set(
        names
    )
    for name in names:
        config = config_for(name)
        if config.resnet_layers is not None:
            continue
        size, patch, image = name.removeprefix("vit_").replace("patch", "").split("_")
        assert (config.patch_size[0], config.image_size[0]) == (int(patch), int(image))
        assert (config.layers, config.dim, config.mlp_dim, config.heads) == VARIANTS[size]


@pytest.mark.parametrize(
    ("name", "layers", "tokens"),
    [
        ("vit_tiny_r_s16_p8_224", (), 50),
        ("vit_small_r26_s32_224", (2, 2, 2, 2), 50),
        ("vit_base_r50_s16_224", (3, 4, 9), 197),
        ("vit_base_r50_s16_384", (3, 4, 9), 577),
        ("vit_large_r50_s32_384", (3, 4, 6, 3), 145),
    ],
)
def test_hybrids_are_those_of_the_paper(name, layers, tokens):
    config = config_for(name)
    assert config.resnet_layers == layers
    assert config.special_tokens + config.patches == tokens
    with torch.device("meta"):
        model = create_model(name, num_classes=3)
        features = model.forward_features(torch.empty(1, 3, *config.image_size))
        assert features.shape == (1, tokens, config.dim)


def test_average_pooling_leaves_the_class_token_out_unless_asked():
    assert not config_for("vit_small_patch16_224", pool="average").class_token
    assert config_for("vit_small_patch16_224", pool="average", class_token=True).class_token
    assert config_for("vit_small_patch16_224").class_token


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("vit_bas_patch16_224", "vit_base_patch16_224"),
        ("vit_base_patch_16_224", "vit_base_patch16_224"),
        ("ViT_tiny_patch16_224", "vit_tiny_patch16_224"),
        ("vit_huge_patch14-224", "vit_huge_patch14_224"),
    ],
)
def test_misspelt_model_is_answered_with_the_nearest(name, near):
    with pytest.raises(UsageError, match=f"did you mean {near}") as refused:
        create_model(name)
    assert name in str(refused.value)


@pytest.mark.parametrize(
    "name", ["resnet", "", "vit_base_patch0_224", "vit_base_patch16_0224", "vit_base_patch16_224\n"]
)
def test_no_model_of_such_a_name(name):
    with pytest.raises(UsageError, match="vitral models"):
        config_for(name)


def test_unknown_field_of_a_model_is_named():
    with pytest.raises(ConfigError, match="patches"):
        config_for("vit_tiny_patch16_224", patches=3)


def test_name_whose_sizes_do_not_fit_is_refused():
    with pytest.raises(ConfigError, match="230x230"):
        config_for("vit_tiny_patch16_230")


def test_configuration_of_a_model_is_the_one_it_was_built_from():
    config = ViTConfig(image_size=16, patch_size=8, layers=1, dim=8, mlp_dim=8, heads=2, num_classes=2)
    assert VisionTransformer(config).config == config
