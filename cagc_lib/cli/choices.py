"""What a command works with where nothing is said: portraits, a device.

The shipped generators draw portraits, and so do students pruned from them. To take a stranger's
network for one would score, train and measure it by the wrong pictures, without a word. So it is
asked for them. Chapter 12.
"""

import torch

from ..checkpoints import Checkpoint, manifest

PORTRAITS = "portraits"


def draws_portraits(checkpoint: Checkpoint) -> bool:
    """Whether a network is one of the shipped generators, or was pruned from one."""
    shipped = {e["sha256"] for name, e in manifest().items() if name.startswith(PORTRAITS)}
    lineage = checkpoint.generator.lineage
    return checkpoint.sha256 in shipped or bool(lineage and lineage.source_sha256 in shipped)


def or_portraits(option: str, given: str | None, portraits: bool, expected: str) -> str:
    """Return what an option was given, or "portraits" for a network that draws portraits.

    For another, a ValueError names the option and asks for what is expected.
    """
    if given is None and not portraits:
        raise ValueError(
            f"{option}: got nothing, expected {expected} (portraits are for the shipped teacher)"
        )
    return PORTRAITS if given is None else given


def find_device(name: str | None) -> torch.device:
    """Return the device of this name, or the GPU where there is one; a ValueError without it."""
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device: got {name!r}, expected cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device: got {name!r}, but torch sees no GPU; expected cpu")
    return device
