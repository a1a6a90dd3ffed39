"""The tail of a layer: equal to its definition, differentiable twice, its input left alone."""

import math

import pytest
import torch

from cagc_lib.ops import bias_act


def definition(
    x: torch.Tensor, bias: torch.Tensor, act: str, gain: float, clamp: float | None,
    noise: torch.Tensor,
) -> torch.Tensor:
    y = x + noise + bias.reshape(1, -1, *[1] * (x.ndim - 2))
    if act == "lrelu":
        y = torch.where(y > 0, y, 0.2 * y)
    y = gain * y
    return y if clamp is None else y.clamp(-clamp, clamp)


def double(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("clamp", [None, 0.8])
@pytest.mark.parametrize("gain", [None, 0.7])
@pytest.mark.parametrize("act", ["lrelu", "linear"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_definition(
    act: str, gain: float | None, clamp: float | None, layout: torch.memory_format
) -> None:
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=layout)
    bias, noise = torch.randn(3), torch.randn(2, 1, 4, 5)
    expected_gain = gain or (math.sqrt(2) if act == "lrelu" else 1.0)
    expected = definition(x, bias, act, expected_gain, clamp, noise)
    before = x.clone()
    torch.testing.assert_close(bias_act(x, bias, act, gain, clamp, noise), expected)
    assert torch.equal(x, before)


def test_without_bias_and_noise_it_is_the_activation() -> None:
    x = torch.tensor([[-1.0, 2.0]])
    assert bias_act(x, act="linear").tolist() == x.tolist()
    torch.testing.assert_close(bias_act(x), torch.tensor([[-0.2, 2.0]]) * math.sqrt(2))


@pytest.mark.parametrize("clamp", [None, 0.9])
@pytest.mark.parametrize("act", ["lrelu", "linear"])
def test_gradients(act: str, clamp: float | None) -> None:
    def function(x: torch.Tensor, bias: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        return bias_act(x, bias, act=act, clamp=clamp, noise=noise)

    inputs = double(2, 3, 2, 3), double(3), double(1, 1, 2, 3)
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_bfloat16_stays_bfloat16() -> None:
    x, bias = torch.randn(2, 3, 4, 4), torch.randn(3)
    y = bias_act(x.bfloat16(), bias)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), bias_act(x, bias), rtol=3e-2, atol=3e-2)
