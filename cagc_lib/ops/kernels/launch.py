"""From tensors to launches of the modulated convolution's kernels: sizes, strides, padding."""

import torch
import triton

from ..frozen import derived
from ..modulated_conv2d import EPSILON
from ..upfirdn2d import setup_filter
from .convolve import _convolve, _demodulate, _weight_gradient
from .convolve_up import _convolve_up
from .tiles import tiles
from .tools import accumulator, arithmetic, block, strides, tail_arguments, wide
from .upfirdn2d import upfirdn2d_triton

# bias, noise, slope, gain, clamp of a layer without a tail
NO_TAIL = (None, None, 1.0, 1.0, None)
# channels are stored in multiples of so many: what one load moves, and a product takes
ALIGNED = 16
# partial sums of the weight's gradient, whose pixels would otherwise occupy too few programs
SPLITS = 16


def _aligned(channels: int) -> int:
    """Channels with their padding."""
    return triton.cdiv(channels, ALIGNED) * ALIGNED


def padded_like(x: torch.Tensor, *shape: int) -> torch.Tensor:
    """An uninitialised [N, C, H, W] in the memory order of x.

    Where channels lie side by side there is room for a multiple of 16 of them.
    """
    n, channels, height, width = shape
    if x.stride(1) != 1 or x.shape[1] == 1:
        return x.new_empty(shape)
    padded = x.new_empty(n, height, width, _aligned(channels))
    return padded.permute(0, 3, 1, 2)[:, :channels]


def readable_channels(x: torch.Tensor) -> int:
    """How many channels a kernel may read from every pixel of x without leaving its memory."""
    channels = x.shape[1]
    most = _aligned(channels)
    last = x.storage_offset() + sum((x.shape[k] - 1) * x.stride(k) for k in (0, 2, 3))
    within = last + most <= x.untyped_storage().nbytes() // x.itemsize
    return most if x.stride(1) == 1 and x.stride(3) >= most and within else channels


