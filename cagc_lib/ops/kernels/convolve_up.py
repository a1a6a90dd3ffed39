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
def _shifted_input(
    x, s, row, col, height, width, i, channels, readable, x_c, x_h, x_w, PADDED: tl.constexpr,
    ACC: tl.constexpr, KIND: tl.constexpr,
):
    """s * x at (row, col), zero outside the image."""
    inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
    return _scaled_block(
        x, s, row * x_h + col * x_w, inside, i, channels, readable, x_c, PADDED, ACC, KIND
    )


@triton.jit
def _add_phases(
    ee, eo, oe, oo, x, s, weight, row, col, height, width, i, channels, readable, o, rows, columns,
    x_c, x_h, x_w, weight_t, PADDED: tl.constexpr, ACC: tl.constexpr, KIND: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Add some channels' part to the four phases: tap (a, b) reads x[i - a // 2, j - b // 2]."""
    v = _shifted_input(x, s, row, col, height, width, i, channels, readable, x_c, x_h, x_w,
                       PADDED, ACC, KIND)
    ee = _add_tap(ee, v, weight, columns, 1, i, rows, o, columns, ACC, KIND, PRECISION)
    eo = _add_tap(eo, v, weight + weight_t, columns, 1, i, rows, o, columns, ACC, KIND, PRECISION)
    oe = _add_tap(oe, v, weight + 3 * weight_t, columns, 1, i, rows, o, columns, ACC, KIND,
                 PRECISION)
    oo = _add_tap(oo, v, weight + 4 * weight_t, columns, 1, i, rows, o, columns, ACC, KIND,
                 PRECISION)
    v = _shifted_input(x, s, row, col - 1, height, width, i, channels, readable, x_c, x_h, x_w,
                       PADDED, ACC, KIND)
    ee = _add_tap(ee, v, weight + 2 * weight_t, columns, 1, i, rows, o, columns, ACC, KIND,
                 PRECISION)
    oe = _add_tap(oe, v, weight + 5 * weight_t, columns, 1, i, rows, o, columns, ACC, KIND,
                 PRECISION)
    v = _shifted_input(x, s, row - 1, col, height, width, i, channels, readable, x_c, x_h, x_w,
                       PADDED, ACC, KIND)
    ee = _add_tap(ee, v, weight + 6 * weight_t, columns, 1, i, rows, o, columns, ACC, KIND,
                 PRECISION)
    eo = _add_tap(eo, v, weight + 7 * weight_t, columns, 1, i, rows, o, columns, ACC, KIND,
                 PRECISION)
    v = _shifted_input(x, s, row - 1, col - 1, height, width, i, channels, readable, x_c, x_h, x_w,
                       PADDED, ACC, KIND)
    ee = _add_tap(ee, v, weight + 8 * weight_t, columns, 1, i, rows, o, columns, ACC, KIND,
                 PRECISION)
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
def _store_phase(
    acc, out, bias, noise, n, row, col, o, keep, filters, writable,
    height, width, out_n, out_c, out_h, out_w, noise_n,
    GAIN: tl.constexpr, SLOPE: tl.constexpr, CLAMP: tl.constexpr, HAS_BIAS: tl.constexpr,
    HAS_NOISE: tl.constexpr,
):
    """Finish and write the outputs at (row, col) of the large image."""
    keep = keep & (row >= 0) & (row < height) & (col >= 0) & (col < width)
    acc = _tail(
        acc, o, n * noise_n + row * width + col, o < filters, keep, bias, noise, GAIN, SLOPE,
        CLAMP, HAS_BIAS, HAS_NOISE,
    )
    place = n * out_n + (row * out_h + col * out_w)[:, None] + (o * out_c)[None, :]
    inside = keep[:, None] & (o < writable)[None, :]
    tl.store(out + place, acc.to(out.dtype.element_ty), mask=inside)


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
    height, width, row, col = 2 * height, 2 * width, 2 * row, 2 * col
    _store_phase(ee, out, bias, noise, n, row, col, o, keep, filters, writable, height, width,
                 out_n, out_c, out_h, out_w, noise_n, GAIN, SLOPE, CLAMP, HAS_BIAS, HAS_NOISE)
    _store_phase(eo, out, bias, noise, n, row, col + 1, o, keep, filters, writable, height, width,
                 out_n, out_c, out_h, out_w, noise_n, GAIN, SLOPE, CLAMP, HAS_BIAS, HAS_NOISE)
    _store_phase(oe, out, bias, noise, n, row + 1, col, o, keep, filters, writable, height, width,
                 out_n, out_c, out_h, out_w, noise_n, GAIN, SLOPE, CLAMP, HAS_BIAS, HAS_NOISE)
    _store_phase(oo, out, bias, noise, n, row + 1, col + 1, o, keep, filters, writable, height,
                 width, out_n, out_c, out_h, out_w, noise_n, GAIN, SLOPE, CLAMP, HAS_BIAS,
                 HAS_NOISE)
