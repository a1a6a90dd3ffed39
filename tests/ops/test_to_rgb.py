"""ToRGB: the definition, what it refuses; its Triton twin, gradients and their gradients."""

import pytest
import torch

from cagc_lib.ops import setup_filter, to_rgb, upsample2d


def operands(n: int, channels: int, height: int, width: int) -> list[torch.Tensor]:
    """x, weight, styles, bias, rgb."""
    shapes = (
        (n, channels, height, width), (3, channels, 1, 1), (n, channels), (3,),
        (n, 3, height // 2, width // 2),
    )
    return [torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("impl", ["reference", "triton"])
@pytest.mark.parametrize("clamp", [None, 0.5])
@pytest.mark.parametrize("taps", [(1.0, 3.0, 3.0, 1.0), (1.0, 2.0, 4.0, 8.0), (1.0, 2.0)])
def test_definition(impl: str, clamp: float | None, taps: tuple[float, ...]) -> None:
    x, weight, styles, bias, rgb = operands(2, 5, 4, 6)
    f = setup_filter(taps).double()
    own = torch.einsum("oi,ni,nihw->nohw", weight[:, :, 0, 0], styles, x) + bias[:, None, None]
    if clamp:
        own = own.clamp(-clamp, clamp)
    first = to_rgb(x, weight, styles, bias, clamp=clamp, impl=impl)
    torch.testing.assert_close(first, own)
    y = to_rgb(x, weight, styles, bias, rgb, f, clamp, impl)
    torch.testing.assert_close(y, upsample2d(rgb, f) + own)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_the_kernel_has_the_references_gradients(order: torch.memory_format) -> None:
    tensors = operands(2, 37, 4, 2)
    tensors[0] = tensors[0].detach().contiguous(memory_format=order).requires_grad_()
    results = []
    for impl in ("triton", "reference"):
        y = to_rgb(*tensors, impl=impl)
        torch.manual_seed(3)
        g = torch.randn(y.shape, dtype=y.dtype).requires_grad_()
        first = torch.autograd.grad(y, tensors, g, create_graph=True)
        total = sum((v.square() + v * torch.randn(v.shape)).sum() for v in first)
        second = torch.autograd.grad(total, [*tensors[:3], g])
        results.append([y, *first, *second])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_the_sum_keeps_the_parameters_type(impl: str) -> None:
    tensors = [t.detach().float() for t in operands(1, 5, 4, 4)]
    half = [tensors[0].half(), *tensors[1:]]
    y = to_rgb(*half, impl=impl)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, to_rgb(*tensors), rtol=0, atol=0.02)


def test_what_does_not_fit_is_refused() -> None:
    x, weight, styles, bias, rgb = operands(1, 3, 4, 4)
    with pytest.raises(ValueError, match=r"rgb: got \[1, 3, 2, 2\], expected half the size of x"):
        to_rgb(x[:, :, :2], weight, styles, bias, rgb)
