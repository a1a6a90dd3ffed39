"""The tail of a layer in Triton: noise, bias, activation, gain and clamp in one pass; its gradient.

    y = clamp(gain * lrelu(x + noise + bias))
    dy/dx = gain * (1 where y > 0, else slope), and 0 where |y| has reached the clamp

The gradient reads the output alone and is linear in what it multiplies, so that its own gradient is
the same pass again. Slope 1 is the linear activation. Chapter 4.
"""

import torch
import triton
import triton.language as tl

from ..bias_act import SLOPE
from .convolve import _tail
from .tools import accumulator, empty_like, pixelwise, strides, tail_arguments, wide

SLOPES = {"lrelu": SLOPE, "linear": 1.0}


@triton.jit
def _bias_act(
    x, bias, noise, out, channels, pixels, x_n, x_c, x_p, out_n, out_c, out_p, noise_n, tiles,
    GAIN: tl.constexpr, SLOPE: tl.constexpr, CLAMP: tl.constexpr, HAS_BIAS: tl.constexpr,
    HAS_NOISE: tl.constexpr, ACC: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):
    """One program a sample, BP pixels and BC channels."""
    n = (tl.program_id(0) // tiles).to(tl.int64)
    p = tl.program_id(0) % tiles * BP + tl.arange(0, BP)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = (p < pixels)[:, None] & (c < channels)[None, :]
    place = n * x_n + (p * x_p)[:, None] + (c * x_c)[None, :]
    value = tl.load(x + place, mask=inside, other=0.0).to(ACC)
    value = _tail(
        value, c, n * noise_n + p, c < channels, p < pixels, bias, noise, GAIN, SLOPE, CLAMP,
        HAS_BIAS, HAS_NOISE,
    )
    place = n * out_n + (p * out_p)[:, None] + (c * out_c)[None, :]
    tl.store(out + place, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _tail_gradient(
    g, y, out, bias_sums, noise_sums, bias, noise, dots, channels, pixels,
    g_n, g_c, g_p, y_n, y_c, y_p, out_n, out_c, out_p, noise_n, tiles,
    GAIN: tl.constexpr, SLOPE: tl.constexpr, CLAMP: tl.constexpr, HAS_BIAS: tl.constexpr,
    HAS_NOISE: tl.constexpr, DOTS: tl.constexpr, ACC: tl.constexpr,
    BLOCKS: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):
    """One program a sample and BP pixels, over all channels.

    bias_sums [N, tiles, channels] are sums over the tile's pixels, noise_sums [N, pixels] over the
    channels. With DOTS, dots [N, tiles, channels] are sums of the gradient times the tail's input
    less noise and bias, which y gives back wherever the gradient is not 0.
    """
    n = (tl.program_id(0) // tiles).to(tl.int64)
    tile = tl.program_id(0) % tiles
    p = tile * BP + tl.arange(0, BP)
    over_channels = tl.zeros((BP,), ACC)
    for step in range(BLOCKS):
        c = step * BC + tl.arange(0, BC)
        inside = (p < pixels)[:, None] & (c < channels)[None, :]
        place = n * g_n + (p * g_p)[:, None] + (c * g_c)[None, :]
        value = tl.load(g + place, mask=inside, other=0.0).to(ACC)
        place = n * y_n + (p * y_p)[:, None] + (c * y_c)[None, :]
        result = tl.load(y + place, mask=inside, other=0.0).to(ACC)
        value = tl.where(result > 0, value, value * SLOPE) * GAIN
        if CLAMP is not None:
            value = tl.where(tl.abs(result) < tl.full((BP, BC), CLAMP, ACC), value, 0.0)
        place = n * out_n + (p * out_p)[:, None] + (c * out_c)[None, :]
        tl.store(out + place, value.to(out.dtype.element_ty), mask=inside)
        sums = bias_sums + (n * tiles + tile) * channels + c
        tl.store(sums, tl.sum(value, 0), mask=c < channels)
        over_channels += tl.sum(value, 1)
        if DOTS:
            before = tl.where(result > 0, result, result / SLOPE) / GAIN
            if HAS_BIAS:
                before -= tl.load(bias + c, mask=c < channels, other=0.0).to(ACC)[None, :]
            if HAS_NOISE:
                maps = tl.load(noise + n * noise_n + p, mask=p < pixels, other=0.0)
                before -= maps.to(ACC)[:, None]
            sums = dots + (n * tiles + tile) * channels + c
            tl.store(sums, tl.sum(value * before, 0), mask=c < channels)
    tl.store(noise_sums + n * pixels + p, over_channels, mask=p < pixels)


@torch.library.custom_op("cagc::bias_act", mutates_args=())
def tail(
    x: torch.Tensor, bias: torch.Tensor | None, noise: torch.Tensor | None, slope: float,
    gain: float, clamp: float | None,
) -> torch.Tensor:
    """clamp(gain * lrelu(x + noise + bias)); noise [1 or N, 1, ...]."""
    n, channels = x.shape[:2]
    out = empty_like(x, *x.shape)
    # pixels of `out` lie evenly, so that this is a view of it
    x_, out_ = (t.reshape(n, channels, -1) for t in (x, out))
    pixels = x_.shape[2]
    bp, bc, tiles = pixelwise(pixels, channels)
    _bias_act[(n * tiles, triton.cdiv(channels, bc))](
        x=x_, out=out_, channels=channels, pixels=pixels, **strides("x", x_, "ncp"),
        **strides("out", out_, "ncp"), **tail_arguments(x, bias, noise, slope, gain, clamp),
        tiles=tiles, ACC=accumulator(x.dtype), BP=bp, BC=bc,
    )
    return out


@tail.register_fake
def _(x, bias, noise, slope, gain, clamp):
    return empty_like(x, *x.shape)


@torch.library.custom_op("cagc::tail_gradient", mutates_args=())
def tail_gradient(
    g: torch.Tensor, y: torch.Tensor, bias: torch.Tensor | None, noise: torch.Tensor | None,
    slope: float, gain: float, clamp: float | None, dots: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of the tail's input, bias [C] and noise [N, 1, ...] from that of its output y.

    With `dots`, which alone reads bias and noise, also sums over pixels [N, C] of the first times
    the tail's input less noise and bias: the gradient of a scale of the input, times the scale.
    They are not differentiable, and empty without `dots`.
    """
    n, channels = y.shape[:2]
    out = empty_like(y, *y.shape)
    g_, y_, out_ = (t.reshape(n, channels, -1) for t in (g, y, out))
    pixels = y_.shape[2]
    bp, bc, tiles = pixelwise(pixels, channels)
    kind = wide(y.dtype)
    bias_sums = y.new_empty(n, tiles, channels, dtype=kind)
    sums = y.new_empty(bias_sums.shape if dots else (0, 0, 0), dtype=kind)
    noise_sums = y.new_empty(n, 1, *y.shape[2:], dtype=kind)
    _tail_gradient[(n * tiles,)](
        g=g_, y=y_, out=out_, bias_sums=bias_sums, noise_sums=noise_sums, dots=sums,
        channels=channels, pixels=pixels, **strides("g", g_, "ncp"), **strides("y", y_, "ncp"),
        **strides("out", out_, "ncp"), **tail_arguments(y, bias, noise, slope, gain, clamp),
        tiles=tiles, DOTS=dots, ACC=accumulator(y.dtype), BLOCKS=triton.cdiv(channels, bc), BP=bp,
        BC=bc,
    )
    return out, bias_sums.sum((0, 1)), noise_sums, sums.sum(1)


@tail_gradient.register_fake
def _(g, y, bias, noise, slope, gain, clamp, dots):
    kind = wide(y.dtype)
    shapes = (y.shape[1],), (len(y), 1, *y.shape[2:]), y.shape[:2] if dots else (0, 0)
    return empty_like(y, *y.shape), *(y.new_empty(shape, dtype=kind) for shape in shapes)


def _save_tail(ctx, inputs: tuple, output: torch.Tensor) -> None:
    _, bias, noise, *ctx.settings = inputs
    ctx.save_for_backward(bias, noise, output)


def _tail_backward(ctx, g: torch.Tensor) -> tuple:
    bias, noise, y = ctx.saved_tensors
    grad, by_bias, by_noise, _ = tail_gradient(g, y, None, None, *ctx.settings, False)
    return grad, reduced(by_bias, bias), reduced(by_noise, noise), None, None, None


def reduced(sums: torch.Tensor, parameter: torch.Tensor | None) -> torch.Tensor | None:
    """Sums over what the parameter was broadcast along, in its shape and type."""
    return None if parameter is None else sums.sum_to_size(parameter.shape).to(parameter.dtype)


def _save_gradient(ctx, inputs: tuple, output: tuple) -> None:
    _, y, _, _, *ctx.settings, _ = inputs
    ctx.mark_non_differentiable(output[3])
    ctx.save_for_backward(y)


def _gradient_backward(ctx, g: torch.Tensor, bias: torch.Tensor, noise: torch.Tensor, _) -> tuple:
    (y,) = ctx.saved_tensors
    # the operator is linear in g; y only chooses between two slopes
    total = g + bias.view(-1, *[1] * (y.ndim - 2)) + noise
    return tail_gradient(total.to(y.dtype), y, None, None, *ctx.settings, False)[0], *[None] * 7


tail.register_autograd(_tail_backward, setup_context=_save_tail)
tail_gradient.register_autograd(_gradient_backward, setup_context=_save_gradient)


def bias_act_triton(
    x: torch.Tensor, bias: torch.Tensor | None, act: str, gain: float, clamp: float | None,
    noise: torch.Tensor | None,
) -> torch.Tensor:
    """Run the tail, with the arguments of the reference."""
    if noise is not None and (noise.ndim != x.ndim or noise.shape[1:] != (1, *x.shape[2:])):
        x, noise = x + noise, None
    return tail(x, bias, noise, SLOPES[act], gain, clamp)
