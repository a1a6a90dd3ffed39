"""The up-sampling layer in one kernel: transposed convolution, filter and tail, on chip.

The transposed convolution of stride 2 has four phases T[2i + a, 2j + b] of four, two, two and one
taps: nine products in all, where four folded 3x3 kernels (polyphase) would take 36. The filter
[1, 3, 3, 1] / 4 along each axis then meets rows and columns of the phases by shifts on chip. See
`convolve` for what the two have in common. Chapter 4.
"""

import triton
import triton.language as tl

from .convolve import _add_tap, _coefficients, _scaled_block, _tail


@triton.jit
def _add_phases(
    ee, eo, oe, oo, x, s, weight, row, col, height, width, i, channels, readable, o, rows, columns,
    x_c, x_h, x_w, weight_t, PADDED: tl.constexpr, ACC: tl.constexpr, KIND: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Add some channels' part to the phases: tap (a, b) reads x[row - a // 2, col - b // 2]."""
    for up in tl.static_range(2):
        for left in tl.static_range(2):
            r, c = row - up, col - left
            inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
            v = _scaled_block(
                x, s, r * x_h + c * x_w, inside, i, channels, readable, x_c, PADDED, ACC, KIND
            )
            tap = 6 * up + 2 * left
            w = weight + tap * weight_t
            ee = _add_tap(ee, v, w, columns, 1, i, rows, o, columns, ACC, KIND, PRECISION)
            if left == 0:
                w = weight + (tap + 1) * weight_t
                eo = _add_tap(eo, v, w, columns, 1, i, rows, o, columns, ACC, KIND, PRECISION)
            if up == 0:
                w = weight + (tap + 3) * weight_t
                oe = _add_tap(oe, v, w, columns, 1, i, rows, o, columns, ACC, KIND, PRECISION)
            if up + left == 0:
                w = weight + (tap + 4) * weight_t
                oo = _add_tap(oo, v, w, columns, 1, i, rows, o, columns, ACC, KIND, PRECISION)
    return ee, eo, oe, oo


@triton.jit
def _shifted(values, offset, BM: tl.constexpr, BN: tl.constexpr):
    """Row m of the result is row m + offset of values [BM, BN], wrapping round."""
    index = (tl.arange(0, BM) + offset + BM) % BM
    return tl.gather(values, tl.broadcast_to(index[:, None], (BM, BN)), 0)


@triton.jit
def _filtered(even, odd, step: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    """Filter one axis of a signal given by its even and odd samples, `step` rows apart.

    y[2j]     = (odd[j - 1] + 3 even[j] + 3 odd[j] + even[j + 1]) / 4
    y[2j + 1] = (even[j] + 3 odd[j] + 3 even[j + 1] + odd[j + 1]) / 4
    """
    next_even = _shifted(even, step, BM, BN)
    before, after = _shifted(odd, -step, BM, BN), _shifted(odd, step, BM, BN)
    first = 0.25 * (before + next_even) + 0.75 * (even + odd)
    second = 0.25 * (even + after) + 0.75 * (odd + next_even)
    return first, second


@triton.jit
def _convolve_up(
    x, weight, s, d, bias, noise, out,
    height, width, channels, readable, filters, rows, columns, writable,
    x_n, x_c, x_h, x_w, out_n, out_c, out_h, out_w,
    weight_t, noise_n, tiles_down, tiles_across, epsilon,
    GAIN: tl.constexpr, SLOPE: tl.constexpr, CLAMP: tl.constexpr, BLOCKS: tl.constexpr,
    HAS_BIAS: tl.constexpr, HAS_NOISE: tl.constexpr, DEMODULATE: tl.constexpr,
    PADDED: tl.constexpr, ACC: tl.constexpr, KIND: tl.constexpr, PRECISION: tl.constexpr,
    TH: tl.constexpr, TW: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):
    """Write d * fir(transposed_conv(s * x, weight)) and its tail, [N, filters, 2 height, 2 width].

    A tile is TH x TW input positions, whose border is computed for the filter's sake only.
    """
    BM: tl.constexpr = TH * TW
    tiles = tiles_down * tiles_across
    n = (tl.program_id(0) // tiles).to(tl.int64)
    tile = tl.program_id(0) % tiles
    m = tl.arange(0, BM)
    # from position -1 on the transposed convolution can reach the image
    row = tile // tiles_across * (TH - 2) - 1 + m // TW
    col = tile % tiles_across * (TW - 2) - 1 + m % TW
    o = tl.program_id(1) * BN + tl.arange(0, BN)
    x += n * x_n
    s += n * channels
    # even and odd rows, even and odd columns
    zero = tl.zeros((BM, BN), ACC)
    ee, eo, oe, oo = zero, zero, zero, zero
    for block in range(BLOCKS):
        i = block * BK + tl.arange(0, BK)
        ee, eo, oe, oo = _add_phases(
            ee, eo, oe, oo, x, s, weight, row, col, height, width, i, channels, readable, o, rows,
            columns, x_c, x_h, x_w, weight_t, PADDED, ACC, KIND, PRECISION,
        )
    scale = _coefficients(
        d, s, n, o, channels, filters, epsilon, DEMODULATE, BLOCKS, ACC, BK, BN
    )[None, :]
    ee, eo, oe, oo = ee * scale, eo * scale, oe * scale, oo * scale
    ee, eo = _filtered(ee, eo, 1, BM, BN)
    oe, oo = _filtered(oe, oo, 1, BM, BN)
    ee, oe = _filtered(ee, oe, TW, BM, BN)
    eo, oo = _filtered(eo, oo, TW, BM, BN)
    # the border of the tile belongs to its neighbours
    keep = (m // TW > 0) & (m // TW < TH - 1) & (m % TW > 0) & (m % TW < TW - 1)
    for phase in tl.static_range(4):
        acc = (ee, eo, oe, oo)[phase]
        r, c = 2 * row + phase // 2, 2 * col + phase % 2
        inside = keep & (r >= 0) & (r < 2 * height) & (c >= 0) & (c < 2 * width)
        acc = _tail(
            acc, o, n * noise_n + r * (2 * width) + c, o < filters, inside, bias, noise, GAIN,
            SLOPE, CLAMP, HAS_BIAS, HAS_NOISE,
        )
        place = n * out_n + (r * out_h + c * out_w)[:, None] + (o * out_c)[None, :]
        inside = inside[:, None] & (o < writable)[None, :]
        tl.store(out + place, acc.to(out.dtype.element_ty), mask=inside)
