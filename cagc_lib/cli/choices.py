"""What a command works with, read off its arguments: content, feature networks, a device.

    "hair,hat", "bisenet=weights.pth", "attention=0,3" -> a content source
    nothing -> rendered portraits, for the networks that this book ships; for others, a refusal

The shipped generators draw portraits, and so do students pruned from them. To take a stranger's
network for one would score, train and measure it by the wrong pictures, without a word. So it is
asked for them. Chapter 12.
"""

import re
from typing import Any

import torch

from ..checkpoints import (
    Checkpoint,
    load_classifier,
    load_features,
    load_standard_features,
    manifest,
)
from ..content import SOURCES, ContentSource, content_source
from ..datasets import CLASS_NAMES
from ..networks import ImageFeatures, PrunableGenerator

PORTRAITS = "portraits"
# what a file given with a content source's name is to that source
_OPTION_OF_FILE = {"painted": "mask", "bisenet": "weights", "segformer-face-parsing": "weights"}


def draws_portraits(checkpoint: Checkpoint) -> bool:
    """Whether a network is one of the shipped generators, or was pruned from one."""
    entries = manifest().items()
    shipped = {entry["sha256"] for name, entry in entries if name.startswith(PORTRAITS)}
    lineage = checkpoint.generator.lineage
    return checkpoint.sha256 in shipped or (
        lineage is not None and lineage.source_sha256 in shipped
    )


def settle(option: str, given: str | None, portraits: bool, expected: str) -> str:
    """Return what an option was given, or "portraits" where it was not.

    Args:
        option: its name, without the dashes.
        given: what the command line says; None for nothing.
        portraits: whether the network at hand draws portraits.
        expected: what to ask for if it does not.

    Raises:
        ValueError: nothing was given for a network that draws something else.
    """
    if given is None and not portraits:
        raise ValueError(
            f"{option}: got nothing, expected {expected} (portraits are for the shipped teacher)"
        )
    return PORTRAITS if given is None else given


def read_content(text: str) -> tuple[str, dict[str, Any]]:
    """Read NAME, NAME=VALUE, or classes of the portraits separated by commas.

    Returns:
        The source's name and its options for `content_source`; "attention" needs a generator more.

    Raises:
        ValueError: an unknown name or class, or a value that the source does not take.
    """
    name, equals, value = text.partition("=")
    if name == "attention" and equals:
        if not re.fullmatch(r"[0-9]{1,4}(,[0-9]{1,4})*", value):
            raise ValueError(f"content: got {text!r}, expected clusters, as in attention=0,3")
        return name, {"keep": [int(number) for number in value.split(",")]}
    if value and name in _OPTION_OF_FILE:
        return name, {_OPTION_OF_FILE[name]: value}
    if name == "painted":
        raise ValueError("content: got painted, expected painted=FILE")
    if text in SOURCES:
        return text, {}
    classes = text.split(",")
    if unknown := [c for c in classes if c not in CLASS_NAMES]:
        raise ValueError(
            f"content: got {unknown[0]!r}, expected {', '.join(SOURCES)}, or class names "
            f"out of {', '.join(CLASS_NAMES)}"
        )
    return PORTRAITS, {"classes": classes}


def find_content(text: str, generator: PrunableGenerator | None = None) -> ContentSource:
    """Look up the source that `read_content` reads; "attention" asks the generator."""
    name, options = read_content(text)
    if name == "attention":
        options["generator"] = generator
    return content_source(name, **options)


def perceptual_network(
    name: str | None, kind: str, data: str, device: torch.device | str
) -> ImageFeatures:
    """Find the network whose features a student's loss compares.

    Args:
        name: "standard", "ours", or None for ours where it knows the pictures.
        kind: of the networks, a key of `networks.KINDS`.
        data: the real images, "portraits" or a folder.
        device: where to put it.

    Raises:
        ValueError: nothing was said, and ours does not know the pictures; a package is missing.
        OSError: weights cannot be fetched.
    """
    if name == "standard":
        return load_standard_features(device)
    if kind == "sngan":
        return load_classifier("cifar10-perceptual", device)
    if name is None and data != PORTRAITS:
        raise ValueError(
            "perceptual-network: got nothing, expected --perceptual-network standard, which knows "
            "photographs, or --perceptual 0 (ours knows portraits only)"
        )
    return load_features(device, "portraits-perceptual")


def measuring_network(name: str) -> ImageFeatures | None:
    """Find the network that measures: None for the portraits', else standard or a classifier."""
    if name == "standard":
        return load_standard_features()
    return None if name == PORTRAITS else load_classifier(name)


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
