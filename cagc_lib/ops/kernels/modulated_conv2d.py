"""The modulated convolution in Triton, differentiable any number of times.

    F(x, weight, s, d, g) = sum over n, o, p of  g[n,o,p] d[n,o] conv(s[n,i] x[n,i], weight)[n,o,p]

is linear in each argument. The layer is dF/dg, and the gradient of any derivative of F is a
derivative of F again, with another tensor in one of the places. So five operators, one for each
argument, are closed under differentiation: path length regularisation, which differentiates
gradients, needs no more. s are the styles; d, the demodulation coefficients, depends on weight and
styles by `demodulate`. The up-sampling layer is such an F too. Launches: `launch`.
Chapter 4.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F

from .bias_act import SLOPES, reduced, tail_gradient
from .launch import convolved, convolved_up, demodulation, padded_like, spread, weight_gradient
from .tools import wide

PLACES = ("x", "weight", "s", "d", "g")


def _transposed(g: torch.Tensor, side: int, up: int) -> tuple[torch.Tensor, int, int]:
    """What the layer's transposed convolution reads, its stride and its padding."""
    return (spread(g), 2, 0) if up == 2 else (g, 1, side // 2)


@torch.library.custom_op("cagc::convolve", mutates_args=())
def convolve(
    x: torch.Tensor, weight: torch.Tensor, s: torch.Tensor, d: torch.Tensor, side: int, up: int
) -> torch.Tensor:
    """dF/dg [N, O, H up, W up]."""
    if up == 2:
        return convolved_up(x, weight, s, d)
    return convolved(x, weight, s, d, False, 1, side // 2)[0]


@torch.library.custom_op("cagc::convolve_x", mutates_args=())
def convolve_x(
    weight: torch.Tensor, s: torch.Tensor, d: torch.Tensor, g: torch.Tensor, side: int, up: int
) -> torch.Tensor:
    """dF/dx [N, I, H, W]."""
    g, stride, pad = _transposed(g, side, up)
    return convolved(g, weight, d, s, True, stride, pad)[0]


@torch.library.custom_op("cagc::convolve_weight", mutates_args=())
def convolve_weight(
    x: torch.Tensor, s: torch.Tensor, d: torch.Tensor, g: torch.Tensor, side: int, up: int
) -> torch.Tensor:
    """dF/dweight [O, I, k, k]."""
    if up == 2:
        taps = weight_gradient(spread(g), x, d, s, side, 2, 0).permute(2, 3, 0, 1)
    else:
        taps = weight_gradient(x, g, s, d, side, 1, side // 2).permute(3, 2, 0, 1)
    return taps.to(s.dtype).contiguous()


@torch.library.custom_op("cagc::convolve_s", mutates_args=())
def convolve_s(
    x: torch.Tensor, weight: torch.Tensor, d: torch.Tensor, g: torch.Tensor, side: int, up: int
) -> torch.Tensor:
    """dF/ds [N, I]."""
    g, stride, pad = _transposed(g, side, up)
    return convolved(g, weight, d, None, True, stride, pad, other=x, write=False)[1].to(d.dtype)


@torch.library.custom_op("cagc::convolve_d", mutates_args=())
def convolve_d(
    x: torch.Tensor, weight: torch.Tensor, s: torch.Tensor, g: torch.Tensor, side: int, up: int
) -> torch.Tensor:
    """dF/dd [N, O]."""
    if up == 2:
        y = convolved_up(x, weight, s, s.new_ones(g.shape[:2]))
        return (y * g).sum((2, 3), dtype=wide(x.dtype)).to(s.dtype)
    return convolved(x, weight, s, None, False, 1, side // 2, other=g, write=False)[1].to(s.dtype)


OPERATORS = {
    "g": convolve, "x": convolve_x, "weight": convolve_weight, "s": convolve_s, "d": convolve_d,
}


def derivative(place: str, values: dict[str, torch.Tensor], side: int, up: int) -> torch.Tensor:
    """dF/d(place) at the values of the four other arguments."""
    given = [values[name] for name in PLACES if name != place]
    return OPERATORS[place](*given, side, up)


def derivatives(
    places: Iterable[str], values: dict[str, torch.Tensor], needed: Iterable[bool], side: int,
    up: int,
) -> list[torch.Tensor | None]:
    """`derivative` in each of the places that need one, None in the others."""
    return [
        derivative(place, values, side, up) if wanted else None
        for place, wanted in zip(places, needed, strict=False)
    ]


def _layer_output(x: torch.Tensor, weight: torch.Tensor, up: int) -> torch.Tensor:
    return padded_like(x, len(x), len(weight), *(up * side for side in x.shape[2:]))


def _differentiable(place: str) -> None:
    """Register fake and gradient of one of the five operators."""
    given = [name for name in PLACES if name != place]

    def fake(*inputs: object) -> torch.Tensor:
        *tensors, side, up = inputs
        v = dict(zip(given, tensors, strict=True))
        if place == "g":
            return _layer_output(v["x"], v["weight"], up)
        if place == "x":
            size = [side // up for side in v["g"].shape[2:]]
            return padded_like(v["g"], len(v["g"]), v["weight"].shape[1], *size)
        if place == "weight":
            return v["s"].new_empty(v["g"].shape[1], v["x"].shape[1], side, side)
        source, other = ("x", "d") if place == "s" else ("g", "s")
        return v[other].new_empty(v[source].shape[:2])

    def save(ctx, inputs: tuple, output: torch.Tensor) -> None:
        *tensors, ctx.side, ctx.up = inputs
        ctx.save_for_backward(*tensors)

    def backward(ctx, cotangent: torch.Tensor) -> tuple:
        values = dict(zip(given, ctx.saved_tensors, strict=True)) | {place: cotangent}
        return *derivatives(given, values, ctx.needs_input_grad, ctx.side, ctx.up), None, None

    OPERATORS[place].register_fake(fake)
    OPERATORS[place].register_autograd(backward, setup_context=save)


for _place in PLACES:
    _differentiable(_place)


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
    tail = bias, noise, slope, gain, clamp
    if up == 2:
        return convolved_up(x, weight, s, d, tail)
    return convolved(x, weight, s, d, False, 1, weight.shape[2] // 2, tail)[0]


@layer.register_fake
def _(x, weight, s, d, bias, noise, up, slope, gain, clamp):
    return _layer_output(x, weight, up)


def _save_layer(ctx, inputs: tuple, output: torch.Tensor) -> None:
    ctx.up, *ctx.tail = inputs[6:]
    ctx.save_for_backward(*inputs[:6], output)


def _layer_backward(ctx, g: torch.Tensor) -> tuple:
    x, weight, s, d, bias, noise, y = ctx.saved_tensors
    if torch.is_grad_enabled():
        # these gradients will be differentiated in turn
        g, by_bias, by_noise, _ = tail_gradient(g, y, None, None, *ctx.tail, False)
        values = dict(zip(PLACES, (x, weight, s, d, g), strict=True))
        grads = derivatives(PLACES[:4], values, ctx.needs_input_grad, weight.shape[2], ctx.up)
    else:
        g, by_bias, by_noise, by_scaled = tail_gradient(g, y, bias, noise, *ctx.tail, True)
        by_x, by_s = convolve_x_s(x, weight, s, d, g, ctx.up)
        by_weight = None
        if ctx.needs_input_grad[1]:
            by_weight = convolve_weight(x, s, d, g, weight.shape[2], ctx.up)
        # F is linear in d, which is never 0: dF/dd = sum of g * y / d
        grads = by_x, by_weight, by_s, by_scaled.to(d.dtype) / d
    kinds = [None if t is None else (t.shape, t.dtype) for t in (bias, noise)]
    return *grads, *map(reduced, (by_bias, by_noise), kinds), None, None, None, None


layer.register_autograd(_layer_backward, setup_context=_save_layer)


demodulate = torch.library.custom_op("cagc::demodulate", demodulation, mutates_args=())


@demodulate.register_fake
def _(weight, s):
    kind = wide(torch.promote_types(s.dtype, weight.dtype))
    return s.new_empty(len(s), len(weight), dtype=kind)


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
    given = (x, weight, styles, bias, noise)
    if not demodulated:
        d = styles.new_ones(len(x), len(weight))
    elif torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given):
        d = demodulate(weight, styles)
    else:
        d = None
    return layer(x, weight, styles, d, bias, noise, up, SLOPES[act], gain, clamp)
