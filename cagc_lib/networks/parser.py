"""The parser of portraits: a small U-Net that names each pixel of an image.

    render_portraits -> train_network -> Parser -> ParserSource, a content source

The paper parses the generator's own images into the 19 CelebAMask-HQ classes and keeps every pixel
whose class is > 0 and not 16: all but background and clothes. Here the images are portraits that we
render, so a network of 0.7 M parameters reads them, and the truth is known. Chapter 5.
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .residual import ResidualBlock, initialise


class Parser(nn.Module):
    """A U-Net from images to class logits, 0.7 M parameters, no normalisation.

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
