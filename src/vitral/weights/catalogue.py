"""Pretrained WEIGHTS to start from: what they are, and under which licence."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pretrained:
    """One of the catalogue.

    Args:
        weights: its WEIGHTS.
        parameters: in millions.
        image_size: pixels, that it was trained at.
        licence: SPDX name, or the licence's own; "open" to companies or not.
        trained_on: data and, where there were no labels, the method.
    """

    weights: str
    parameters: float
    image_size: int
    licence: str
    trained_on: str


# Apache-2.0 and MIT are open to companies; the others say what they allow.
CATALOGUE = (
    Pretrained("timm:vit_tiny_patch16_224.augreg_in21k", 5.7, 224, "Apache-2.0", "ImageNet-21k (AugReg)"),
    Pretrained("timm:vit_small_patch16_224.augreg_in21k", 22, 224, "Apache-2.0", "ImageNet-21k (AugReg)"),
    Pretrained("timm:vit_base_patch16_224.augreg_in21k", 86, 224, "Apache-2.0", "ImageNet-21k (AugReg)"),
    Pretrained("timm:vit_large_patch16_224.augreg_in21k", 304, 224, "Apache-2.0", "ImageNet-21k (AugReg)"),
    Pretrained("hf:google/vit-base-patch16-224-in21k", 86, 224, "Apache-2.0", "ImageNet-21k"),
    Pretrained("hf:facebook/dinov2-small", 22, 518, "Apache-2.0", "142 M images, DINOv2"),
    Pretrained("hf:facebook/dinov2-base", 87, 518, "Apache-2.0", "142 M images, DINOv2"),
    Pretrained("hf:facebook/dinov2-with-registers-small", 22, 518, "Apache-2.0", "142 M images, DINOv2"),
    Pretrained("timm:deit3_small_patch16_224.fb_in22k_ft_in1k", 22, 224, "Apache-2.0", "ImageNet-22k, -1k"),
    Pretrained("hf:google/siglip-base-patch16-224", 93, 224, "Apache-2.0", "WebLI, images and texts"),
    Pretrained("hf:openai/clip-vit-base-patch16", 86, 224, "MIT", "400 M images and texts"),
    Pretrained("torchvision:vit_b_16", 87, 224, "BSD-3-Clause", "ImageNet-1k"),
    Pretrained("hf:facebook/vit-mae-base", 86, 224, "CC-BY-NC-4.0", "ImageNet-1k, MAE"),
    Pretrained("hf:facebook/dinov3-vits16-pretrain-lvd1689m", 22, 224, "DINOv3 License", "1.7 G images, DINOv3"),
)

DEFAULT = "timm:vit_small_patch16_224.augreg_in21k"
"""What `vitral train DATA` starts from unless told: a ViT-S whose licence is open to companies."""
