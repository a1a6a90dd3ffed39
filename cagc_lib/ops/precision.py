"""bfloat16 autocast at no more than float32's time, on every processor.

PyTorch multiplies bfloat16 by oneDNN where the CPU has AVX-512 or its like, and elsewhere in plain
loops: two convolutions on a CPU with AVX2 took 50 and 90 times as long as in float32 (torch 2.13).
There, a product is made as the fast instructions make it (factors rounded to bfloat16, sums in
float32, a rounded result), but by float32's kernels. So the numbers follow from the settings, and
the time from the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

# what networks multiply by under autocast
PRODUCTS = (
    F.conv2d, F.conv_transpose2d, F.linear, torch.matmul, torch.Tensor.matmul,
    torch.Tensor.__matmul__,
)
LOWERED = (torch.float32, torch.bfloat16)


@cache
def multiplies_bfloat16(kind: str) -> bool:
    """Whether devices of this kind ("cpu", "cuda") have fast products of bfloat16 numbers."""
    return kind != "cpu" or (
        torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


@contextmanager
def autocast(device: torch.device, enabled: bool = True) -> Iterator[None]:
    """Autocast to bfloat16 as `torch.autocast` does, whatever the processor.

    Example:
        >>> with autocast(torch.device("cpu")):
        ...     F.linear(torch.ones(1, 4), torch.ones(2, 4)).dtype
        torch.bfloat16
    """
    with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
        if enabled and not multiplies_bfloat16(device.type):
            with _ByFloat32():
                yield
        else:
            yield


def _rounded(x: Any) -> Any:
    return x.to(torch.bfloat16).float() if isinstance(x, torch.Tensor) else x


class _ByFloat32(TorchFunctionMode):
    """Makes products of bfloat16 numbers, and with them their gradients, by float32's kernels."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        # inside a network some products ask for full precision by leaving autocast
        if func not in PRODUCTS or not torch.is_autocast_enabled("cpu"):
            return func(*args, **kwargs)
        if any(x.dtype not in LOWERED for x in args if isinstance(x, torch.Tensor)):
            return func(*args, **kwargs)
        named = {name: _rounded(value) for name, value in kwargs.items()}
        with torch.autocast("cpu", enabled=False):
            return func(*map(_rounded, args), **named).to(torch.bfloat16)
