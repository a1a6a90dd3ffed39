"""The modulated convolution in Triton, differentiable any number of times.

    F(x, weight, s, d, g) = sum over n, o, p of  g[n,o,p] d[n,o] conv(s[n,i] x[n,i], weight)[n,o,p]

is linear in each argument. The layer is dF/dg, and the gradient of any derivative of F is a
derivative of F again, with another tensor in one of the places. So one operator, the `derivative`
of F by any argument, is closed under differentiation: path length regularisation, which
differentiates gradients, needs no more. s are the styles; d, the demodulation coefficients, depends
on weight and styles by `demodulate`. The up-sampling layer is such an F too. Launches: `launch`.
Chapter 4.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from .bias_act import SLOPES, reduced, tail_gradient
from .launch import convolved, demodulation, forward, padded_like, spread, weight_gradient
from .tools import wide


def _forward_like(x: torch.Tensor, weight: torch.Tensor, up: int) -> torch.Tensor:
    return padded_like(x, len(x), len(weight), *(up * side for side in x.shape[2:]))


def _transposed(g: torch.Tensor, side: int, up: int) -> tuple[torch.Tensor, int, int]:
    """What the layer's transposed convolution reads, its stride and its padding."""
    return (spread(g), 2, 0) if up == 2 else (g, 1, side // 2)


@torch.library.custom_op("cagc::derivative", mutates_args=())
def derivative(
    x: torch.Tensor | None, weight: torch.Tensor | None, s: torch.Tensor | None,
    d: torch.Tensor | None, g: torch.Tensor | None, side: int, up: int,
) -> torch.Tensor:
    """Differentiate F by the one argument that is None, at the others, for kernels side x side."""
    if g is None:
        return forward(x, weight, s, d, up)
    if d is None:
        if up == 2:
            y = forward(x, weight, s, s.new_ones(g.shape[:2]), up)
            return (y * g).sum((2, 3), dtype=wide(x.dtype)).to(s.dtype)
        return convolved(x, weight, s, None, False, 1, side // 2, other=g)[1].to(s.dtype)
    g, stride, pad = _transposed(g, side, up)
    if x is None:
        return convolved(g, weight, d, s, True, stride, pad)[0]
    if s is None:
        return convolved(g, weight, d, None, True, stride, pad, other=x)[1].to(d.dtype)
    if up == 2:
        taps = weight_gradient(g, x, d, s, side, stride, pad).permute(2, 3, 0, 1)
    else:
        taps = weight_gradient(x, g, s, d, side, stride, pad).permute(3, 2, 0, 1)
    return taps.to(s.dtype).contiguous()


@derivative.register_fake
def _(x, weight, s, d, g, side, up):
    if g is None:
        return _forward_like(x, weight, up)
    if x is None:
        return padded_like(g, len(g), weight.shape[1], *(size // up for size in g.shape[2:]))
    if weight is None:
        return s.new_empty(g.shape[1], x.shape[1], side, side)
    return d.new_empty(x.shape[:2]) if s is None else s.new_empty(g.shape[:2])


def derivatives(
    values: Sequence[torch.Tensor], needed: Sequence[bool], side: int, up: int
) -> list[torch.Tensor | None]:
    """`derivative` by those of the first arguments of F that are needed, None for the others."""
    return [
        derivative(*values[:k], None, *values[k + 1 :], side, up) if wanted else None
        for k, wanted in enumerate(needed)
    ]


def _save_derivative(ctx, inputs: tuple, output: torch.Tensor) -> None:
    *tensors, ctx.side, ctx.up = inputs
    ctx.save_for_backward(*tensors)


def _derivative_backward(ctx, cotangent: torch.Tensor) -> tuple:
    values = [cotangent if t is None else t for t in ctx.saved_tensors]
    return *derivatives(values, ctx.needs_input_grad[:5], ctx.side, ctx.up), None, None


derivative.register_autograd(_derivative_backward, setup_context=_save_derivative)


@torch.library.custom_op("cagc::convolve_x_s", mutates_args=())
def convolve_x_s(
    x: torch.Tensor, weight: torch.Tensor, s: torch.Tensor, d: torch.Tensor, g: torch.Tensor,
    up: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """dF/dx and dF/ds in one pass; not differentiable."""
    g, stride, pad = _transposed(g, weight.shape[2], up)
    by_x, by_s = convolved(g, weight, d, s, True, stride, pad, other=x)
    return by_x, by_s.to(s.dtype)


@convolve_x_s.register_fake
def _(x, weight, s, d, g, up):
    return padded_like(g, *x.shape), s.new_empty(s.shape)


@torch.library.custom_op("cagc::layer", mutates_args=())
def layer(
    x: torch.Tensor, weight: torch.Tensor, s: torch.Tensor, d: torch.Tensor | None,
    bias: torch.Tensor | None, noise: torch.Tensor | None, up: int, slope: float, gain: float,
    clamp: float | None,
) -> torch.Tensor:
    """dF/dg and its tail in one launch; without d demodulated, and then not differentiable."""
    return forward(x, weight, s, d, up, (bias, noise, slope, gain, clamp))


@layer.register_fake
def _(x, weight, s, d, bias, noise, up, slope, gain, clamp):
    return _forward_like(x, weight, up)


def _save_layer(ctx, inputs: tuple, output: torch.Tensor) -> None:
    ctx.up, *ctx.tail = inputs[6:]
    ctx.save_for_backward(*inputs[:6], output)


def _layer_backward(ctx, g: torch.Tensor) -> tuple:
    x, weight, s, d, bias, noise, y = ctx.saved_tensors
    needed, side = ctx.needs_input_grad[:4], weight.shape[2]
    if torch.is_grad_enabled():
        # these gradients will be differentiated in turn
        g, by_bias, by_noise, _ = tail_gradient(g, y, None, None, *ctx.tail, False)
        grads = derivatives((x, weight, s, d, g), needed, side, ctx.up)
    else:
        g, by_bias, by_noise, by_scaled = tail_gradient(g, y, bias, noise, *ctx.tail, True)
        by_x, by_s = convolve_x_s(x, weight, s, d, g, ctx.up)
        by_weight = derivative(x, None, s, d, g, side, ctx.up) if needed[1] else None
        # F is linear in d, which is never 0: dF/dd = sum of g * y / d
        grads = by_x, by_weight, by_s, by_scaled.to(d.dtype) / d
    return *grads, reduced(by_bias, bias), reduced(by_noise, noise), None, None, None, None


layer.register_autograd(_layer_backward, setup_context=_save_layer)


demodulate = torch.library.custom_op("cagc::demodulate", demodulation, mutates_args=())


@demodulate.register_fake
def _(weight, s):
    return s.new_empty(len(s), len(weight), dtype=wide(torch.promote_types(s.dtype, weight.dtype)))


def _save_demodulate(ctx, inputs: tuple, output: torch.Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _demodulate_backward(ctx, g: torch.Tensor) -> tuple:
    weight, s = ctx.saved_tensors
    # a few small products; through the operator itself, so that they have gradients in turn
    share = -0.5 * g * demodulate(weight, s).pow(3)
    s_wide = s.to(share.dtype)
    energy = weight.to(share.dtype).square().sum((2, 3))
    grad_s = 2 * s_wide * (share @ energy)
    grad_weight = 2 * weight.to(share.dtype) * (share.t() @ s_wide.square())[:, :, None, None]
    return grad_weight.to(weight.dtype), grad_s.to(s.dtype)


demodulate.register_autograd(_demodulate_backward, setup_context=_save_demodulate)


def modulated_conv2d_triton(
    x: torch.Tensor, weight: torch.Tensor, styles: torch.Tensor, demodulated: bool, up: int,
    bias: torch.Tensor | None, noise: torch.Tensor | None, act: str, gain: float,
    clamp: float | None,
) -> torch.Tensor:
    """Run the operator, with the arguments of the reference."""
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    if up == 2 and weight.shape[2] == 1:
        weight = F.pad(weight, (1, 1, 1, 1))  # the middle tap of a 3x3 kernel
    if up == 2 and weight.shape[2] != 3:
        side = weight.shape[2]
        raise ValueError(f"weight: got a {side}x{side} kernel, expected 3x3 or 1x1 where up is 2")
    d, given = None, (x, weight, styles, bias, noise)
    if not demodulated:
        d = styles.new_ones(len(x), len(weight))
    elif torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given):
        d = demodulate(weight, styles)
    return layer(x, weight, styles, d, bias, noise, up, SLOPES[act], gain, clamp)
