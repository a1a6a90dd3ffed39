"""The proof that two networks are one: the same latents, the same images.

    max |before - after| <= 1e-5 max |before|     over 8 images, and D's logits on them

Chapter 13.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from ..checkpoints import Checkpoint

NUM_IMAGES = 8
# not 1: an image then depends on w_avg too
TRUNCATION_PSI = 0.7
LIMIT = 1e-5
DRAWN = {"noises": "noise maps", "w_avg": "average w", "conv_clamp": "clamp"}


class Difference(NamedTuple):
    """The largest magnitude of before minus after, and the largest of before."""

    of_values: float
    up_to: float

    def __str__(self) -> str:
        return f"largest difference {self.of_values:.3g}, of values up to {self.up_to:.3g}"


@dataclass(frozen=True)
class Conversion:
    """What a conversion showed.

    Args:
        sha256: hash of the file written.
        images: how the images before and after differ.
        logits: how a discriminator's outputs on the images before differ, or None without one.
        made_up: what the source lacked and the loader drew, which the file now holds.
        left_out: what the source had and the file has not.
    """

    sha256: str
    images: Difference
    logits: Difference | None
    made_up: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def summary(self) -> str:
        """Say it in one to five lines."""
        lines = [f"{NUM_IMAGES} images before and after: {self.images}"]
        if self.logits is not None:
            lines.append(f"the discriminator's outputs on them: {self.logits}")
        lines += [f"not in the source, and written as drawn: {what}" for what in self.made_up]
        lines += [f"left out, as none of them shows it: {what}" for what in self.left_out]
        return "\n".join(lines)


def check_same(path: Path, result: Conversion, expected: str) -> None:
    """Refuse, with what was expected instead, a conversion whose difference shows."""
    for what, difference in (("images", result.images), ("logits", result.logits)):
        # never small where numbers are not finite
        if difference is not None and not difference.of_values <= LIMIT * difference.up_to:
            raise ValueError(f"{path}: {what}: got {difference}, expected {expected}")


@torch.inference_mode()
def compare(before: Checkpoint, after: Checkpoint, progress: bool) -> Conversion:
    """Draw the same images with both networks and say how they differ."""
    random = torch.Generator().manual_seed(0)
    z = torch.randn(NUM_IMAGES, before.generator.config.z_dim, generator=random)
    d, other_d = before.discriminator, after.discriminator
    images, logits = [], []
    # one at a time: a 1024 px network takes gigabytes for eight
    for one in tqdm(z.split(1), disable=not progress, unit="image"):
        image = before.generator(one, TRUNCATION_PSI)
        images.append(_pair(image, after.generator(one, TRUNCATION_PSI)))
        if d is not None and other_d is not None:
            logits.append(_pair(d(image), other_d(image)))
    # torch's maximum of a NaN is NaN, Python's may hide it
    of_images = Difference(*torch.stack(images).amax(0).tolist())
    of_logits = Difference(*torch.stack(logits).amax(0).tolist()) if logits else None
    meta = before.meta
    made_up = tuple(f"{what} ({meta[key]})" for key, what in DRAWN.items() if key in meta)
    return Conversion(after.sha256, of_images, of_logits, made_up)


def _pair(before: Tensor, after: Tensor) -> Tensor:
    return torch.stack([(before - after).abs().max(), before.abs().max()])
