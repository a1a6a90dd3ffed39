"""What the Triton twins share: where they can run, in which arithmetic, on tiles of which size.

A kernel runs on a GPU, or on a CPU in Triton's interpreter, which is slow and meant for tests and
for chapter 4: TRITON_INTERPRET=1 in the environment before triton is imported switches it on.
"""

from typing import Any

import torch
import triton
import triton.language as tl

INTERPRETED = triton.knobs.runtime.interpret


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type of sums in memory: at least float32."""
    return torch.promote_types(dtype, torch.float32)


def accumulator(dtype: torch.dtype) -> tl.dtype:
    """Sums are kept in float32, those of float64 (for gradient checks) in float64."""
    return tl.float64 if dtype == torch.float64 else tl.float32


def precision() -> str:
    """How float32 factors are multiplied: exactly, unless torch is told that TF32 will do."""
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee"


def arithmetic(dtype: torch.dtype) -> dict[str, Any]:
    """The compile-time arguments of a kernel that multiplies matrices of this type."""
    # the interpreter cannot multiply bfloat16
    kind = torch.float32 if INTERPRETED and dtype == torch.bfloat16 else dtype
    kind = getattr(tl, str(kind).removeprefix("torch."))
    return {"ACC": accumulator(dtype), "KIND": kind, "PRECISION": precision()}


def tail_arguments(
    x: torch.Tensor, bias: torch.Tensor | None, noise: torch.Tensor | None, slope: float,
    gain: float, clamp: float | None,
) -> dict[str, Any]:
    """A kernel's arguments for a layer's tail; x stands for the tensors that are not there."""
    noise = None if noise is None else noise.contiguous()
    return {
        "bias": x if bias is None else bias.contiguous(), "noise": x if noise is None else noise,
        "noise_n": 0 if noise is None or len(noise) == 1 else noise.stride(0),
        "GAIN": gain, "SLOPE": slope, "CLAMP": clamp, "HAS_BIAS": bias is not None,
        "HAS_NOISE": noise is not None,
    }


def block(size: int, largest: int) -> int:
    """The power of two that holds `size`, from 16, the least that tl.dot takes, to `largest`."""
    return max(16, min(largest, triton.next_power_of_2(size)))


def pixelwise(pixels: int, channels: int, largest: int = 64) -> tuple[int, int, int]:
    """Blocks of pixels and channels, and how many hold the pixels, where nothing is tuned."""
    # in the interpreter a program costs milliseconds and its size next to nothing
    bp = block(pixels, 4096 if INTERPRETED else largest)
    return bp, block(channels, 256 if INTERPRETED else 32), triton.cdiv(pixels, bp)


def empty_like(x: torch.Tensor, *shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    """An uninitialised [N, C, H, W] with the memory order of x."""
    last = x.ndim == 4 and x.stride(1) == 1 and x.shape[1] > 1
    order = torch.channels_last if last else torch.contiguous_format
    return torch.empty(shape, dtype=dtype or x.dtype, device=x.device, memory_format=order)


def strides(name: str, x: torch.Tensor, axes: str = "nchw") -> dict[str, int]:
    """A kernel's arguments NAME_n, NAME_c, ...: the strides of x."""
    return {f"{name}_{axis}": step for axis, step in zip(axes, x.stride(), strict=True)}
