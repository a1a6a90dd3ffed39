"""Triton kernels of the modulated convolution; `launch` launches them.

Everything is a part of one expression that is linear in each of its five arguments,

    F(x, weight, s, d, g) = sum over n, o, p of  g[n,o,p] d[n,o] conv(s[n,i] x[n,i], weight)[n,o,p]

    _convolve          dF/dg, the layer itself, with its tail (noise, bias, activation, gain,
                       clamp); with the weight turned round dF/dx; summed over pixels dF/ds, dF/dd
    _weight_gradient   dF/dweight
    _demodulate        d, where gradients of it are wanted

and `convolve_up` has the up-sampling layer. A program owns BM pixels of one sample
and BN channels, so scales are vectors. Weights come packed: [taps, channels, filters], the last two
filled up with zeros to multiples of 16. x is read up to `readable` channels, such a multiple where
memory allows: only then do loads move 16 bytes at a time. What lies beyond the last channel never
reaches a product. Sums are float32 (float64 for float64). Offsets inside a sample are 32-bit,
samples' offsets 64-bit. Chapter 4.
"""

import triton
import triton.language as tl


@triton.jit
def _tail(
    acc, o, place, o_inside, p_inside, bias, noise,
    GAIN: tl.constexpr, SLOPE: tl.constexpr, CLAMP: tl.constexpr, HAS_BIAS: tl.constexpr,
    HAS_NOISE: tl.constexpr,
):
    """clamp(gain * lrelu(acc + noise[place] + bias)); slope 1 is the linear activation."""
    if HAS_NOISE:
        value = tl.load(noise + place, mask=p_inside, other=0.0)
        acc += value.to(acc.dtype)[:, None]
    if HAS_BIAS:
        acc += tl.load(bias + o, mask=o_inside, other=0.0).to(acc.dtype)[None, :]
    acc = tl.where(acc > 0, acc, acc * SLOPE) * GAIN
    if CLAMP is not None:
        limit = tl.full(acc.shape, CLAMP, acc.dtype)
        acc = tl.minimum(tl.maximum(acc, -limit), limit)
    return acc


@triton.jit
def _scaled_block(
    x, s, place, inside, i, channels, readable, x_c, PADDED: tl.constexpr, ACC: tl.constexpr,
    KIND: tl.constexpr,
):
    """s * x at the pixels `place` and the channels i, zero outside: [pixels, channels]."""
    values = tl.load(
        x + place[:, None] + (i * x_c)[None, :], mask=inside[:, None] & (i < readable)[None, :],
        other=0.0,
    )
    if PADDED:
        # padding may hold anything, and not a number times zero is not zero
        values = tl.where((i < channels)[None, :], values, 0.0)
    style = tl.load(s + i, mask=i < channels, other=0.0)
    return (values.to(ACC) * style.to(ACC)[None, :]).to(KIND)


@triton.jit
def _add_tap(
    acc, values, weight, weight_i, weight_o, i, rows, o, columns,
    ACC: tl.constexpr, KIND: tl.constexpr, PRECISION: tl.constexpr,
):
    """acc + values @ weight, one tap's [rows, columns]."""
    w = tl.load(
        weight + (i * weight_i)[:, None] + (o * weight_o)[None, :],
        mask=(i < rows)[:, None] & (o < columns)[None, :], other=0.0,
    )
    return tl.dot(values, w.to(KIND), acc, input_precision=PRECISION, out_dtype=ACC)


@triton.jit
def _coefficients(
    d, s, n, o, channels, filters, epsilon, DEMODULATE: tl.constexpr, BLOCKS: tl.constexpr,
    ACC: tl.constexpr, BK: tl.constexpr, BN: tl.constexpr,
):
    """What the results are scaled by.

    d [N, filters] itself; or, where d [channels, filters] is the sums of squares of the kernels,
    what demodulation makes of them.
    """
    if DEMODULATE:
        energy = tl.zeros((BN,), ACC)
        for block in range(BLOCKS):
            i = block * BK + tl.arange(0, BK)
            style = tl.load(s + i, mask=i < channels, other=0.0).to(ACC)
            squares = tl.load(
                d + (i * filters)[:, None] + o[None, :],
                mask=(i < channels)[:, None] & (o < filters)[None, :], other=0.0,
            )
            energy += tl.sum((style * style)[:, None] * squares.to(ACC), 0)
        return 1.0 / tl.sqrt(energy + epsilon)
    return tl.load(d + n * filters + o, mask=o < filters, other=0.0).to(ACC)


