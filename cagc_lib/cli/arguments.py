"""Readers of the arguments whose words are more than a number."""

import argparse
import math
import re

import torch


def number(text: str) -> float:
    """Read a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a finite number")
    return value


def seed(text: str) -> int:
    """Read an integer that torch takes as a seed."""
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected an integer")
    return int(text)


def seeds(text: str) -> list[int]:
    """Read 0-3,20 as 0, 1, 2, 3, 20."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", part)
        if match is None:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected integers such as 0-15,20")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last - first >= 10_000:
            raise argparse.ArgumentTypeError(f"got {part!r}, expected a rising range of <= 10000")
        found += range(first, last + 1)
    return found


def channels(text: str) -> tuple[int, ...]:
    """Read 160x6,80x2 as six widths of 160 and two of 80."""
    widths: list[int] = []
    for part in text.split(","):
        if not re.fullmatch(r"[0-9]{1,5}(x[0-9]{1,2})?", part):
            raise argparse.ArgumentTypeError(f"got {text!r}, expected for example 160x6,80x2,40x2")
        width, _, times = part.partition("x")
        widths += [int(width)] * int(times or 1)
    return tuple(widths)


def setting(text: str) -> tuple[str, object]:
    """Read NAME=VALUE, the value being true, false, an integer, a number or a word."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected NAME=VALUE")
    if value in ("true", "false"):
        return name, value == "true"
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value


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
