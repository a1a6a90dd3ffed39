"""Modulated convolution: each sample scales the input channels of one shared kernel.

    w'[n,o,i] = styles[n,i] * weight[o,i]                       modulation
    d[n,o]    = rsqrt(sum over i and taps of w'^2 + 1e-8)       demodulation
    y[n,o]    = sum over i of (d[n,o] * w'[n,o,i]) * x[n,i]     convolution

(Karras et al. 2020, arXiv 1912.04958, section 2.2, equations 1-3.) The convolution is linear, so
the per-sample kernel need not be built: scale the input channels by the styles, convolve the batch
with the one dense kernel, scale the output channels by d. x: [N, I, H, W], weight: [O, I, k, k],
styles: [N, I], y: [N, O, H * up, W * up]. Chapter 3.
"""

import torch
import torch.nn.functional as F

from .bias_act import bias_act_, check_tail
from .dispatch import register, run
from .frozen import derived
from .upfirdn2d import setup_filter, upfirdn2d

EPSILON = 1e-8


def modulated_conv2d(
    x: torch.Tensor, weight: torch.Tensor, styles: torch.Tensor, demodulate: bool = True,
    up: int = 1, impl: str = "auto", *, bias: torch.Tensor | None = None,
    noise: torch.Tensor | None = None, act: str = "linear", gain: float | None = None,
    clamp: float | None = None,
) -> torch.Tensor:
    """Convolve with a kernel whose input channels each sample scales by its own styles.

    Args:
        x: [N, I, H, W], float.
        weight: [O, I, k, k], k odd, used as given (no gain is applied).
        styles: [N, I].
        demodulate: scale every output channel so that its kernel has unit norm.
        up: 1, or 2 for a transposed convolution of stride 2 followed by the [1, 3, 3, 1] filter.
        impl: "auto", "reference" or "triton".
        bias, noise, act, gain, clamp: the layer's tail, as `bias_act` takes them; noise is
            [1 or N, 1, H * up, W * up]. One call instead of two saves passes over the result.

    Returns:
        [N, O, H * up, W * up], the dtype of x (autocast's, where autocast is on).

    Raises:
        ValueError: shapes that do not fit together, `up` other than 1 or 2, unknown `act` or
            `impl`, a gain that is not positive.
    """
    if x.ndim != 4 or weight.ndim != 4 or weight.shape[1] != x.shape[1]:
        raise ValueError(
            f"weight: got shape {list(weight.shape)}, expected [O, I, k, k] "
            f"for x of shape {list(x.shape)} = [N, I, H, W]"
        )
    side, across = weight.shape[2:]
    if side != across or side % 2 == 0:
        raise ValueError(f"weight: got a {side}x{across} kernel, expected k x k with k odd")
    if styles.shape != x.shape[:2]:
        raise ValueError(f"styles: got {list(styles.shape)}, expected {list(x.shape[:2])}")
    if up not in (1, 2):
        raise ValueError(f"up: got {up}, expected 1 or 2")
    gain = check_tail(len(weight), bias, act, gain)
    tail = bias, noise, act, gain, clamp
    return run("modulated_conv2d", impl, x, weight, styles, demodulate, up, *tail)


def demodulation_coefficients(weight: torch.Tensor, styles: torch.Tensor) -> torch.Tensor:
    """Return d [N, O] = rsqrt(sum over i, taps of (styles * weight)^2 + 1e-8).

    The sum over taps does not depend on the sample, so this is one small matrix product.
    """
    # half precision would lose the coefficients' third digit for nothing: the product is tiny
    with torch.autocast(weight.device.type, enabled=False):
        wide = torch.promote_types(torch.promote_types(weight.dtype, styles.dtype), torch.float32)

        def squares(weight: torch.Tensor) -> torch.Tensor:
            return weight.to(wide).square().sum(dim=(2, 3))  # [O, I]

        graph = torch.is_grad_enabled() and weight.requires_grad
        energy = squares(weight) if graph else derived(weight, ("squares", wide), squares)
        return (styles.to(wide).square() @ energy.t() + EPSILON).rsqrt()


def _reference(
    x: torch.Tensor, weight: torch.Tensor, styles: torch.Tensor, demodulate: bool, up: int,
    bias: torch.Tensor | None, noise: torch.Tensor | None, act: str, gain: float,
    clamp: float | None,
) -> torch.Tensor:
    scale = torch.full_like(styles[:, :1], gain)  # [N, 1], or [N, O] with demodulation
    if demodulate:
        scale = demodulation_coefficients(weight, styles) * gain
    pointwise = weight.shape[2] == 1 and up == 1
    if pointwise or len(x) == 1:
        # where the kernels are smaller than the image, scaling them is cheaper than scaling it
        kernels = weight * styles[:, None, :, None, None] * scale[:, :, None, None, None]
        kernels = kernels.to(x.dtype)  # [N, O, I, k, k]
        if len(x) == 1:
            y = _convolve(x, kernels[0], up)
        else:
            y = (kernels[..., 0, 0] @ x.flatten(2)).unflatten(2, x.shape[2:])
    else:
        y = _convolve(x * styles.to(x.dtype)[:, :, None, None], weight.to(x.dtype), up)
        scale = scale.to(y.dtype)[:, :, None, None]
        # autograd needs y to find the gradient of the scale; without it, y can be overwritten
        y = y * scale if torch.is_grad_enabled() else y.mul_(scale)
    return bias_act_(y, bias, act, gain, clamp, noise)


def _convolve(x: torch.Tensor, weight: torch.Tensor, up: int) -> torch.Tensor:
    k = weight.shape[2]
    if up == 1:
        return F.conv2d(x, weight, padding=k // 2)
    y = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    # the transposed convolution leaves k - 2 rows too many; the filter's own three neighbours
    # cost the rest, so that exactly twice the input size remains
    f = setup_filter().to(x.device)
    total = len(f) - 1 - (k - 2)
    return upfirdn2d(y, f, padding=((total + 1) // 2, total // 2), gain=4, impl="reference")


register(
    "modulated_conv2d", _reference,
    lambda t: (t.x, t.weight, t.styles, True, 2, None, None, "linear", 1.0, None),
)
