"""From tensors to launches of the kernels of `modulated_conv2d_kernels`: sizes, strides, tiles."""

import torch
import triton

from .modulated_conv2d_kernels import _convolve, _convolve_up, _demodulate, _weight_gradient
from .triton_tools import INTERPRETED, accumulator, block, like, operand, precision
from .upfirdn2d import setup_filter
from .upfirdn2d_triton import upfirdn

# whole images where a program costs milliseconds and its size next to nothing
PIXELS, CHANNELS, SPLITS = (4096, 256, 1) if INTERPRETED else (64, 64, 16)
# bias, noise, slope, gain, clamp of a layer without a tail
NO_TAIL = (None, None, 1.0, 1.0, None)


def _packed(weight: torch.Tensor) -> torch.Tensor:
    """[O, I, k, k] as [taps, I, O], filters side by side in memory."""
    return weight.permute(2, 3, 1, 0).flatten(0, 1).contiguous()


def _dense(*small: torch.Tensor | None) -> list[torch.Tensor | None]:
    """The small operands, whose strides the kernels take for granted."""
    return [None if t is None else t.contiguous() for t in small]


def convolved(
    x: torch.Tensor, weight: torch.Tensor, s: torch.Tensor, d: torch.Tensor, turned: bool,
    stride: int, pad: int, tail: tuple = NO_TAIL, other: torch.Tensor | None = None,
) -> torch.Tensor:
    """Launch `_convolve`; `turned` lets the weight map filters to channels. See the kernel."""
    bias, noise, slope, gain, clamp = tail
    s, d, bias, noise = _dense(s, d, bias, noise)
    side, w = weight.shape[2], _packed(weight)
    n, channels, height, width = x.shape
    filters = weight.shape[1 if turned else 0]
    strides = (w.stride(0), w.stride(2), w.stride(1)) if turned else w.stride()
    out_height, out_width = ((size + 2 * pad - side) // stride + 1 for size in (height, width))
    pixels = out_height * out_width
    bm, bn, bk = block(pixels, PIXELS), block(filters, CHANNELS), block(channels, CHANNELS)
    tiles = triton.cdiv(pixels, bm)
    if other is None:
        out = like(x, n, filters, out_height, out_width)
        out_strides = out.stride()
    else:
        kind = torch.promote_types(x.dtype, torch.float32)
        out, out_strides = torch.empty(n, tiles, filters, dtype=kind, device=x.device), (0,) * 4
    _convolve[(n * tiles, triton.cdiv(filters, bn))](
        x, w, s, d, x if other is None else other, x if bias is None else bias,
        x if noise is None else noise, out, height, width, out_height, out_width, channels,
        filters, *x.stride(), *out_strides, *((0,) * 4 if other is None else other.stride()),
        *strides, _per_sample(noise), tiles, gain, slope, clamp, side, stride, pad,
        triton.cdiv(channels, bk), bias is not None, noise is not None, other is not None,
        turned and stride == 1, accumulator(x.dtype), operand(x.dtype), precision(), bm, bn, bk,
    )
    return out if other is None else out.sum(1)


def convolved_up(
    x: torch.Tensor, weight: torch.Tensor, s: torch.Tensor, d: torch.Tensor, tail: tuple = NO_TAIL
) -> torch.Tensor:
    """Launch `_convolve_up`."""
    bias, noise, slope, gain, clamp = tail
    s, d, bias, noise = _dense(s, d, bias, noise)
    w = _packed(weight)
    n, channels, height, width = x.shape
    filters = len(weight)
    out = like(x, n, filters, 2 * height, 2 * width)
    # two rows and columns of a tile are border; what is kept begins at position 0
    th, tw = up_tile(height, width)
    down, across = triton.cdiv(height, th - 2), triton.cdiv(width, tw - 2)
    bn, bk = block(filters, CHANNELS), block(channels, CHANNELS)
    _convolve_up[(n * down * across, triton.cdiv(filters, bn))](
        x, w, s, d, x if bias is None else bias, x if noise is None else noise, out,
        height, width, channels, filters, *x.stride(), *out.stride(), *w.stride(),
        _per_sample(noise), down, across, gain, slope, clamp, triton.cdiv(channels, bk),
        bias is not None, noise is not None, accumulator(x.dtype), operand(x.dtype), precision(),
        th, tw, bn, bk,
    )
    return out


def _per_sample(noise: torch.Tensor | None) -> int:
    """Stride from one sample's noise map to the next."""
    return 0 if noise is None or len(noise) == 1 else noise.stride(0)


def up_tile(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of input positions in a tile of `_convolve_up`."""
    if INTERPRETED:
        return block(height + 2, 64), block(width + 2, 64)
    return 4, 16


def spread(g: torch.Tensor) -> torch.Tensor:
    """The up-sampling layer's filter, transposed: [N, O, 2H, 2W] -> [N, O, 2H + 1, 2W + 1]."""
    f = setup_filter().to(g.device)
    kernel = torch.outer(f, f)
    return upfirdn(g, kernel, 1, 1, 2, g.shape[2] + 1, g.shape[3] + 1, 4.0, True)


def weight_gradient(
    large: torch.Tensor, small: torch.Tensor, s_large: torch.Tensor, s_small: torch.Tensor,
    side: int, stride: int, pad: int,
) -> torch.Tensor:
    """Launch `_weight_gradient`; return [k, k, channels of large, channels of small]."""
    s_large, s_small = _dense(s_large, s_small)
    n, channels, height, width = large.shape
    filters, rows, columns = small.shape[1:]
    bp, bc, bf = block(rows * columns, PIXELS), block(channels, CHANNELS), block(filters, CHANNELS)
    chunks = triton.cdiv(rows * columns, bp)
    steps = triton.cdiv(n * chunks, min(SPLITS, n * chunks))
    splits = triton.cdiv(n * chunks, steps)
    kind = torch.promote_types(large.dtype, torch.float32)
    out = torch.empty(splits, side * side, channels, filters, dtype=kind, device=large.device)
    blocks = triton.cdiv(channels, bc) * triton.cdiv(filters, bf)
    _weight_gradient[(splits, side * side, blocks)](
        large, small, s_large, s_small, out, height, width, rows, columns, channels, filters, n,
        *large.stride(), *small.stride(), chunks, side, stride, pad, steps,
        accumulator(large.dtype), operand(large.dtype), precision(), bc, bf, bp,
    )
    return out.sum(0).unflatten(0, (side, side))


def demodulation(weight: torch.Tensor, s: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Launch `_demodulate`; return [N, O], at least float32."""
    n, channels = s.shape
    kind = torch.promote_types(torch.promote_types(s.dtype, weight.dtype), torch.float32)
    w, (s,) = _packed(weight), _dense(s)
    out = torch.empty(n, len(weight), dtype=kind, device=s.device)
    bn, bo, bi = block(n, CHANNELS), block(len(weight), CHANNELS), block(channels, CHANNELS)
    _demodulate[(triton.cdiv(n, bn), triton.cdiv(len(weight), bo))](
        w, s, out, n, channels, len(weight), epsilon, len(w), triton.cdiv(channels, bi),
        accumulator(kind), bn, bo, bi,
    )
    return out
