"""Pretrained WEIGHTS to start from: what they are, and under which licence."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pretrained:
    """One of the catalogue.

    Args:
        weights: its WEIGHTS.
        model: the MODEL that is of its size; its shapes may differ in details.
        licence: SPDX's name, or the licence's own.
        trained_on: data and, where there were no labels, the method.
    """

    weights: str
    model: str
    licence: str
    trained_on: str


# Apache-2.0, MIT and BSD-3-Clause are open to companies, CC-BY-NC-4.0 is not; the DINOv3 License has its own terms.
CATALOGUE = (
    Pretrained(
        "timm:vit_tiny_patch16_224.augreg_in21k", "vit_tiny_patch16_224", "Apache-2.0", "ImageNet-21k"
    ),
    Pretrained(
        "timm:vit_small_patch16_224.augreg_in21k", "vit_small_patch16_224", "Apache-2.0", "ImageNet-21k"
    ),
    Pretrained(
        "timm:vit_base_patch16_224.augreg_in21k", "vit_base_patch16_224", "Apache-2.0", "ImageNet-21k"
    ),
    Pretrained(
        "timm:vit_large_patch16_224.augreg_in21k", "vit_large_patch16_224", "Apache-2.0", "ImageNet-21k"
    ),
    Pretrained(
        "timm:deit3_small_patch16_224.fb_in22k_ft_in1k", "vit_small_patch16_224", "Apache-2.0", "ImageNet-22k"
    ),
    Pretrained("hf:google/vit-base-patch16-224-in21k", "vit_base_patch16_224", "Apache-2.0", "ImageNet-21k"),
    Pretrained("hf:facebook/dinov2-small", "vit_small_patch14_518", "Apache-2.0", "142 M, DINOv2"),
    Pretrained("hf:facebook/dinov2-base", "vit_base_patch14_518", "Apache-2.0", "142 M, DINOv2"),
    Pretrained(
        "hf:facebook/dinov2-with-registers-small",
        "vit_small_patch14_518",
        "Apache-2.0",
        "142 M, DINOv2",
    ),
    Pretrained(
        "hf:google/siglip-base-patch16-224",
        "vit_base_patch16_224",
        "Apache-2.0",
        "pairs with text",
    ),
    Pretrained("hf:openai/clip-vit-base-patch16", "vit_base_patch16_224", "MIT", "400 M pairs with text"),
    Pretrained("torchvision:vit_b_16", "vit_base_patch16_224", "BSD-3-Clause", "ImageNet-1k"),
    Pretrained("hf:facebook/vit-mae-base", "vit_base_patch16_224", "CC-BY-NC-4.0", "ImageNet-1k, MAE"),
    Pretrained(
        "hf:facebook/dinov3-vits16-pretrain-lvd1689m",
        "vit_small_patch16_224",
        "DINOv3 License",
        "1.7 G, DINOv3",
    ),
)

DEFAULT = "timm:vit_small_patch16_224.augreg_in21k"
"""What `vitral train DATA` starts from unless told: a ViT-S whose licence is open to companies."""
