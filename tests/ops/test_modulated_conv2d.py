"""Modulated convolution against per-sample kernels, with its tail, and its gradients."""

import pytest
import torch
import torch.nn.functional as F

from cagc_lib import ops
from cagc_lib.ops import modulated_conv2d


def definition(
    x: torch.Tensor, weight: torch.Tensor, styles: torch.Tensor, demodulate: bool, up: int
) -> torch.Tensor:
    """Build every sample's own kernel and convolve its image alone; up = 2 by zero insertion."""
    out, k = [], weight.shape[2]
    f = ops.setup_filter().to(x.dtype)
    for image, style in zip(x, styles, strict=True):
        kernel = weight * style[None, :, None, None]
        if demodulate:
            kernel = kernel / (kernel.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        image = image[None]
        if up == 1:
            out.append(F.conv2d(image, kernel, padding=k // 2))
            continue
        _, c, h, w = image.shape
        grid = image.new_zeros(1, c, 2 * h - 1, 2 * w - 1)
        grid[:, :, ::2, ::2] = image
        full = F.conv2d(grid, kernel.flip(2, 3), padding=k - 1)  # a true convolution
        total = len(f) - 1 - (k - 2)
        padding = (total + 1) // 2, total // 2
        out.append(ops.upfirdn2d(full, f, padding=padding, gain=4))
    return torch.cat(out)


def operands(
    n: int, k: int, dtype: torch.dtype = torch.float64, size: tuple[int, int] = (4, 5)
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x = torch.randn(n, 3, *size, dtype=dtype)
    return x, torch.randn(2, 3, k, k, dtype=dtype), torch.randn(n, 3, dtype=dtype)


every_form = pytest.mark.parametrize(
    ("n", "k", "up", "demodulate"),
    [(n, k, up, d) for n in (1, 2) for k in (1, 3) for up in (1, 2) for d in (True, False)],
)


@every_form
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_definition(n: int, k: int, up: int, demodulate: bool, layout: torch.memory_format) -> None:
    x, weight, styles = operands(n, k)
    x = x.contiguous(memory_format=layout)
    y = modulated_conv2d(x, weight, styles, demodulate, up)
    assert y.shape == (n, 2, 4 * up, 5 * up)
    torch.testing.assert_close(y, definition(x, weight, styles, demodulate, up))


@every_form
@pytest.mark.parametrize("act", ["linear", "lrelu"])
def test_tail_is_bias_act(n: int, k: int, up: int, demodulate: bool, act: str) -> None:
    x, weight, styles = operands(n, k)
    bias, noise = torch.randn(2).double(), torch.randn(1, 1, 4 * up, 5 * up).double()
    tail = {"bias": bias, "noise": noise, "act": act, "gain": 1.3, "clamp": 2.0}
    expected = ops.bias_act(definition(x, weight, styles, demodulate, up), **tail)
    for grad_enabled in (True, False):
        with torch.set_grad_enabled(grad_enabled):
            y = modulated_conv2d(x, weight, styles, demodulate, up, **tail)
        torch.testing.assert_close(y, expected)


@every_form
def test_gradients(n: int, k: int, up: int, demodulate: bool) -> None:
    noise = torch.randn(n, 1, up, 2 * up, dtype=torch.float64)
    inputs = *operands(n, k, size=(1, 2)), torch.randn(2, dtype=torch.float64), noise
    inputs = tuple(t.requires_grad_() for t in inputs)

    def plain(x: torch.Tensor, weight: torch.Tensor, styles: torch.Tensor) -> torch.Tensor:
        return modulated_conv2d(x, weight, styles, demodulate, up)

    def with_tail(*tensors: torch.Tensor) -> torch.Tensor:
        *tensors, bias, noise = tensors
        tail = {"bias": bias, "noise": noise, "act": "lrelu", "clamp": 1.5}
        return modulated_conv2d(*tensors, demodulate, up, **tail)

    for function, given in ((plain, inputs[:3]), (with_tail, inputs)):
        assert torch.autograd.gradcheck(function, given)
        assert torch.autograd.gradgradcheck(function, given)


def test_demodulated_kernels_have_unit_norm_and_keep_unit_variance() -> None:
    _, weight, styles = operands(4, 3)
    d = ops.demodulation_coefficients(weight, styles)
    kernels = weight * styles[:, None, :, None, None] * d[:, :, None, None, None]
    norm = kernels.square().sum((2, 3, 4)).sqrt()
    torch.testing.assert_close(norm, torch.ones_like(norm))


def test_the_input_is_left_alone() -> None:
    for n in (1, 2):
        x, weight, styles = operands(n, 3)
        copies = x.clone(), weight.clone(), styles.clone()
        with torch.no_grad():
            modulated_conv2d(x, weight, styles, bias=torch.ones(2).double(), act="lrelu")
        assert all(map(torch.equal, (x, weight, styles), copies))


@every_form
def test_bfloat16(n: int, k: int, up: int, demodulate: bool) -> None:
    x, weight, styles = operands(n, k, torch.float32)
    expected = modulated_conv2d(x, weight, styles, demodulate, up)
    close = {"rtol": 0, "atol": 3e-2 * float(expected.abs().max())}
    y = modulated_conv2d(x.bfloat16(), weight, styles, demodulate, up)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), expected, **close)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = modulated_conv2d(x, weight, styles, demodulate, up)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), expected, **close)
