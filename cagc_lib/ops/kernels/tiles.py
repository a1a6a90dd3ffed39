"""Sizes of the kernels' tiles: whole images in the interpreter, tuned or by rule on a GPU.

`tiles.json` holds, for the GPUs on which `benchmarks/tune_kernels.py` ran, the fastest tiles of
each product; elsewhere a rule chooses. Chapter 4.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

from .tools import INTERPRETED, block, precision

SAVED = Path(__file__).with_name("tiles.json")


class Tiles(NamedTuple):
    """What a program owns, and how it is compiled.

    pixels and filters of the result, channels (or, for the weight's gradient, pixels) in a step of
    the sum, all powers of two from 16; warps; stages of the loads' pipeline.
    """

    pixels: int
    filters: int
    channels: int
    warps: int = 4
    stages: int = 2


_forced: Tiles | None = None


@contextmanager
def using(forced: Tiles) -> Iterator[None]:
    """Let every product take these tiles, to time them or to try ragged ones."""
    global _forced
    before, _forced = _forced, forced
    try:
        yield
    finally:
        _forced = before


def tiles(kernel: str, x: torch.Tensor, pixels: int, filters: int, channels: int) -> Tiles:
    """Return the tiles for a product of these sizes, in the type and on the device of x.

    The kernel is "convolve", "convolve_up" or "weight_gradient".
    """
    if _forced is not None:
        return _forced
    if INTERPRETED:
        # a program costs milliseconds and its size next to nothing
        across = 4096 if kernel == "weight_gradient" else 256
        return Tiles(block(pixels, 4096), block(filters, 256), block(channels, across))
    known = _saved(x.device).get(key(kernel, x.dtype, pixels, filters, channels))
    return Tiles(*known) if known else by_rule(kernel, x.dtype, pixels, filters, channels)


def key(kernel: str, dtype: torch.dtype, pixels: int, filters: int, channels: int) -> str:
    """Name a product in `tiles.json`; TF32 runs on other units than float32."""
    kind = str(dtype).removeprefix("torch.")
    if dtype == torch.float32 and precision() == "tf32":
        kind = "tf32"
    return f"{kernel} {kind} {pixels}x{filters}x{channels}"


def by_rule(kernel: str, dtype: torch.dtype, pixels: int, filters: int, channels: int) -> Tiles:
    """Tiles where nothing was measured: large ones, with little of them hanging over the edge."""
    wide = dtype in (torch.float32, torch.float64)
    if kernel == "convolve_up":
        # four phases are summed side by side: what registers hold
        most = 16 if wide else 32
        return Tiles(block(pixels, 128), _fitting(filters, most), _fitting(channels, most), 8, 2)
    most = 64 if wide else 128
    bm, bn = block(pixels, most), _fitting(filters, most)
    return Tiles(bm, bn, _fitting(channels, most // 2), 8 if bm * bn > 64 * 64 else 4, 3)


def _fitting(size: int, most: int) -> int:
    """The largest power of two up to `most` whose tiles cover `size` with a fifth to spare."""
    fits = (s for s in (128, 64, 32) if s <= most and -(-size // s) * s <= 1.2 * max(size, 16))
    return next(fits, 16)


@cache
def _saved(device: torch.device) -> dict[str, list[int]]:
    """The tuned tiles of this GPU."""
    return json.loads(SAVED.read_text("utf-8")).get(torch.cuda.get_device_name(device), {})
