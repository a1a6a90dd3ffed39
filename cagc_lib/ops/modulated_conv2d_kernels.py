"""Triton kernels of the modulated convolution; `modulated_conv2d_triton` launches them.

Everything is a part of one expression that is linear in each of its five arguments,

    F(x, weight, s, d, g) = sum over n, o, p of  g[n,o,p] d[n,o] conv(s[n,i] x[n,i], weight)[n,o,p]

    _convolve          dF/dg, the layer itself, with its tail (noise, bias, activation, gain,
                       clamp); with the weight turned round dF/dx; summed over pixels dF/ds, dF/dd
    _convolve_up       dF/dg of the up-sampling layer: transposed convolution and filter, on chip
    _weight_gradient   dF/dweight

A program owns BM pixels of one sample and BN channels, so scales are vectors. Sums are float32
(float64 for float64). Offsets inside a sample are 32-bit, samples' offsets 64-bit. Chapter 4.
"""

import triton
import triton.language as tl


@triton.jit
def _tail(
    acc, o, p, o_inside, p_inside, n, bias, noise, noise_n,
    GAIN: tl.constexpr, SLOPE: tl.constexpr, CLAMP: tl.constexpr, HAS_BIAS: tl.constexpr,
    HAS_NOISE: tl.constexpr,
):
    """clamp(gain * lrelu(acc + noise + bias)); slope 1 is the linear activation."""
    if HAS_NOISE:
        value = tl.load(noise + n * noise_n + p, mask=p_inside, other=0.0)
        acc += value.to(acc.dtype)[:, None]
    if HAS_BIAS:
        acc += tl.load(bias + o, mask=o_inside, other=0.0).to(acc.dtype)[None, :]
    acc = tl.where(acc > 0, acc, acc * SLOPE) * GAIN
    if CLAMP is not None:
        limit = tl.full(acc.shape, CLAMP, acc.dtype)
        acc = tl.minimum(tl.maximum(acc, -limit), limit)
    return acc


@triton.jit
def _input_block(
    x, s, row, col, height, width, i, i_inside, x_c, x_h, x_w, ACC: tl.constexpr,
    KIND: tl.constexpr,
):
    """s * x at positions (row, col) and channels i, zero outside the image: [BM, BK]."""
    inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
    values = tl.load(
        x + (row * x_h + col * x_w)[:, None] + (i * x_c)[None, :],
        mask=inside[:, None] & i_inside[None, :], other=0.0,
    )
    style = tl.load(s + i, mask=i_inside, other=0.0)
    return (values.to(ACC) * style.to(ACC)[None, :]).to(KIND)


@triton.jit
def _add_tap(
    acc, values, weight, tap, weight_t, weight_i, weight_o, i, i_inside, o, o_inside,
    ACC: tl.constexpr, KIND: tl.constexpr, PRECISION: tl.constexpr,
):
    """acc + values @ weight[tap]."""
    w = tl.load(
        weight + tap * weight_t + (i * weight_i)[:, None] + (o * weight_o)[None, :],
        mask=i_inside[:, None] & o_inside[None, :], other=0.0,
    )
    return tl.dot(values, w.to(KIND), acc, input_precision=PRECISION, out_dtype=ACC)


