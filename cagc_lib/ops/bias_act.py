"""The element-wise tail of a layer in one operator: noise, bias, activation, gain, clamp.

    y = clamp(gain * act(x + noise + bias), -clamp, clamp)

x, y: [N, C, ...]; bias: [C]; noise broadcasts against x. StyleGAN2 uses leaky ReLU with slope 0.2
and gain sqrt(2), which keeps the second moment of a unit-variance input (Karras et al. 2020,
arXiv 1912.04958, section 2.2). Chapter 3.
"""

import math

import torch
import torch.nn.functional as F

from .dispatch import register, run

SLOPE = 0.2
ACTIVATIONS = {"linear": 1.0, "lrelu": math.sqrt(2)}


def bias_act(
    x: torch.Tensor, bias: torch.Tensor | None = None, act: str = "lrelu",
    gain: float | None = None, clamp: float | None = None, noise: torch.Tensor | None = None,
    impl: str = "auto",
) -> torch.Tensor:
    """Add noise and bias, apply the activation, scale, clamp.

    Args:
        x: [N, C, ...], float.
        bias: [C] or None.
        act: "lrelu" (slope 0.2) or "linear".
        gain: factor > 0 after the activation; None means sqrt(2) for "lrelu", 1 for "linear".
        clamp: largest magnitude of the result, or None.
        noise: broadcasts against x, or None.
        impl: "auto", "reference" or "triton".

    Returns:
        [N, C, ...], the dtype of x.

    Raises:
        ValueError: unknown `act` or `impl`, a gain that is not positive, or a bias that does not
            fit.
    """
    gain = check_tail(x.shape[1], bias, act, gain)
    return run("bias_act", impl, x, bias, act, gain, clamp, noise)


def check_tail(channels: int, bias: torch.Tensor | None, act: str, gain: float | None) -> float:
    """Check a tail's arguments; return the gain, the activation's own where None was given."""
    if act not in ACTIVATIONS:
        raise ValueError(f"act: got {act!r}, expected one of {', '.join(ACTIVATIONS)}")
    if bias is not None and bias.shape != (channels,):
        raise ValueError(f"bias: got shape {list(bias.shape)}, expected [{channels}]")
    if gain is not None and not gain > 0:
        raise ValueError(f"gain: got {gain!r}, expected None or a number > 0")
    return ACTIVATIONS[act] if gain is None else gain


def bias_act_(
    y: torch.Tensor, bias: torch.Tensor | None, act: str, gain: float, clamp: float | None,
    noise: torch.Tensor | None,
) -> torch.Tensor:
    """Finish a layer whose convolution already carries the gain: y = gain * x on entry.

    Leaky ReLU is positively homogeneous, gain * act(x + b) = act(gain * x + gain * b), so the gain
    costs no pass over y. y is overwritten: a fresh large tensor costs more than the arithmetic.
    """
    if bias is not None:
        y.add_((bias * gain).to(y.dtype).view(-1, *[1] * (y.ndim - 2)))
    if noise is not None:
        y.add_((noise * gain).to(y.dtype))
    if act == "lrelu":
        y = F.leaky_relu(y, SLOPE, inplace=True)
    # not in place: the backward pass of the activation reads its result
    return y if clamp is None else y.clamp(-clamp, clamp)


def _reference(
    x: torch.Tensor, bias: torch.Tensor | None, act: str, gain: float, clamp: float | None,
    noise: torch.Tensor | None,
) -> torch.Tensor:
    return bias_act_(x * gain, bias, act, gain, clamp, noise)


register("bias_act", _reference, lambda t: (t.x, t.bias, "lrelu", 1.5, 2.0, None))
