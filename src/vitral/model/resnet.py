"""The convolutional stem of the hybrids (section 3.1, appendix B): an image becomes a feature map to cut into patches.

A ResNet with group norm (Wu and He 2018) and standardised convolutions (Qiao et al. 2019), as in BiT: a 7x7 root of
stride 2, a max pool, then stages of bottleneck units, each stage after the first at half the resolution.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROOT_CHANNELS, GROUPS = 64, 32


class ResNetStem(nn.Module):
    """Images `(batch, channels, height, width)` to a map `(batch, self.channels, height / stride, width / stride)`.

    Args:
        layers: units in each stage; () is the root alone.
        channels: of the images.
        form: "authors" adds 1e-5 to the standard deviation of a kernel and has a norm's epsilon of 1e-6; "timm" adds
            1e-8 to the variance and has 1e-5.
    """

    def __init__(self, layers: tuple[int, ...], channels: int, form: str) -> None:
        super().__init__()
        self.root = StandardisedConv(channels, ROOT_CHANNELS, 7, 2, form)
        self.root_norm = _norm(ROOT_CHANNELS, form)
        self.stages = nn.ModuleList()
        self.channels = ROOT_CHANNELS
        for index, units in enumerate(layers):
            width, stride = ROOT_CHANNELS * 2**index, 1 if index == 0 else 2
            stage = nn.Sequential()
            for unit in range(units):
                stage.append(Bottleneck(self.channels, width, stride if unit == 0 else 1, form))
                self.channels = 4 * width
            self.stages.append(stage)

    def forward(self, images: Tensor) -> Tensor:
        z = self.root(images).to(self.root_norm.weight.dtype)
        z = F.relu(self.root_norm(z))
        z = F.max_pool2d(pad_same(z, 3, 2, float("-inf")), 3, 2)
        for stage in self.stages:
            z = stage(z)
        return z


class Bottleneck(nn.Module):
    """Three convolutions, 1x1, 3x3 and 1x1 to four times the width, beside a shortcut."""

    def __init__(self, channels: int, width: int, stride: int, form: str) -> None:
        super().__init__()
        self.conv1, self.norm1 = StandardisedConv(channels, width, 1, 1, form), _norm(width, form)
        self.conv2, self.norm2 = StandardisedConv(width, width, 3, stride, form), _norm(width, form)
        self.conv3, self.norm3 = StandardisedConv(width, 4 * width, 1, 1, form), _norm(4 * width, form)
        self.shortcut: StandardisedConv | None = None
        self.shortcut_norm: nn.GroupNorm | None = None
        if channels != 4 * width or stride != 1:
            self.shortcut = StandardisedConv(channels, 4 * width, 1, stride, form)
            self.shortcut_norm = _norm(4 * width, form)

    def forward(self, z: Tensor) -> Tensor:
        out = F.relu(self.norm1(self.conv1(z)))
        out = F.relu(self.norm2(self.conv2(out)))
        out = self.norm3(self.conv3(out))
        if self.shortcut is not None and self.shortcut_norm is not None:
            z = self.shortcut_norm(self.shortcut(z))
        return F.relu(out + z)


class StandardisedConv(nn.Conv2d):
    """A convolution without bias whose kernels are brought to mean 0 and variance 1; its padding is "SAME"."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int, form: str) -> None:
        super().__init__(channels, out_channels, kernel, stride, bias=False)
        self.form = form

    def forward(self, z: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), correction=0, keepdim=True)
        spread = variance.sqrt() + 1e-5 if self.form == "authors" else (variance + 1e-8).sqrt()
        kernels = (self.weight - mean) / spread
        if (
            z.dtype == torch.float32
        ):  # images, perhaps beside weights of half the precision; see `PatchEmbedding`
            kernels = kernels.float()
        return F.conv2d(
            pad_same(z, self.kernel_size[0], self.stride[0]),
            kernels,
            stride=self.stride,
        )


def pad_same(z: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad `(…, height, width)` so that each stride begins one output; what is odd goes to the bottom and the right."""
    height, width = (max(0, (-(-side // stride) - 1) * stride + kernel - side) for side in z.shape[-2:])
    return F.pad(z, (width // 2, width - width // 2, height // 2, height - height // 2), value=value)


def _norm(channels: int, form: str) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, channels, eps=1e-6 if form == "authors" else 1e-5)
