"""Writes a network in another format and proves that it is the same.

    convert: checkpoint -> file, read back: the same images from the same z, before and after

A conversion renames numbers and copies them, so the images must agree to float32's last digits; a
file whose images do not is not left behind. float16 is a loss by choice, and is said to be one. A
clamp may be left out where no image shows it. Chapter 13.
"""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from ..checkpoints import Checkpoint, check_target, load_checkpoint, save_checkpoint
from ..networks import build
from .parity import Conversion, check_same, compare


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
        check_same(path, compare(clamped, source, progress), "none at all: the clamp acts")
    check_target(path, half, source.generator.config)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        trial = Path(folder) / path.name
        save_checkpoint(source.generator, source.discriminator, trial, half)
        result = compare(source, load_checkpoint(trial), progress)
        if not half:
            check_same(path, result, "none at all")
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
