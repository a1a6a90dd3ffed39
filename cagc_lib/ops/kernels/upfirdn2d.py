"""Zero insertion, FIR filter and striding in Triton: one pass, differentiable any number of times.

    y[q] = gain * sum over taps a of  f[k - 1 - a] * z[q * down + a - before]

along both axes, where z is x with up - 1 zeros after every sample. The gradient is the same
operator with up and down swapped, the filter turned round and before' = k - 1 - before. Chapter 4.
"""

import torch
import triton
import triton.language as tl

from .tools import accumulator, empty_like, pixelwise, strides


@triton.jit
def _upfirdn(
    x, f, out, height, width, out_height, out_width, channels,
    x_n, x_c, x_h, x_w, out_n, out_c, out_h, out_w, tiles, before,
    GAIN: tl.constexpr, UP: tl.constexpr, DOWN: tl.constexpr, TAPS: tl.constexpr,
    TURNED: tl.constexpr, ACC: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):
    """One program a sample, BP pixels and BC channels; f [TAPS, TAPS]."""
    n = (tl.program_id(0) // tiles).to(tl.int64)
    p = tl.program_id(0) % tiles * BP + tl.arange(0, BP)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    c_inside = c < channels
    row, col = p // out_width, p % out_width
    p_inside = p < out_height * out_width
    acc = tl.zeros((BP, BC), ACC)
    for tap in tl.static_range(TAPS * TAPS):
        r = row * DOWN + tap // TAPS - before
        q = col * DOWN + tap % TAPS - before
        inside = p_inside & (r >= 0) & (r < height * UP) & (q >= 0) & (q < width * UP)
        if UP > 1:
            inside = inside & (r % UP == 0) & (q % UP == 0)
        value = tl.load(
            x + n * x_n + (r // UP * x_h + q // UP * x_w)[:, None] + (c * x_c)[None, :],
            mask=inside[:, None] & c_inside[None, :], other=0.0,
        )
        # a convolution turns its filter round, a correlation does not
        weight = tl.load(f + (tap if TURNED else TAPS * TAPS - 1 - tap)).to(ACC)
        acc += value.to(ACC) * weight
    place = n * out_n + (row * out_h + col * out_w)[:, None] + (c * out_c)[None, :]
    inside = p_inside[:, None] & c_inside[None, :]
    tl.store(out + place, (acc * GAIN).to(out.dtype.element_ty), mask=inside)


@torch.library.custom_op("cagc::upfirdn", mutates_args=())
def upfirdn(
    x: torch.Tensor, f: torch.Tensor, up: int, down: int, before: int, out_height: int,
    out_width: int, gain: float, turned: bool,
) -> torch.Tensor:
    """The operator with the size of its result given; f [k, k], `turned` correlates."""
    n, channels, height, width = x.shape
    out = empty_like(x, n, channels, out_height, out_width)
    bp, bc, tiles = pixelwise(out_height * out_width, channels)
    _upfirdn[(n * tiles, triton.cdiv(channels, bc))](
        x=x, f=f, out=out, height=height, width=width, out_height=out_height,
        out_width=out_width, channels=channels, **strides("x", x), **strides("out", out),
        tiles=tiles, before=before, GAIN=gain, UP=up, DOWN=down, TAPS=len(f), TURNED=turned,
        ACC=accumulator(x.dtype), BP=bp, BC=bc,
    )
    return out


@upfirdn.register_fake
def _(x, f, up, down, before, out_height, out_width, gain, turned):
    return empty_like(x, *x.shape[:2], out_height, out_width)


def _save(ctx, inputs: tuple, output: torch.Tensor) -> None:
    x, f, up, down, before, _, _, gain, turned = inputs
    ctx.save_for_backward(f)
    # of the gradient, which is the operator itself
    ctx.settings = down, up, len(f) - 1 - before, *x.shape[2:], gain, not turned


def _backward(ctx, g: torch.Tensor) -> tuple:
    (f,) = ctx.saved_tensors
    return upfirdn(g, f, *ctx.settings), *[None] * 8


upfirdn.register_autograd(_backward, setup_context=_save)


def upfirdn2d_triton(
    x: torch.Tensor, f: torch.Tensor, up: int, down: int, padding: tuple[int, int], gain: float
) -> torch.Tensor:
    """Run the operator, with the arguments of the reference."""
    kernel = (f if f.ndim == 2 else torch.outer(f, f)).to(x.device).contiguous()
    sides = [(side * up + sum(padding) - len(kernel)) // down + 1 for side in x.shape[2:]]
    return upfirdn(x, kernel, up, down, padding[0], *sides, gain, False)