@triton.jit
def _convolve(
    x, weight, s, d, other, bias, noise, out, sums,
    height, width, out_height, out_width, channels, readable, filters, rows, columns, writable,
    x_n, x_c, x_h, x_w, out_n, out_c, out_h, out_w, other_n, other_c, other_h, other_w,
    weight_t, weight_i, weight_o, noise_n, noise_h, noise_w, tiles, epsilon,
    GAIN: tl.constexpr, SLOPE: tl.constexpr, CLAMP: tl.constexpr,
    SIDE: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr, BLOCKS: tl.constexpr,
    HAS_BIAS: tl.constexpr, HAS_NOISE: tl.constexpr, WRITE: tl.constexpr, REDUCE: tl.constexpr,
    DEMODULATE: tl.constexpr, FLIP: tl.constexpr, PADDED: tl.constexpr, ACC: tl.constexpr,
    KIND: tl.constexpr, PRECISION: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):
    """WRITE d * conv(s * x, weight) and its tail; REDUCE conv(s * x, weight) * other over pixels.

    x [N, channels, height, width]; weight [SIDE * SIDE taps, rows, columns]; s [N, channels]; d,
    see `_coefficients`; out and other [N, filters, out_height, out_width], strides as given, out
    with space for `writable` filters; sums [N, tiles, filters], over each tile's pixels.
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
        inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
        v = _scaled_block(
            x, s, r * x_h + c * x_w, inside, i, channels, readable, x_c, PADDED, ACC, KIND
        )
        taps = weight + (SIDE * SIDE - 1 - tap if FLIP else tap) * weight_t
        acc = _add_tap(acc, v, taps, weight_i, weight_o, i, rows, o, columns, ACC, KIND, PRECISION)
    if REDUCE:
        g = tl.load(
            other + n * other_n + (row * other_h + col * other_w)[:, None] + (o * other_c)[None, :],
            mask=p_inside[:, None] & o_inside[None, :], other=0.0,
        )
        total = tl.sum(acc * g.to(ACC), 0)
        tl.store(sums + (n * tiles + tile) * filters + o, total.to(sums.dtype.element_ty), o_inside)
    if WRITE:
        acc *= _coefficients(
            d, s, n, o, channels, filters, epsilon, DEMODULATE, BLOCKS, ACC, BK, BN
        )[None, :]
        place = n * noise_n + row * noise_h + col * noise_w
        acc = _tail(
            acc, o, place, o_inside, p_inside, bias, noise, GAIN, SLOPE, CLAMP, HAS_BIAS, HAS_NOISE
        )
        place = n * out_n + (row * out_h + col * out_w)[:, None] + (o * out_c)[None, :]
        inside = p_inside[:, None] & (o < writable)[None, :]
        tl.store(out + place, acc.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _weight_gradient(
    large, small, s_large, s_small, out,
    height, width, small_height, small_width, channels, filters, c_readable, f_readable, samples,
    large_n, large_c, large_h, large_w, small_n, small_c, small_h, small_w, chunks,
    SIDE: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr, STEPS: tl.constexpr,
    PADDED: tl.constexpr, ACC: tl.constexpr, KIND: tl.constexpr, PRECISION: tl.constexpr,
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
    pixels = small_height * small_width
    acc = tl.zeros((BC, BF), ACC)
    for step in range(STEPS):
        chunk = split * STEPS + step
        # past the last sample the first one is read, and nothing of it kept
        n = tl.where(chunk < samples * chunks, chunk // chunks, 0).to(tl.int64)
        p = chunk % chunks * BP + tl.arange(0, BP)
        inside = (p < pixels) & (chunk < samples * chunks)
        row, col = p // small_width, p % small_width
        b = _scaled_block(
            small + n * small_n, s_small + n * filters, row * small_h + col * small_w, inside, f,
            filters, f_readable, small_c, PADDED, ACC, KIND,
        )
        r, q = row * STRIDE + tap // SIDE - PAD, col * STRIDE + tap % SIDE - PAD
        inside = inside & (r >= 0) & (r < height) & (q >= 0) & (q < width)
        a = _scaled_block(
            large + n * large_n, s_large + n * channels, r * large_h + q * large_w, inside, c,
            channels, c_readable, large_c, PADDED, ACC, KIND,
        )
        acc = tl.dot(tl.trans(a), b, acc, input_precision=PRECISION, out_dtype=ACC)
    place = ((split * SIDE * SIDE + tap) * channels + c)[:, None] * filters + f[None, :]
    inside = (c < channels)[:, None] & (f < filters)[None, :]
    tl.store(out + place, acc.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _demodulate(
    weight, s, out, samples, channels, filters, rows, columns, epsilon,
    TAPS: tl.constexpr, BLOCKS: tl.constexpr, ACC: tl.constexpr,
    BN: tl.constexpr, BO: tl.constexpr, BI: tl.constexpr,
):
    """Write rsqrt(sum over channels and taps of (s * weight)^2 + epsilon), [samples, filters].

    weight [taps, rows, columns], s [samples, channels]. The sum over taps does not depend on
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
                weight + (tap * rows + i)[:, None] * columns + o[None, :],
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
