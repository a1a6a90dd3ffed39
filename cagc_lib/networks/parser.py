"""The parser of portraits: a small U-Net that names each pixel of an image.

    render_portraits -> train_network -> Parser -> ParserSource, a content source
    y = x + conv(relu(conv(relu(x))))        its residual block, and the feature network's

The paper parses the generator's own images into the 19 CelebAMask-HQ classes and keeps every pixel
whose class is > 0 and not 16: all but background and clothes. Here the images are portraits that we
render, so a network of 0.7 M parameters reads them, and the truth is known. Nothing is normalised:
the networks mean the same at any batch size and resolution. Chapter 5.
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


def initialise(network: nn.Module) -> None:
    """Draw weights that keep the variance through ReLUs (He et al. 2015), in place.

    Biases start at zero, and so does the last convolution of a ResidualBlock.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            nn.init.zeros_(module.conv1.weight)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside the identity, which a new block is: the second starts at zero.

    So a deep stack trains without batch statistics.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the block: [N, C, H, W] -> [N, C, H, W]."""
        return x + self.conv1(F.relu(self.conv0(F.relu(x))))


class Parser(nn.Module):
    """A U-Net from images to class logits, 0.7 M parameters.

    It starts and ends by moving 2 x 2 pixels into channels and back: the finest stage then works
    at half resolution with the channels it needs, which on a CPU costs less than few channels at
    full resolution.

    Args:
        widths: channels at 1/2, 1/4, 1/8, ...; skips are added, not concatenated.
        classes: number of classes.
    """

    def __init__(self, widths: Sequence[int] = (48, 64, 80, 64), classes: int = 19) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.stem = nn.Conv2d(3 * 4, widths[0], 3, padding=1)
        self.first = ResidualBlock(widths[0])
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.encode = nn.ModuleList(ResidualBlock(b) for _, b in pairs)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        self.decode = nn.ModuleList(ResidualBlock(a) for a, _ in pairs)
        self.head = nn.Conv2d(widths[0], classes * 4, 3, padding=1)
        initialise(self)
        nn.init.zeros_(self.head.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Class logits: [N, 3, H, W] in [-1, 1] -> [N, classes, H, W]; 16 divides H and W."""
        x = self.first(self.stem(F.pixel_unshuffle(images, 2)))
        skips = []
        for down, encode in zip(self.down, self.encode, strict=True):
            skips.append(x)
            x = encode(down(F.relu(x)))
        for i in reversed(range(len(skips))):
            # Convolve before enlarging: the same, at a quarter of the cost.
            x = F.interpolate(self.up[i](x), scale_factor=2, mode="nearest") + skips[i]
            x = self.decode[i](x)
        return F.pixel_shuffle(self.head(F.relu(x)), 2)
