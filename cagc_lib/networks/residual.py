"""The residual block of the small networks that read images, and how their weights begin.

    y = x + conv(relu(conv(relu(x))))

No normalisation: a network of these means the same at any batch size and resolution. Chapter 5.
"""

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
