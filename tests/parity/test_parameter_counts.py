"""Do the named models have exactly the parameters that the other libraries' have?"""

import pytest
import torch
import torchvision

from vitral.model import create_model

timm = pytest.importorskip("timm")


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",
        "vit_small_patch16_224",
        "vit_small_patch32_384",
        "vit_base_patch8_224",
        "vit_base_patch16_224",
        "vit_base_patch16_384",
        "vit_base_patch32_224",
        "vit_large_patch16_224",
        "vit_huge_patch14_224",
        "vit_giant_patch14_224",
        "vit_gigantic_patch14_224",
        "vit_tiny_r_s16_p8_224",
        "vit_small_r26_s32_224",
        "vit_base_r50_s16_224",
        "vit_large_r50_s32_224",
    ],
)
def test_as_many_as_timm(name):
    with torch.device("meta"):  # shapes without memory
        assert count(create_model(name)) == count(timm.create_model(name, num_classes=1000))
        other = {"num_classes": 3, "in_chans": 1}
        assert count(create_model(name, num_classes=3, channels=1)) == count(timm.create_model(name, **other))


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("vit_base_patch16_224", "vit_b_16"),
        ("vit_base_patch32_224", "vit_b_32"),
        ("vit_large_patch16_224", "vit_l_16"),
        ("vit_large_patch32_224", "vit_l_32"),
        ("vit_huge_patch14_224", "vit_h_14"),
    ],
)
def test_as_many_as_torchvision(name, theirs):
    with torch.device("meta"):
        assert count(create_model(name)) == count(torchvision.models.get_model(theirs))
