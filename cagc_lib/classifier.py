"""A small classifier of small images: features to measure by, and where it looks.

    maps   = residual stages at full, 1/2 and 1/4 resolution              [N, C_s, R / 2^s, R / 2^s]
    logits = fc(embedding),   embedding = mean over pixels of the last map             [N, C]
    CAM_y  = sum over channels of fc[y, c] * map[c]       how much each place speaks for class y

A residual network with batch norm (He et al. 2016, arXiv 1512.03385, section 4.2), trained on
folders of images, one a class, with shifts and flips. As the logits are means of the activation
maps, the maps are exact (Zhou et al. 2016, arXiv 1512.04150, section 2). It stands where a data set
of photographs has no parser: its embedding for the Frechet distance, its maps for the perceptual
distance, its activation for the content. Chapter 11.
"""

import itertools
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from .artefacts import artefact_path
from .checkpoints import rebuild_network, save_network
from .images import ClassFolders
from .protocol import check_positive

SHIFT = 4
THRESHOLD = 0.35
MAX_DEPTH = 100


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
        if depth > MAX_DEPTH:
            raise ValueError(f"depth: got {depth} blocks a stage, expected at most {MAX_DEPTH}")
        self.classes, self.widths, self.depth = tuple(classes), tuple(widths), depth
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(widths[0])
        pairs = itertools.pairwise((widths[0], *widths))
        self.stages = nn.ModuleList(
            nn.Sequential(*(
                BasicBlock(b if j else a, b, stride=1 if i == 0 or j else 2) for j in range(depth)
            ))
            for i, (a, b) in enumerate(pairs)
        )
        self.fc = nn.Linear(widths[-1], len(self.classes))

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """Return the images as they are: any size is taken."""
        return images

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Map images [N, 3, H, W] in [-1, 1] to the stages' outputs, finest first."""
        x = F.relu(self.bn(self.stem(images)))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

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


class ClassActivation:
    """A content source: the pixels that speak for the class that the classifier sees.

    Args:
        classifier: any; put into eval mode and frozen.
        threshold: a pixel is content where its activation, scaled to 0..1 over the image, is
            above. 0.2 is the paper's for boxes (Zhou et al. 2016, section 3.2); it calls about two
            thirds of the photographs in data/cifar10 content, 0.35 about half of them.
    """

    def __init__(self, classifier: Classifier, threshold: float = THRESHOLD) -> None:
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold: got {threshold!r}, expected a number in [0, 1)")
        self.classifier = classifier.eval().requires_grad_(False)
        self.threshold = threshold

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Content mask: [N, 3, H, W] in [-1, 1] -> [N, 1, H, W], bool."""
        if images.device != self.classifier.fc.weight.device:
            self.classifier.to(images.device)
        # always float32: half-precision input and autocast must not move a mask
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            maps = self.classifier.activation(images.float().clamp(-1, 1))[:, None]
            maps = F.interpolate(maps, images.shape[2:], mode="bilinear")
            low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
            return maps > low + self.threshold * (high - low)


@cache
def _load(path: Path, device: torch.device) -> Classifier:
    network = rebuild_network(
        path, "classifier", lambda meta: Classifier(meta["classes"], meta["widths"], meta["depth"])
    )
    return network.to(device).eval().requires_grad_(False)


def load_classifier(
    path_or_name: str | Path = "cifar10-classifier", device: torch.device | str = "cpu"
) -> Classifier:
    """Load a classifier, frozen, in eval mode; once per device.

    Args:
        path_or_name: a file that `train_classifier` wrote, or a shipped one's name:
            "cifar10-classifier" for measures, "cifar10-perceptual" for losses and content.
        device: where to put it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: neither a file nor a shipped name, another kind of network, or a damaged file.
    """
    path = Path(path_or_name)
    path = path if path.suffix or path.exists() else artefact_path(str(path_or_name))
    return _load(path, torch.device(device))


@torch.no_grad()
def accuracy(network: Classifier, images: ClassFolders, batch_size: int = 500) -> float:
    """Return the share of a labelled folder's images whose class the network names.

    Raises:
        ValueError: a folder of other classes.
    """
    if images.classes != network.classes:
        raise ValueError(
            f"data: got classes {', '.join(images.classes)}, expected {', '.join(network.classes)}"
        )
    device = network.fc.weight.device
    hits = 0
    for start in range(0, len(images), batch_size):
        numbers = range(start, min(start + batch_size, len(images)))
        batch, labels = images[numbers]
        hits += int((network.logits(batch.to(device)).argmax(1).cpu() == labels).sum())
    return hits / len(images)


def train_classifier(
    data: str | Path,
    resolution: int = 32,
    steps: int = 12_000,
    batch_size: int = 128,
    lr: float = 0.1,
    seed: int = 0,
    out: str | Path | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> Classifier:
    """Train a classifier on a folder with one folder of images a class.

    SGD with Nesterov momentum 0.9 and weight decay 5e-4, the rate falling to zero as a cosine;
    every image is shifted by up to four pixels and mirrored at random. bfloat16 autocast.

    Args:
        data: the folder.
        resolution: side of the images.
        steps: optimiser steps.
        batch_size: images a step.
        lr: the first rate.
        seed: decides weights, order and augmentation.
        out: where to save it (safetensors, float16), or None.
        device: where to train.
        progress: show a progress bar.

    Returns:
        The network, in eval mode.

    Raises:
        ValueError: a folder without two class folders or without images, a loss that is not finite.
    """
    images = _labelled(data, resolution)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Classifier(images.classes).to(device, memory_format=torch.channels_last).train()
    draw = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.SGD(
        network.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    for step in (bar := tqdm(range(steps), disable=not progress, unit="step")):
        for group in optimiser.param_groups:
            group["lr"] = lr * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        loss = _loss(network, *_augmented(images, batch_size, draw))
        if not loss.isfinite():
            raise ValueError(f"the loss is not finite at step {step}: lower lr (now {lr})")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        bar.set_postfix({"loss": f"{loss.item():.3f}"}, refresh=False)
    network.eval()
    if out is not None:
        meta = {
            "kind": "classifier", "classes": list(network.classes), "widths": list(network.widths),
            "depth": network.depth, "steps": steps, "seed": seed,
        }
        save_network(network.state_dict(), meta, out)
    return network


def _labelled(data: str | Path, resolution: int) -> ClassFolders:
    images = ClassFolders(data, resolution)
    if len(images.classes) < 2:
        raise ValueError(f"data: got one class, {images.classes[0]}, expected two or more")
    return images


def _loss(network: Classifier, batch: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    device = network.fc.weight.device
    # four times faster than float32 where the processor knows bfloat16
    with torch.autocast(device.type, torch.bfloat16):
        logits = network.logits(batch.to(device))
    return F.cross_entropy(logits.float(), labels.to(device))


def _augmented(
    images: ClassFolders, n: int, draw: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw images, shift each by up to four pixels, edges grey, and mirror every other."""
    batch, labels = images[torch.randint(len(images), (n,), generator=draw).tolist()]
    side = batch.shape[-1]
    padded = F.pad(batch, (SHIFT,) * 4)
    rows, columns = torch.randint(2 * SHIFT + 1, (2, n), generator=draw)
    mirrored = torch.rand(n, generator=draw) < 0.5
    cut = [
        image[:, y : y + side, x : x + side]
        for image, y, x in zip(padded, rows.tolist(), columns.tolist(), strict=True)
    ]
    shifted = torch.stack(cut)
    return torch.where(mirrored[:, None, None, None], shifted.flip(3), shifted), labels
