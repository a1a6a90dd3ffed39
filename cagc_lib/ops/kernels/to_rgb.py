"""ToRGB in Triton: product, bias and the up-sampled sum of the level below in one pass.

The product is limited by memory, x being read once for three outputs. Half of the filter's taps
fall on inserted zeros, so every output reads four small pixels. Gradients: the derivatives of
`modulated_conv2d`. Chapter 4.
"""

import torch
import triton
import triton.language as tl

from .convolve import _scaled_block
from .launch import readable_channels
from .modulated_conv2d import derivatives
from .tools import accumulator, empty_like, pixelwise, strides
from .upfirdn2d import upfirdn


@triton.jit
def _upsampled(rgb, f, row, col, height, width, inside, rgb_h, rgb_w, ACC: tl.constexpr):
    """The twice larger image at (row, col); rgb is one channel of the small one, f [4] its filter.

    An output reads the sample it lies on and the next: behind it for even places, ahead for odd.
    """
    total = tl.zeros(row.shape, ACC)
    for a in tl.static_range(2):
        down, r = _tap(f, row, a, ACC)
        for b in tl.static_range(2):
            across, c = _tap(f, col, b, ACC)
            seen = inside & (r >= 0) & (r < height) & (c >= 0) & (c < width)
            value = tl.load(rgb + r * rgb_h + c * rgb_w, mask=seen, other=0.0).to(ACC)
            total += value * (4 * down * across)
    return total


@triton.jit
def _tap(f, place, far: tl.constexpr, ACC: tl.constexpr):
    """Weight and position of the near or the far sample along one axis."""
    odd = place % 2
    if far:
        return tl.load(f + 3 * (1 - odd)).to(ACC), place // 2 + 2 * odd - 1
    return tl.load(f + 1 + odd).to(ACC), place // 2


@triton.jit
def _to_rgb(
    x, weight, s, bias, rgb, f, out, height, width, channels, readable, x_n, x_c, x_h, x_w,
    rgb_n, rgb_c, rgb_h, rgb_w, out_n, out_c, out_h, out_w, tiles,
    HAS_RGB: tl.constexpr, BLOCKS: tl.constexpr, PADDED: tl.constexpr, ACC: tl.constexpr,
    BM: tl.constexpr, BK: tl.constexpr,
):
    """One program a sample and BM pixels; weight [3, channels]."""
    n = (tl.program_id(0) // tiles).to(tl.int64)
    p = tl.program_id(0) % tiles * BM + tl.arange(0, BM)
    inside = p < height * width
    row, col = p // width, p % width
    red, green, blue = tl.zeros((BM,), ACC), tl.zeros((BM,), ACC), tl.zeros((BM,), ACC)
    for step in range(BLOCKS):
        i = step * BK + tl.arange(0, BK)
        known = i < channels
        value = _scaled_block(
            x + n * x_n, s + n * channels, row * x_h + col * x_w, inside, i, channels,
            readable, x_c, PADDED, ACC, ACC,
        )
        w = tl.load(weight + i, mask=known, other=0.0).to(ACC)
        red += tl.sum(value * w[None, :], 1)
        w = tl.load(weight + channels + i, mask=known, other=0.0).to(ACC)
        green += tl.sum(value * w[None, :], 1)
        w = tl.load(weight + 2 * channels + i, mask=known, other=0.0).to(ACC)
        blue += tl.sum(value * w[None, :], 1)
    for colour in tl.static_range(3):
        total = red if colour == 0 else (green if colour == 1 else blue)
        total += tl.load(bias + colour).to(ACC)
        if HAS_RGB:
            small = rgb + n * rgb_n + colour * rgb_c
            total += _upsampled(
                small, f, row, col, height // 2, width // 2, inside, rgb_h, rgb_w, ACC
            )
        place = out + n * out_n + colour * out_c + row * out_h + col * out_w
        tl.store(place, total.to(out.dtype.element_ty), mask=inside)


@torch.library.custom_op("cagc::to_rgb", mutates_args=())
def to_rgb_triton(
    x: torch.Tensor, weight: torch.Tensor, s: torch.Tensor, bias: torch.Tensor,
    rgb: torch.Tensor | None, f: torch.Tensor | None,
) -> torch.Tensor:
    """Run the operator, up(rgb) + weight (s x) + bias, in bias's type."""
    n, channels, height, width = x.shape
    weight, s, bias = (t.contiguous() for t in (weight, s, bias))
    out = empty_like(x, n, 3, height, width, dtype=bias.dtype)
    bm, bk, tiles = pixelwise(height * width, channels, 128)
    readable = readable_channels(x)
    small, taps = out if rgb is None else rgb, out if f is None else f.contiguous()
    _to_rgb[(n * tiles,)](
        x=x, weight=weight, s=s, bias=bias, rgb=small, f=taps, out=out,
        height=height, width=width, channels=channels, readable=readable,
        **strides("x", x), **strides("rgb", small), **strides("out", out), tiles=tiles,
        HAS_RGB=rgb is not None, BLOCKS=triton.cdiv(channels, bk), PADDED=readable > channels,
        ACC=accumulator(bias.dtype), BM=bm, BK=bk,
    )
    return out


@to_rgb_triton.register_fake
def _(x, weight, s, bias, rgb, f):
    return empty_like(x, len(x), 3, *x.shape[2:], dtype=bias.dtype)


def _save(ctx, inputs: tuple, output: torch.Tensor) -> None:
    x, weight, s, _, rgb, f = inputs
    ctx.size = None if rgb is None else rgb.shape[2:]
    ctx.save_for_backward(x, weight, s, f)


def _backward(ctx, g: torch.Tensor) -> tuple:
    x, weight, s, f = ctx.saved_tensors
    values = x, weight, s, s.new_ones(len(s), 3), g.to(x.dtype)
    grads = derivatives(values, ctx.needs_input_grad[:3], 1, 1)
    small = None
    if ctx.size is not None:
        # the transposed up-sampling is a down-sampling with the same filter, four times as strong
        small = upfirdn(g, torch.outer(f, f), 1, 2, 1, *ctx.size, 4.0, True)
    return *grads, g.sum((0, 2, 3)), small, None


to_rgb_triton.register_autograd(_backward, setup_context=_save)