def _packed(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """[O, I, k, k] as [taps, I, O], filters side by side, padded with zeros."""
    filters, channels, side, _ = weight.shape

    def pack(weight: torch.Tensor) -> torch.Tensor:
        padded = weight.new_zeros(side * side, _aligned(channels), _aligned(filters), dtype=dtype)
        padded[:, :channels, :filters] = weight.permute(2, 3, 1, 0).flatten(0, 1)
        return padded

    return derived(weight, ("packed", dtype), pack)


def _energies(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Sums of squares over the taps, [I, O]."""
    return derived(
        weight, ("energies", dtype), lambda w: w.to(dtype).square().sum((2, 3)).t().contiguous()
    )


def _check_size(x: torch.Tensor) -> None:
    """The kernels count inside a sample in 32 bits."""
    reach = sum((x.shape[k] - 1) * x.stride(k) for k in (1, 2, 3))
    if reach >= 2**31:
        raise ValueError(
            f"x: got samples of {list(x.shape[1:])} that reach over {reach:,} numbers, "
            "expected fewer than 2^31"
        )


def convolved(
    x: torch.Tensor, weight: torch.Tensor, s: torch.Tensor, d: torch.Tensor | None, turned: bool,
    stride: int, pad: int, tail: tuple = NO_TAIL, other: torch.Tensor | None = None,
    out: torch.Tensor | None = None,
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Launch `_convolve`; `turned` lets the weight map filters to channels.

    Returns what WRITE (to `out`, if given) and REDUCE (by `other`) make, or None; see the kernel.
    Without d the result is demodulated or, where there is `other`, not written.
    """
    _check_size(x)
    write, reduce = d is not None or other is None, other is not None
    s, side, filters = s.contiguous(), weight.shape[2], weight.shape[1 if turned else 0]
    w = _packed(weight, x.dtype)
    w = w.transpose(1, 2) if turned else w
    n, channels, height, width = x.shape
    demodulated = d is None and write
    d = _energies(weight, wide(s.dtype)) if demodulated else s if d is None else d.contiguous()
    out_height, out_width = ((size + 2 * pad - side) // stride + 1 for size in (height, width))
    pixels, readable = out_height * out_width, readable_channels(x)
    t = tiles("convolve", x, pixels, filters, channels)
    count = triton.cdiv(pixels, t.pixels)
    if out is None:
        out = padded_like(x, n, filters, out_height, out_width) if write else x
    _check_size(out)
    sums = x.new_empty(n, count, filters, dtype=wide(x.dtype)) if reduce else x
    other = other if reduce else x
    _convolve[(n * count, triton.cdiv(filters, t.filters))](
        x=x, weight=w, s=s, d=d, other=other, out=out, sums=sums,
        height=height, width=width, out_height=out_height, out_width=out_width,
        channels=channels, readable=readable, filters=filters, rows=w.shape[1], columns=w.shape[2],
        writable=readable_channels(out) if write else 0, **strides("x", x),
        **strides("out", out), **strides("other", other), **strides("weight", w, "tio"),
        **tail_arguments(x, *tail), noise_h=out_width, noise_w=1, tiles=count, epsilon=EPSILON,
        SIDE=side, STRIDE=stride, PAD=pad, BLOCKS=triton.cdiv(channels, t.channels), WRITE=write,
        REDUCE=reduce, DEMODULATE=demodulated, FLIP=turned and stride == 1,
        PADDED=readable > channels, **arithmetic(x.dtype), BM=t.pixels, BN=t.filters,
        BK=t.channels, num_warps=t.warps, num_stages=t.stages,
    )
    return out if write else None, sums.sum(1) if reduce else None


def convolved_up(
    x: torch.Tensor, weight: torch.Tensor, s: torch.Tensor, d: torch.Tensor | None,
    tail: tuple = NO_TAIL,
) -> torch.Tensor:
    """Launch `_convolve_up`; without d the result is demodulated."""
    s, demodulated = s.contiguous(), d is None
    d = _energies(weight, wide(s.dtype)) if demodulated else d.contiguous()
    w, readable = _packed(weight, x.dtype), readable_channels(x)
    n, channels, height, width = x.shape
    filters = len(weight)
    out = padded_like(x, n, filters, 2 * height, 2 * width)
    _check_size(out)
    t = tiles("convolve_up", x, (height + 2) * (width + 2), filters, channels)
    # two rows and columns of a tile are border; what is kept begins at position 0
    th, tw = up_tile(t.pixels, height, width)
    down, across = triton.cdiv(height, th - 2), triton.cdiv(width, tw - 2)
    _convolve_up[(n * down * across, triton.cdiv(filters, t.filters))](
        x=x, weight=w, s=s, d=d, out=out, height=height, width=width, channels=channels,
        readable=readable, filters=filters, rows=w.shape[1], columns=w.shape[2],
        writable=readable_channels(out), **strides("x", x), **strides("out", out),
        weight_t=w.stride(0), **tail_arguments(x, *tail), tiles_down=down, tiles_across=across,
        epsilon=EPSILON, BLOCKS=triton.cdiv(channels, t.channels), DEMODULATE=demodulated,
        PADDED=readable > channels, **arithmetic(x.dtype), TH=th, TW=tw, BN=t.filters,
        BK=t.channels, num_warps=t.warps, num_stages=t.stages,
    )
    return out


def forward(
    x: torch.Tensor, weight: torch.Tensor, s: torch.Tensor, d: torch.Tensor | None, up: int,
    tail: tuple = NO_TAIL,
) -> torch.Tensor:
    """A layer [N, O, H up, W up] and its tail in one launch; without d demodulated."""
    if up == 2:
        return convolved_up(x, weight, s, d, tail)
    return convolved(x, weight, s, d, False, 1, weight.shape[2] // 2, tail)[0]


def up_tile(pixels: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of input positions in a tile of `_convolve_up`, as square as may be."""
    across = min(triton.next_power_of_2(width + 2), 1 << (pixels.bit_length() // 2))
    return max(4, min(triton.next_power_of_2(height + 2), pixels // across)), across


def spread(g: torch.Tensor) -> torch.Tensor:
    """The up-sampling layer's filter, transposed: [N, O, 2H, 2W] -> [N, O, 2H + 1, 2W + 1]."""
    return upfirdn2d_triton(g, setup_filter(), 1, 1, (2, 2), 4.0)


def weight_gradient(
    large: torch.Tensor, small: torch.Tensor, s_large: torch.Tensor, s_small: torch.Tensor,
    side: int, stride: int, pad: int,
) -> torch.Tensor:
    """Launch `_weight_gradient`; return [k, k, channels of large, channels of small]."""
    n, channels, height, width = large.shape
    filters, rows, columns = small.shape[1:]
    t = tiles("weight_gradient", large, channels, filters, rows * columns)
    chunks = triton.cdiv(rows * columns, t.channels)
    steps = triton.cdiv(n * chunks, min(SPLITS, n * chunks))
    splits = triton.cdiv(n * chunks, steps)
    readable = readable_channels(large), readable_channels(small)
    out = large.new_empty(splits, side * side, channels, filters, dtype=wide(large.dtype))
    blocks = triton.cdiv(channels, t.pixels) * triton.cdiv(filters, t.filters)
    _weight_gradient[(splits, side * side, blocks)](
        large=large, small=small, s_large=s_large.contiguous(), s_small=s_small.contiguous(),
        out=out, height=height, width=width, small_height=rows, small_width=columns,
        channels=channels, filters=filters, c_readable=readable[0], f_readable=readable[1],
        samples=n, **strides("large", large), **strides("small", small), chunks=chunks, SIDE=side,
        STRIDE=stride, PAD=pad, STEPS=steps, PADDED=readable != (channels, filters),
        **arithmetic(large.dtype), BC=t.pixels, BF=t.filters, BP=t.channels, num_warps=t.warps,
        num_stages=t.stages,
    )
    return out.sum(0).unflatten(0, (side, side))


def demodulation(weight: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """d [N, O] = rsqrt(sum over i, taps of (s * weight)^2 + 1e-8), at least float32."""
    n, channels = s.shape
    kind = wide(torch.promote_types(s.dtype, weight.dtype))
    w = _packed(weight, weight.dtype)
    out = torch.empty(n, len(weight), dtype=kind, device=s.device)
    bn, bo, bi = block(n, 64), block(len(weight), 64), block(channels, 64)
    _demodulate[(triton.cdiv(n, bn), triton.cdiv(len(weight), bo))](
        weight=w, s=s.contiguous(), out=out, samples=n, channels=channels, filters=len(weight),
        rows=w.shape[1], columns=w.shape[2], epsilon=EPSILON, TAPS=len(w),
        BLOCKS=triton.cdiv(channels, bi), ACC=accumulator(kind), BN=bn, BO=bo, BI=bi,
    )
    return out
