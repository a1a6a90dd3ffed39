"""The SN-GAN discriminator: a residual network, every weight divided by its spectral norm.

    logits = fc(sum over pixels of relu(blocks(images)))
    W_SN   = W / sigma(W),  sigma the largest singular value of W as an [O, I k k] matrix

sigma comes from one step of the power iteration a forward pass in training, from the vectors of
the pass before. images: [N, 3, R, R], logits: [N, 1]. Miyato et al. 2018 (arXiv 1802.05957),
section 2.1, algorithm 1 and table 4, as in the authors' code for CIFAR-10. Chapter 11.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from .protocol import NetworkConfig, check_images
from .sngan import glorot_conv


@dataclass(frozen=True)
class SNGANDiscriminatorConfig(NetworkConfig):
    """What fixes an SN-GAN discriminator's shapes; the defaults are the paper's for CIFAR-10.

    Args:
        resolution: side of the square image, a power of two from 8 to 1024.
        channels: the width of every residual block. The first blocks halve the size until it is
            8x8; the others keep it. At least one block, and enough to get there.
    """

    what = "SN-GAN config"

    resolution: int = 32
    channels: tuple[int, ...] = (128,) * 4

    def __post_init__(self) -> None:
        self.check_shapes(max(1, self.num_down), or_more=True)

    @property
    def num_down(self) -> int:
        """How many blocks halve the size."""
        return self.levels - 3


class SpectralConv(nn.Conv2d):
    """A convolution whose weight is computed in full precision, even under autocast."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H, W]."""
        # the power iteration divides by a number near the weight's own size: half precision
        # would move the norm, and its buffers are float32
        with torch.autocast(x.device.type, enabled=False):
            weight = self.weight
        return F.conv2d(x, weight, self.bias, padding=self.padding)


class SpectralLinear(nn.Linear):
    """A linear layer whose weight is computed in full precision, even under autocast."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, inputs] to [N, outputs]."""
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


class DownBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; `down` halves the size, `first` reads an image.

    The shortcut has a 1x1 convolution where the size or the width changes.
    """

    def __init__(self, inputs: int, outputs: int, down: bool, first: bool) -> None:
        super().__init__()
        self.down, self.first = down, first
        gain = math.sqrt(2)
        self.conv1 = spectral_norm(glorot_conv(inputs, outputs, 3, gain, SpectralConv))
        self.conv2 = spectral_norm(glorot_conv(outputs, outputs, 3, gain, SpectralConv))
        learned = down or inputs != outputs
        self.shortcut = (
            spectral_norm(glorot_conv(inputs, outputs, 1, layer=SpectralConv)) if learned else None
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H, W], or to half the size."""
        # no ReLU before the first convolution: an image's negative half is information
        y = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        # averaging and a 1x1 convolution commute; this order costs a quarter
        x = F.avg_pool2d(x, 2) if self.down else x
        x = x if self.shortcut is None else self.shortcut(x)
        return (F.avg_pool2d(y, 2) if self.down else y) + x


class SNGANDiscriminator(nn.Module):
    """Images -> logits, higher for images that look real."""

    def __init__(self, config: SNGANDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        widths = (3, *config.channels)
        self.blocks = nn.ModuleList(
            DownBlock(widths[i], widths[i + 1], down=i < config.num_down, first=i == 0)
            for i in range(len(config.channels))
        )
        out = SpectralLinear(widths[-1], 1, bias=False)
        nn.init.xavier_uniform_(out.weight)
        self.out = spectral_norm(out)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images [N, 3, R, R] in [-1, 1] to logits [N, 1]."""
        x = check_images(images, self.config.resolution)
        x = x.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x)
        return self.out(F.relu(x).float().sum((2, 3)))
