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


def operand(dtype: torch.dtype) -> tl.dtype:
    """The type in which factors are multiplied; the interpreter cannot multiply bfloat16."""
    if dtype == torch.bfloat16:
        return tl.float32 if INTERPRETED else tl.bfloat16
    return {torch.float16: tl.float16, torch.float64: tl.float64}.get(dtype, tl.float32)


def precision() -> str:
    """How float32 factors are multiplied: exactly, unless torch is told that TF32 will do."""
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee"


def arithmetic(dtype: torch.dtype) -> dict[str, Any]:
    """The compile-time arguments of a kernel that multiplies matrices of this type."""
    return {"ACC": accumulator(dtype), "KIND": operand(dtype), "PRECISION": precision()}


def tail_arguments(
    x: torch.Tensor, bias: torch.Tensor | None, noise: torch.Tensor | None, slope: float,
    gain: float, clamp: float | None,
) -> dict[str, Any]:
    """A kernel's arguments for a layer's tail; x stands for the tensors that are not there."""
    return {
        "bias": x if bias is None else bias.contiguous(), "noise": x if noise is None else noise,
        "noise_n": 0 if noise is None or len(noise) == 1 else noise.stride(0),
        "GAIN": gain, "SLOPE": slope, "CLAMP": clamp, "HAS_BIAS": bias is not None,
        "HAS_NOISE": noise is not None,
    }


def block(size: int, largest: int) -> int:
    """The power of two that holds `size`, from 16, the least that tl.dot takes, to `largest`."""
    return max(16, min(largest, triton.next_power_of_2(size)))


def empty_like(x: torch.Tensor, *shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    """An uninitialised [N, C, H, W] with the memory order of x."""
    last = x.ndim == 4 and x.stride(1) == 1 and x.shape[1] > 1
    order = torch.channels_last if last else torch.contiguous_format
    return torch.empty(shape, dtype=dtype or x.dtype, device=x.device, memory_format=order)


def strides(name: str, x: torch.Tensor | None, axes: str = "nchw") -> dict[str, int]:
    """A kernel's arguments NAME_n, NAME_c, ...: the strides of x, or 0 where there is no x."""
    steps = (0,) * len(axes) if x is None else x.stride()
    return {f"{name}_{axis}": step for axis, step in zip(axes, steps, strict=True)}