@triton.jit
def _convolve(
    x, weight, s, d, other, bias, noise, out,
    height, width, out_height, out_width, channels, filters,
    x_n, x_c, x_h, x_w, out_n, out_c, out_h, out_w, other_n, other_c, other_h, other_w,
    weight_t, weight_i, weight_o, noise_n, tiles,
    GAIN: tl.constexpr, SLOPE: tl.constexpr, CLAMP: tl.constexpr,
    SIDE: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr, BLOCKS: tl.constexpr,
    HAS_BIAS: tl.constexpr, HAS_NOISE: tl.constexpr, REDUCE: tl.constexpr, FLIP: tl.constexpr,
    ACC: tl.constexpr, KIND: tl.constexpr, PRECISION: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):
    """Write d * conv(s * x, weight) and its tail, or (REDUCE) its dot products with `other`.

    x [N, channels, height, width]; weight [SIDE * SIDE taps, channels, filters]; s [N, channels];
    d [N, filters]; out and other [N, filters, out_height, out_width], strides as given. With
    REDUCE, out is [N, tiles, filters]: sums over the tile's pixels.
    """
    n = (tl.program_id(0) // tiles).to(tl.int64)
    tile = tl.program_id(0) % tiles
    p = tile * BM + tl.arange(0, BM)
    o = tl.program_id(1) * BN + tl.arange(0, BN)
    row, col = p // out_width, p % out_width
    p_inside, o_inside = p < out_height * out_width, o < filters
    x += n * x_n
    s += n * channels
    acc = tl.zeros((BM, BN), ACC)
    for step in range(SIDE * SIDE * BLOCKS):
        tap = step // BLOCKS
        i = step % BLOCKS * BK + tl.arange(0, BK)
        # rows past the last pixel read something or nothing, and are never written
        r, c = row * STRIDE + tap // SIDE - PAD, col * STRIDE + tap % SIDE - PAD
        v = _input_block(x, s, r, c, height, width, i, i < channels, x_c, x_h, x_w, ACC, KIND)
        acc = _add_tap(
            acc, v, weight, SIDE * SIDE - 1 - tap if FLIP else tap, weight_t, weight_i, weight_o,
            i, i < channels, o, o_inside, ACC, KIND, PRECISION,
        )
    scale = tl.load(d + n * filters + o, mask=o_inside, other=0.0)
    acc *= scale.to(ACC)[None, :]
    inside = p_inside[:, None] & o_inside[None, :]
    if REDUCE:
        g = tl.load(
            other + n * other_n + (row * other_h + col * other_w)[:, None] + (o * other_c)[None, :],
            mask=inside, other=0.0,
        )
        sums = tl.sum(acc * g.to(ACC), 0)
        tl.store(out + (n * tiles + tile) * filters + o, sums.to(out.dtype.element_ty), o_inside)
    else:
        acc = _tail(
            acc, o, p, o_inside, p_inside, n, bias, noise, noise_n, GAIN, SLOPE, CLAMP,
            HAS_BIAS, HAS_NOISE,
        )
        place = n * out_n + (row * out_h + col * out_w)[:, None] + (o * out_c)[None, :]
        tl.store(out + place, acc.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _add_phases(
    ee, eo, oe, oo, x, s, weight, row, col, height, width, i, i_inside, o, o_inside,
    x_c, x_h, x_w, weight_t, weight_i, weight_o,
    ACC: tl.constexpr, KIND: tl.constexpr, PRECISION: tl.constexpr,
):
    """Add some channels' part to the four phases: tap (a, b) reads x[i - a // 2, j - b // 2]."""
    v = _input_block(x, s, row, col, height, width, i, i_inside, x_c, x_h, x_w, ACC, KIND)
    ee = _add_tap(ee, v, weight, 0, weight_t, weight_i, weight_o, i, i_inside, o, o_inside,
                  ACC, KIND, PRECISION)
    eo = _add_tap(eo, v, weight, 1, weight_t, weight_i, weight_o, i, i_inside, o, o_inside,
                  ACC, KIND, PRECISION)
    oe = _add_tap(oe, v, weight, 3, weight_t, weight_i, weight_o, i, i_inside, o, o_inside,
                  ACC, KIND, PRECISION)
    oo = _add_tap(oo, v, weight, 4, weight_t, weight_i, weight_o, i, i_inside, o, o_inside,
                  ACC, KIND, PRECISION)
    v = _input_block(x, s, row, col - 1, height, width, i, i_inside, x_c, x_h, x_w, ACC, KIND)
    ee = _add_tap(ee, v, weight, 2, weight_t, weight_i, weight_o, i, i_inside, o, o_inside,
                  ACC, KIND, PRECISION)
    oe = _add_tap(oe, v, weight, 5, weight_t, weight_i, weight_o, i, i_inside, o, o_inside,
                  ACC, KIND, PRECISION)
    v = _input_block(x, s, row - 1, col, height, width, i, i_inside, x_c, x_h, x_w, ACC, KIND)
    ee = _add_tap(ee, v, weight, 6, weight_t, weight_i, weight_o, i, i_inside, o, o_inside,
                  ACC, KIND, PRECISION)
    eo = _add_tap(eo, v, weight, 7, weight_t, weight_i, weight_o, i, i_inside, o, o_inside,
                  ACC, KIND, PRECISION)
    v = _input_block(x, s, row - 1, col - 1, height, width, i, i_inside, x_c, x_h, x_w, ACC, KIND)
    ee = _add_tap(ee, v, weight, 8, weight_t, weight_i, weight_o, i, i_inside, o, o_inside,
                  ACC, KIND, PRECISION)
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
    acc, out, bias, noise, n, row, col, o, keep, o_inside,
    height, width, out_n, out_c, out_h, out_w, noise_n,
    GAIN: tl.constexpr, SLOPE: tl.constexpr, CLAMP: tl.constexpr, HAS_BIAS: tl.constexpr,
    HAS_NOISE: tl.constexpr,
):
    """Finish and write the outputs at (row, col) of the large image."""
    keep = keep & (row >= 0) & (row < height) & (col >= 0) & (col < width)
    acc = _tail(
        acc, o, row * width + col, o_inside, keep, n, bias, noise, noise_n, GAIN, SLOPE, CLAMP,
        HAS_BIAS, HAS_NOISE,
    )
    place = n * out_n + (row * out_h + col * out_w)[:, None] + (o * out_c)[None, :]
    tl.store(out + place, acc.to(out.dtype.element_ty), mask=keep[:, None] & o_inside[None, :])


@triton.jit
def _convolve_up(
    x, weight, s, d, bias, noise, out,
    height, width, channels, filters,
    x_n, x_c, x_h, x_w, out_n, out_c, out_h, out_w,
    weight_t, weight_i, weight_o, noise_n, tiles_down, tiles_across,
    GAIN: tl.constexpr, SLOPE: tl.constexpr, CLAMP: tl.constexpr, BLOCKS: tl.constexpr,
    HAS_BIAS: tl.constexpr, HAS_NOISE: tl.constexpr, ACC: tl.constexpr, KIND: tl.constexpr,
    PRECISION: tl.constexpr,
    TH: tl.constexpr, TW: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):
    """Write d * fir(transposed_conv(s * x, weight)) and its tail, [N, filters, 2 height, 2 width].

    A tile is TH x TW input positions, whose border is computed for the filter's sake only. The
    transposed convolution of stride 2 has four phases T[2i + a, 2j + b] of four, two, two and one
    taps: nine products in all, where four folded 3x3 kernels (polyphase) would take 36. The filter
    [1, 3, 3, 1] / 4 along each axis then meets rows and columns of the phases by shifts on chip.
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
    o_inside = o < filters
    x += n * x_n
    s += n * channels
    # even and odd rows, even and odd columns
    zero = tl.zeros((BM, BN), ACC)
    ee, eo, oe, oo = zero, zero, zero, zero
    for block in range(BLOCKS):
        i = block * BK + tl.arange(0, BK)
        ee, eo, oe, oo = _add_phases(
            ee, eo, oe, oo, x, s, weight, row, col, height, width, i, i < channels, o, o_inside,
            x_c, x_h, x_w, weight_t, weight_i, weight_o, ACC, KIND, PRECISION,
        )
    scale = tl.load(d + n * filters + o, mask=o_inside, other=0.0).to(ACC)[None, :]
    ee, eo, oe, oo = ee * scale, eo * scale, oe * scale, oo * scale
    ee, eo = _filtered(ee, eo, 1, BM, BN)
    oe, oo = _filtered(oe, oo, 1, BM, BN)
    ee, oe = _filtered(ee, oe, TW, BM, BN)
    eo, oo = _filtered(eo, oo, TW, BM, BN)
    # the border of the tile belongs to its neighbours
    keep = (m // TW > 0) & (m // TW < TH - 1) & (m % TW > 0) & (m % TW < TW - 1)
    height, width, row, col = 2 * height, 2 * width, 2 * row, 2 * col
    _store_phase(ee, out, bias, noise, n, row, col, o, keep, o_inside, height, width,
                 out_n, out_c, out_h, out_w, noise_n, GAIN, SLOPE, CLAMP,
                 HAS_BIAS, HAS_NOISE)
    _store_phase(eo, out, bias, noise, n, row, col + 1, o, keep, o_inside, height, width,
                 out_n, out_c, out_h, out_w, noise_n, GAIN, SLOPE, CLAMP,
                 HAS_BIAS, HAS_NOISE)
    _store_phase(oe, out, bias, noise, n, row + 1, col, o, keep, o_inside, height, width,
                 out_n, out_c, out_h, out_w, noise_n, GAIN, SLOPE, CLAMP,
                 HAS_BIAS, HAS_NOISE)
    _store_phase(oo, out, bias, noise, n, row + 1, col + 1, o, keep, o_inside, height, width,
                 out_n, out_c, out_h, out_w, noise_n, GAIN, SLOPE, CLAMP,
                 HAS_BIAS, HAS_NOISE)


@triton.jit
def _weight_gradient(
    large, small, s_large, s_small, out,
    height, width, small_height, small_width, channels, filters, samples,
    large_n, large_c, large_h, large_w, small_n, small_c, small_h, small_w, chunks,
    SIDE: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr, STEPS: tl.constexpr,
    ACC: tl.constexpr, KIND: tl.constexpr, PRECISION: tl.constexpr,
    BC: tl.constexpr, BF: tl.constexpr, BP: tl.constexpr,
):
    """Write sums over n, p of (s_large large)[c, STRIDE p + tap - PAD] (s_small small)[f, p].

    large [N, channels, height, width], small [N, filters, small_height, small_width]; out
    [splits, taps, channels, filters], one split of the pixels each: a sum of its own, so that the
    result does not depend on the order in which programs finish.
    """
    split, tap = tl.program_id(0), tl.program_id(1)
    across = tl.cdiv(filters, BF)
    c = tl.program_id(2) // across * BC + tl.arange(0, BC)
    f = tl.program_id(2) % across * BF + tl.arange(0, BF)
    c_inside, f_inside = c < channels, f < filters
    pixels = small_height * small_width
    acc = tl.zeros((BC, BF), ACC)
    for step in range(STEPS):
        chunk = split * STEPS + step
        n = (chunk // chunks).to(tl.int64)
        p = chunk % chunks * BP + tl.arange(0, BP)
        row, col = p // small_width, p % small_width
        p_inside = (p < pixels) & (n < samples)
        b = tl.load(
            small + n * small_n + (row * small_h + col * small_w)[:, None]
            + (f * small_c)[None, :],
            mask=p_inside[:, None] & f_inside[None, :], other=0.0,
        )
        scale = tl.load(s_small + n * filters + f, mask=f_inside & (n < samples), other=0.0)
        r, q = row * STRIDE + tap // SIDE - PAD, col * STRIDE + tap % SIDE - PAD
        inside = p_inside & (r >= 0) & (r < height) & (q >= 0) & (q < width)
        a = tl.load(
            large + n * large_n + (r * large_h + q * large_w)[None, :] + (c * large_c)[:, None],
            mask=inside[None, :] & c_inside[:, None], other=0.0,
        )
        style = tl.load(s_large + n * channels + c, mask=c_inside & (n < samples), other=0.0)
        a = (a.to(ACC) * style.to(ACC)[:, None]).to(KIND)
        b = (b.to(ACC) * scale.to(ACC)[None, :]).to(KIND)
        acc = tl.dot(a, b, acc, input_precision=PRECISION, out_dtype=ACC)
    place = ((split * SIDE * SIDE + tap) * channels + c)[:, None] * filters + f[None, :]
    tl.store(out + place, acc.to(out.dtype.element_ty), mask=c_inside[:, None] & f_inside[None, :])


@triton.jit
def _demodulate(
    weight, s, out, samples, channels, filters, epsilon,
    TAPS: tl.constexpr, BLOCKS: tl.constexpr, ACC: tl.constexpr,
    BN: tl.constexpr, BO: tl.constexpr, BI: tl.constexpr,
):
    """Write rsqrt(sum over channels and taps of (s * weight)^2 + epsilon), [samples, filters].

    weight [taps, channels, filters], s [samples, channels]. The sum over taps does not depend on
    the sample, so what is left is one small matrix product.
    """
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    o = tl.program_id(1) * BO + tl.arange(0, BO)
    n_inside, o_inside = n < samples, o < filters
    acc = tl.zeros((BN, BO), ACC)
    for block in range(BLOCKS):
        i = block * BI + tl.arange(0, BI)
        energy = tl.zeros((BI, BO), ACC)
        for tap in range(TAPS):
            w = tl.load(
                weight + (tap * channels + i)[:, None] * filters + o[None, :],
                mask=(i < channels)[:, None] & o_inside[None, :], other=0.0,
            ).to(ACC)
            energy += w * w
        style = tl.load(
            s + n[:, None] * channels + i[None, :],
            mask=n_inside[:, None] & (i < channels)[None, :], other=0.0,
        ).to(ACC)
        acc = tl.dot(style * style, energy, acc, input_precision="ieee", out_dtype=ACC)
    result = 1.0 / tl.sqrt(acc + epsilon)
    place = n[:, None] * filters + o[None, :]
    tl.store(out + place, result, mask=n_inside[:, None] & o_inside[None, :])
