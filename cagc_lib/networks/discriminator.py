"""The StyleGAN2 discriminator: a residual network with minibatch standard deviation.

    x = lrelu(1x1 conv(images))
    x = (conv3x3 down(lrelu(conv3x3(x))) + conv1x1 down(x)) / sqrt(2)      per resolution, to 4x4
    logits = fc(lrelu(fc(lrelu(conv3x3([x, minibatch std])))))

images: [N, 3, R, R]; logits: [N, 1]. Karras et al. 2020 (arXiv 1912.04958), section 4.1 and
figure 7; minibatch standard deviation from Karras et al. 2018 (arXiv 1710.10196), section 3; the
R1 penalty from Mescheder et al. 2018 (arXiv 1801.04406), section 4.1. Chapter 8.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from ..ops import ACTIVATIONS, bias_act_, setup_filter, upfirdn2d
from .generator import FullyConnected
from .protocol import NetworkConfig, check_images


@dataclass(frozen=True)
class DiscriminatorConfig(NetworkConfig):
    """What fixes a discriminator's shapes.

    Args:
        resolution: side of the square image, a power of two from 8 to 1024.
        channels: the width at every resolution, full size first, 4x4 last:
            log2(resolution) - 1 numbers.
        mbstd_group: images that share one standard deviation; it divides the batch, or the batch
            is smaller.
        conv_clamp: largest magnitude of a layer's output, or None.
    """

    what = "discriminator config"
    resolution: int
    channels: tuple[int, ...]
    mbstd_group: int = 4
    conv_clamp: float | None = None

    def __post_init__(self) -> None:
        self.check_shapes(self.levels - 1)


class Conv(nn.Module):
    """A convolution with run-time gain; `down=2` filters with [1, 3, 3, 1] and halves the size."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, down: int = 1, act: str = "lrelu",
        bias: bool = True, clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.down, self.act, self.clamp, self.kernel = down, act, clamp, kernel
        self.weight_gain = 1 / math.sqrt(inputs * kernel**2)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.register_buffer("resample_filter", setup_filter(), persistent=False)

    def forward(self, x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H / down, W / down], times `gain`."""
        # the gain of the activation goes into the small tensors: see `bias_act_`
        gain *= ACTIVATIONS[self.act]
        weight = self.weight * (self.weight_gain * gain)
        if self.down == 1:
            x = F.conv2d(x, weight, padding=self.kernel // 2)
        else:
            padding = ((self.kernel + 1) // 2,) * 2
            # 3x3: the filter first, then a strided convolution; 1x1: the filter does the striding
            down, stride = (2, 1) if self.kernel == 1 else (1, 2)
            x = upfirdn2d(x, self.resample_filter, down=down, padding=padding)
            x = F.conv2d(x, weight, stride=stride)
        clamp = None if self.clamp is None else self.clamp * gain / ACTIVATIONS[self.act]
        return bias_act_(x, self.bias, self.act, gain, clamp, noise=None)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a 1x1 shortcut; halves the size."""

    def __init__(self, inputs: int, outputs: int, clamp: float | None) -> None:
        super().__init__()
        self.conv0 = Conv(inputs, inputs, 3, clamp=clamp)
        self.conv1 = Conv(inputs, outputs, 3, down=2, clamp=clamp)
        self.skip = Conv(inputs, outputs, 1, down=2, act="linear", bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H / 2, W / 2]."""
        # the sum of two unit-variance branches has variance two; sqrt(0.5) on each restores it
        gain = math.sqrt(0.5)
        return self.conv1(self.conv0(x), gain=gain) + self.skip(x, gain=gain)


class Discriminator(nn.Module):
    """Images -> logits, higher for images that look real."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        widths, clamp = config.channels, config.conv_clamp
        self.fromrgb = Conv(3, widths[0], 1, clamp=clamp)
        self.blocks = nn.ModuleList(ResidualBlock(a, b, clamp) for a, b in pairwise(widths))
        self.conv = Conv(widths[-1] + 1, widths[-1], 3, clamp=clamp)
        self.fc = FullyConnected(widths[-1] * 16, widths[-1], "lrelu")
        self.out = FullyConnected(widths[-1], 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images [N, 3, R, R] in [-1, 1] to logits [N, 1]."""
        check_images(images, self.config.resolution)
        x = self.fromrgb(images.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            x = block(x)
        x = self.conv(minibatch_std(x, self.config.mbstd_group))
        return self.out(self.fc(x.flatten(1)))


def minibatch_std(x: torch.Tensor, group: int) -> torch.Tensor:
    """Append the mean standard deviation over groups of images: [N, C, H, W] -> [N, C + 1, H, W].

    A smaller batch is one group; a larger one that is no multiple of the group is a ValueError.
    """
    n, c, h, w = x.shape
    group = min(group, n)
    if n % group:
        raise ValueError(f"images: got a batch of {n}, expected a multiple of mbstd_group {group}")
    y = x.float().reshape(group, -1, c, h, w)  # [G, N/G, C, H, W]
    y = (y.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))  # [N/G]
    y = y.to(x.dtype).repeat(group).reshape(n, 1, 1, 1).expand(n, 1, h, w)
    return torch.cat([x, y], dim=1)


def r1_penalty(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Return the squared gradient norm of the summed logits for every image, [N].

    `images` must require gradients; the result can be differentiated again. Multiply by gamma / 2
    for the R1 loss (Mescheder et al. 2018, equation 9).
    """
    (grad,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return grad.square().sum(dim=(1, 2, 3))
