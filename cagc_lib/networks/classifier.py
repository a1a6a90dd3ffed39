"""A small classifier of small images: features to measure by, and where it looks.

    maps   = residual stages at full, 1/2 and 1/4 resolution              [N, C_s, R / 2^s, R / 2^s]
    logits = fc(embedding),   embedding = mean over pixels of the last map             [N, C]
    CAM_y  = sum over channels of fc[y, c] * map[c]       how much each place speaks for class y

A residual network with batch norm (He et al. 2016, arXiv 1512.03385, section 4.2), trained on
folders of images, one a class, with shifts and flips. As the logits are means of the activation
maps, the maps are exact (Zhou et al. 2016, arXiv 1512.04150, section 2). It stands where a data set
of photographs has no parser: its embedding for the Frechet distance, its maps for the perceptual
distance, its activation for the content. Chapter 12.
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .protocol import check, check_positive


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm beside a shortcut; stride 1 or 2."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn0 = nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        learned = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if learned else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        y = self.bn1(self.conv1(F.relu(self.bn0(self.conv0(x)))))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class Classifier(nn.Module):
    """Images -> feature maps, embedding, logits.

    Args:
        classes: the classes' names.
        widths: channels of the stages at full, 1/2, 1/4, ... resolution.
        depth: blocks a stage.

    Raises:
        ValueError: a depth that is not an integer from 1 to 100, no class, no width.
    """

    channel_weights = None

    def __init__(
        self, classes: Sequence[str], widths: Sequence[int] = (32, 64, 128), depth: int = 2
    ) -> None:
        super().__init__()
        for name, value in (("depth", depth), ("classes", len(classes)), ("widths", len(widths))):
            check_positive(name, value)
        check(depth <= 100, "depth", depth, "at most 100 blocks a stage")
        self.classes, self.widths, self.depth = tuple(classes), tuple(widths), depth
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(widths[0])
        self.stages = nn.ModuleList(
            nn.Sequential(*(
                BasicBlock(b if j else a, b, stride=1 if i == 0 or j else 2) for j in range(depth)
            ))
            for i, (a, b) in enumerate(itertools.pairwise((widths[0], *widths)))
        )
        self.fc = nn.Linear(widths[-1], len(self.classes))

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """Return the images as they are: any size is taken."""
        return images

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Map images [N, 3, H, W] in [-1, 1] to the stages' outputs, finest first."""
        maps = [F.relu(self.bn(self.stem(images)))]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """One vector [N, C] an image, for Frechet distance and precision/recall."""
        return self(images)[-1].mean((2, 3))

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Map images [N, 3, H, W] in [-1, 1] to class logits [N, classes]."""
        return self.fc(self.embed(images))

    def activation(self, images: torch.Tensor) -> torch.Tensor:
        """The activation map of each image's likeliest class, [N, h, w]; its mean is the logit."""
        maps = self(images)[-1]
        likeliest = self.fc(maps.mean((2, 3))).argmax(1)
        weights = self.fc.weight[likeliest]  # [N, C]
        return torch.einsum("nchw,nc->nhw", maps, weights) + self.fc.bias[likeliest, None, None]
