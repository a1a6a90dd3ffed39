"""The element-wise tail of a layer in one operator: noise, bias, activation, gain, clamp.

    y = clamp(gain * act(x + noise + bias), -clamp, clamp)

x, y: [N, C, ...]; bias: [C]; noise broadcasts against x. StyleGAN2 uses leaky ReLU with slope 0.2
and gain sqrt(2), which keeps the second moment of a unit-variance input (Karras et al. 2020,
arXiv 1912.04958, section 2.2). Chapter 3.
"""

import math

import torch
import torch.nn.functional as F

from .dispatch import explain, triton_function

SLOPE = 0.2
ACTIVATIONS = {"linear": 1.0, "lrelu": math.sqrt(2)}


def bias_act(
    x: torch.Tensor,
    bias: torch.Tensor | None = None,
    act: str = "lrelu",
    gain: float | None = None,
    clamp: float | None = None,
    noise: torch.Tensor | None = None,
    impl: str = "auto",
) -> torch.Tensor:
    """Add noise and bias, apply the activation, scale, clamp.

    Args:
        x: [N, C, ...], float.
        bias: [C] or None.
        act: "lrelu" (slope 0.2) or "linear".
        gain: factor after the activation; None means sqrt(2) for "lrelu", 1 for "linear".
        clamp: largest magnitude of the result, or None.
        noise: broadcasts against x, or None.
        impl: "auto", "reference" or "triton".

    Returns:
        [N, C, ...], the dtype of x.

    Raises:
        ValueError: unknown `act` or `impl`, or a bias that does not fit.
    """
    if act not in ACTIVATIONS:
        raise ValueError(f"act: got {act!r}, expected one of {', '.join(ACTIVATIONS)}")
    if bias is not None and bias.shape != x.shape[1:2]:
        raise ValueError(f"bias: got shape {list(bias.shape)}, expected [{x.shape[1]}]")
    gain = ACTIVATIONS[act] if gain is None else gain
    chosen, _ = explain("bias_act", x, impl)
    if chosen == "triton":
        return triton_function("bias_act")(x, bias, act, gain, clamp, noise)
    return _reference(x, bias, act, gain, clamp, noise)


def _reference(
    x: torch.Tensor,
    bias: torch.Tensor | None,
    act: str,
    gain: float,
    clamp: float | None,
    noise: torch.Tensor | None,
) -> torch.Tensor:
    if noise is not None:
        x = x + noise.to(x.dtype)
    if bias is not None:
        x = x + bias.to(x.dtype).view(-1, *[1] * (x.ndim - 2))
    if act == "lrelu":
        x = F.leaky_relu(x, SLOPE)
    if gain != 1:
        x = x * gain
    if clamp is not None:
        x = x.clamp(-clamp, clamp)
    return x
