"""A second eye: the half of an autoencoder that puts a portrait into 128 numbers.

    image -> four strided convolutions -> code [N, 128] -> four transposed ones -> the image again

It shares nothing with the features that losses and the usual measures look through: no residual
block, no pooling, no label, no landmark; what it learned is to draw a portrait again, a blurred one
blurred, from the code alone (Hinton & Salakhutdinov 2006). It sees where things are, colours and a
blur of one pixel; of noise, for which a code has no room, it sees next to nothing. A method that
pleases one eye only shows itself where the two disagree. Chapter 10.
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .protocol import check, check_images

SIDE, GROUPS = 64, 8


class Autoencoder(nn.Module):
    """Images -> feature maps, code, images; 1.1 M parameters.

    Args:
        widths: channels at 1/2, 1/4, 1/8 and 1/16 of the resolution, multiples of 8.
        code: length of the code.
    """

    channel_weights = None

    def __init__(self, widths: Sequence[int] = (32, 64, 96, 128), code: int = 128) -> None:
        super().__init__()
        self.widths, self.code = tuple(widths), code
        pairs = list(itertools.pairwise((3, *widths)))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairs)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 4, stride=2, padding=1) for a, b in reversed(pairs)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(GROUPS, b) for _, b in pairs)
        self.up_norms = nn.ModuleList(nn.GroupNorm(GROUPS, a) for a, _ in reversed(pairs[1:]))
        side = SIDE >> len(widths)
        self.smallest = (widths[-1], side, side)
        self.to_code = nn.Linear(widths[-1] * side**2, code)
        self.from_code = nn.Linear(code, widths[-1] * side**2)

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """Bring images [N, 3, H, W] to 64 x 64; those below 32 px are a ValueError."""
        h, w = check_images(images).shape[2:]
        check(min(h, w) >= 32, "images", [h, w], "at least 32 x 32 pixels")
        if (h, w) == (SIDE, SIDE):
            return images
        return F.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Map images [N, 3, 64, 64] in [-1, 1] to four feature maps, finest first.

        [N, C_s, 32 / 2^s, 32 / 2^s], s = 0..3.
        """
        x, maps = check_images(images, SIDE), []
        for down, norm in zip(self.down, self.norms, strict=True):
            x = F.silu(norm(down(x)))
            maps.append(x)
        return maps

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return the code [N, D] of images [N, 3, H, W] in [-1, 1], after `prepare`."""
        return self.to_code(self(self.prepare(images))[-1].flatten(1))

    def draw(self, code: torch.Tensor) -> torch.Tensor:
        """Draw images [N, 3, 64, 64] from codes [N, D]."""
        x = F.silu(self.from_code(code)).unflatten(1, self.smallest)
        for up, norm in zip(self.up, [*self.up_norms, None], strict=True):
            x = up(x)
            x = x if norm is None else F.silu(norm(x))
        return x
