"""Writes a network in another format and proves that it is the same.

    checkpoint -> file, read back: the same images from the same z, before and after
    max |before - after| <= 1e-5 max |before|     over 8 images, and D's logits on them

A conversion renames numbers and copies them, so the images must agree to float32's last digits; a
file whose images do not is not left behind. float16 is a loss by choice, and is said to be one. A
clamp may be left out where no image shows it. Chapter 12.
"""

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from ..checkpoints import Checkpoint, check_target, load_checkpoint, save_checkpoint
from ..networks import build

NUM_IMAGES = 8
# not 1: an image then depends on w_avg too
TRUNCATION_PSI = 0.7
LIMIT = 1e-5
DRAWN = {"noises": "noise maps", "w_avg": "average w"}


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


def convert(
    source: Checkpoint, path: str | Path, half: bool = False, progress: bool = False,
    drop_clamp: bool = False,
) -> Conversion:
    """Save a checkpoint, load it back, compare images, and return how they differ.

    Args:
        source: what to save; without its discriminator where that is None.
        path: as for `save_checkpoint`.
        half: store float16; any difference is then reported, not refused.
        progress: draw a bar.
        drop_clamp: leave conv_clamp out, as a .pt file has no place for it; refused where the
            images show it.

    Raises:
        ValueError: a network that the format cannot express, or images that differ; nothing is
            written.
        FileNotFoundError: the folder does not exist.
    """
    path = Path(path)
    configs = [n.config for n in (source.generator, source.discriminator) if n is not None]
    # an SN-GAN has no clamp
    dropped = {getattr(config, "conv_clamp", None) for config in configs if drop_clamp} - {None}
    if dropped:
        clamped, source = source, _unclamped(source)
        _check_same(path, _compare(clamped, source, progress), "none at all: the clamp acts")
    check_target(path, half, source.generator.config)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        trial = Path(folder) / path.name
        save_checkpoint(source.generator, source.discriminator, trial, half)
        result = _compare(source, load_checkpoint(trial), progress)
        if not half:
            _check_same(path, result, "none at all")
        trial.replace(path)
    left_out = tuple(f"conv_clamp {clamp:g}" for clamp in sorted(dropped))
    return dataclasses.replace(result, left_out=left_out)


def _unclamped(source: Checkpoint) -> Checkpoint:
    """The same networks without conv_clamp."""

    def rebuilt(network: Any) -> Any:
        other = build(dataclasses.replace(network.config, conv_clamp=None))
        other.load_state_dict(network.state_dict())
        return other.eval()

    generator = rebuilt(source.generator)
    generator.lineage = source.generator.lineage
    discriminator = source.discriminator and rebuilt(source.discriminator)
    return dataclasses.replace(source, generator=generator, discriminator=discriminator)


def _check_same(path: Path, result: Conversion, expected: str) -> None:
    """Refuse, with what was expected instead, a conversion whose difference shows."""
    for what, difference in (("images", result.images), ("logits", result.logits)):
        # never small where numbers are not finite
        if difference is not None and not difference.of_values <= LIMIT * difference.up_to:
            raise ValueError(f"{path}: {what}: got {difference}, expected {expected}")


@torch.inference_mode()
def _compare(before: Checkpoint, after: Checkpoint, progress: bool) -> Conversion:
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
