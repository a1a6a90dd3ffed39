"""The parser of portraits: a small U-Net that names each pixel of an image.

    render_portraits -> train_parser -> Parser -> ParserSource, a content source

The paper parses the generator's own images into the 19 CelebAMask-HQ classes and keeps every pixel
whose class is > 0 and not 16: all but background and clothes. Here the images are portraits that we
render, so a network of 0.7 M parameters reads them, and the truth is known. Chapter 5.
"""

import itertools
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from .artefacts import artefact_path
from .checkpoints import rebuild_network, save_network
from .masks import check_classes, check_images, resize_mask
from .portraits import CLASS_NAMES, Portraits
from .supervised import ResidualBlock, augment, fit, initialise

# The paper's rule: class > 0 and class != 16 (cloth).
PAPER_CLASSES = tuple(name for name in CLASS_NAMES if name not in ("background", "cloth"))


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


def working_resolution(height: int, width: int) -> int:
    """The side at which images of this size are parsed: 64 or 128, what the parser trained on."""
    return 64 if max(height, width) < 96 else 128


class ParserSource:
    """A content source that parses images and keeps the pixels of some classes.

    Args:
        parser: images -> class logits.
        classes: names out of CLASS_NAMES that count as content.
    """

    def __init__(self, parser: Parser, classes: Sequence[str] = PAPER_CLASSES) -> None:
        self.parser = parser.eval().requires_grad_(False)
        self.classes = tuple(classes)
        self._is_content = torch.tensor([name in self.classes for name in CLASS_NAMES])

    def _parse(self, images: torch.Tensor) -> torch.Tensor:
        """Class ids at the working resolution, [N, r, r]."""
        check_images(images)
        parameter = next(self.parser.parameters())
        if images.device != parameter.device:
            self.parser.to(images.device)
        r = working_resolution(*images.shape[2:])
        # Always float32: half-precision input and autocast must not move a mask.
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            x = images.float().clamp(-1, 1)
            if list(x.shape[2:]) != [r, r]:
                x = F.interpolate(x, (r, r), mode="bilinear", antialias=True)
            return self.parser(x).argmax(1)

    def parse(self, images: torch.Tensor) -> torch.Tensor:
        """Class ids of every pixel.

        Args:
            images: [N, 3, H, W] in [-1, 1], any size, any floating-point type.

        Returns:
            [N, H, W], int64, indices into CLASS_NAMES.
        """
        ids = self._parse(images)
        if ids.shape[1:] == images.shape[2:]:
            return ids
        return F.interpolate(ids[:, None].float(), images.shape[2:], mode="nearest")[:, 0].long()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Content mask: [N, 3, H, W] in [-1, 1] -> [N, 1, H, W], bool."""
        ids = self._parse(images)
        mask = self._is_content.to(ids.device)[ids][:, None]
        return resize_mask(mask, images.shape[2:])


@cache
def _load(path: Path) -> Parser:
    return rebuild_network(path, "parser", lambda meta: Parser(meta["widths"], len(CLASS_NAMES)))


def parser_source(
    classes: Sequence[str] | None = None, device: torch.device | str | None = None
) -> ParserSource:
    """The shipped parser of portraits as a content source.

    Args:
        classes: class names out of CLASS_NAMES that count as content; None is the paper's rule,
            all but background and cloth.
        device: where the parser waits; it follows the images in any case.

    Raises:
        ValueError: an unknown class or an empty list.
    """
    if classes is None:
        classes = PAPER_CLASSES
    check_classes(classes, CLASS_NAMES)
    parser = _load(artefact_path("portraits-parser"))
    return ParserSource(parser if device is None else parser.to(device), classes)


def _loss(
    network: nn.Module, portraits: Portraits, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Cross-entropy plus a soft intersection over union per class, so that small classes count."""
    target = portraits.parsing
    logits = network(augment(portraits.images, generator, 0.5).images).float()
    log_probability = logits.log_softmax(1)
    probability = log_probability.exp()
    of_truth = probability.gather(1, target[:, None]).flatten()
    total = probability.sum((0, 2, 3))
    hit = torch.zeros_like(total).index_add(0, target.flatten(), of_truth)
    count = torch.bincount(target.flatten(), minlength=len(total))
    overlap = (hit / (total + count - hit))[count > 0].mean()
    return {"cross_entropy": F.nll_loss(log_probability, target), "overlap": 1 - overlap}


def mean_iou(
    predicted: torch.Tensor, truth: torch.Tensor, classes: int = 19
) -> tuple[float, torch.Tensor]:
    """Intersection over union of each class over a whole set of images.

    Args:
        predicted: class ids, any shape.
        truth: class ids, the same shape.
        classes: number of classes.

    Returns:
        The mean over the classes present in truth, and the [classes] values (nan if absent).
    """
    pairs = torch.bincount(truth.flatten() * classes + predicted.flatten(), minlength=classes**2)
    confusion = pairs.reshape(classes, classes).double()
    hit = confusion.diagonal()
    union = confusion.sum(0) + confusion.sum(1) - hit
    values = torch.where(confusion.sum(1) > 0, hit / union, torch.nan)
    return values.nanmean().item(), values


def train_parser(
    steps: int = 4000,
    batch_size: int = 32,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
) -> Parser:
    """Train the portraits' parser from scratch.

    Args:
        steps: optimiser steps.
        batch_size: images a step at 64 px (a quarter at 128 px).
        seed: decides weights, portraits and augmentation.
        out: where to save it (safetensors, float16), or None.
        progress: show a progress bar.

    Returns:
        The parser, in eval mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parser = Parser()
    fit(
        parser, _loss, steps=steps, batch_size=batch_size, seed=seed, progress=progress
    )
    if out is not None:
        meta = {"kind": "parser", "widths": list(parser.widths), "steps": steps, "seed": seed}
        save_network(parser.state_dict(), meta, out)
    return parser
