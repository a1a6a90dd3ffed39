"""The networks that published figures use, with the interface of our own feature networks.

    Inception (FID, Heusel et al. 2017)      -> embed(images): [N, 2048]
    VGG (LPIPS, Zhang et al. 2018)           -> the maps and weights of perceptual_distance

For photographs, where the portraits' features mean nothing, and for figures to set beside a
paper's. The networks are those of the packages torch-fidelity and lpips, which need torchvision and
download their weights on first use; so they are imported only here, when asked for. Chapters 9, 11
and 12.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .protocol import check_images

LARGEST = 256


class StandardFeatures(nn.Module):
    """Inception's pooled features and VGG's maps, frozen.

    Args:
        inception: uint8 images [N, 3, H, W] -> (features [N, 2048],), as torch-fidelity's.
        scaling: images in [-1, 1] -> what VGG takes, as `lpips.LPIPS.scaling_layer`.
        vgg: its output -> five maps, as `lpips.LPIPS.net`.
        weights: per map the learned weight of every channel, [C_s].
    """

    def __init__(
        self, inception: nn.Module, scaling: nn.Module, vgg: nn.Module,
        weights: Sequence[torch.Tensor],
    ) -> None:
        super().__init__()
        self.inception, self.scaling, self.vgg = inception, scaling, vgg
        for s, weight in enumerate(weights):
            self.register_buffer(f"weight{s}", weight.detach().reshape(-1, 1, 1))
        self.eval().requires_grad_(False)

    @property
    def channel_weights(self) -> list[torch.Tensor]:
        """LPIPS's learned weights, one [C_s, 1, 1] a map."""
        return list(self.buffers(recurse=False))

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """Bring images over 256 px down to 256: see `at_most_256`."""
        return at_most_256(check_images(images))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """VGG's maps of images [N, 3, H, W] in [-1, 1], taken at the size they have."""
        return list(self.vgg(self.scaling(check_images(images))))

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Inception's features of images rounded to 8 bits, as FID is defined: [N, 2048]."""
        pixels = ((check_images(images).float().clamp(-1, 1) + 1) * 127.5).round().byte()
        (features,) = self.inception(pixels)
        return features


def at_most_256(images: torch.Tensor) -> torch.Tensor:
    """Reduce images [N, 3, H, W] over 256 px to 256, as the public CAGC code does before LPIPS."""
    if max(images.shape[2:]) <= LARGEST:
        return images
    return F.interpolate(images, (LARGEST, LARGEST), mode="bilinear")
